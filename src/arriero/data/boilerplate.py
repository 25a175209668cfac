"""Boilerplate: lines that stand at the head or tail of many pages of one site.

The paper does not state how it removed boilerplate. Main-text extraction takes away what a page's markup tells; what is
left are lines such as "Apache HTTP Server Version 2.4" or "Prev | Next". They are told from content by place, not by
wording: on the documentation sites on which the rule was chosen, such lines stood among the first or last five lines of
nearly every page that held them, while code (`}`, `import os`), headings ("Examples", "See also") and notices that
also repeat stood anywhere. So only the outermost lines are counted and removed, only longer ones, and only where they
come from pages with different texts: a page that a site serves under ten addresses is for the duplicates step.

Map: `line_counts` of each batch. Reduce: `repeated_lines` of all counts, bucket by bucket of the sites' hash, so that
memory is bounded. Map again: `remove_lines`.
"""

import math
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arriero.config import config, setting
from arriero.data.documents import Step, with_columns, with_edits
from arriero.data.hashing import ODD, hash64
from arriero.data.sites import site_of
from arriero.data.sources import SourceKind

# `documents` counts documents of the site with the line at an edge; where `line` is 0, all documents of the site.
# `texts` is a set of 64 bits: each document sets the one that its text hashes to, so that equal texts count once.
COUNTS = pa.schema(
    [("site", pa.uint64()), ("line", pa.uint64()), ("documents", pa.int64()), ("texts", pa.uint64())],
)
REPEATED = pa.schema([("site", pa.uint64()), ("line", pa.uint64())])
ALL_DOCUMENTS = 0
MERGE_ROWS = 1 << 21  # 64 MB of counts, before they are added up


@config
class BoilerplateConfig:
    """Removal of lines that repeat at the edges of a site's pages. The paper states none of it."""

    edge_lines: int = setting(5, "so many first and last lines of a page are looked at", unit="lines", ge=1, le=100)
    min_characters: int = setting(12, "a shorter line is never boilerplate", unit="characters", ge=1)
    min_documents: int = setting(10, "pages (of different text, about) of the site that must hold the line", ge=2)
    min_share: float = setting(0.1, "share of the site's pages that must hold the line", gt=0, le=1)


def line_counts(table: pa.Table, cfg: BoilerplateConfig) -> pa.Table:
    """COUNTS of the web documents of a batch that are still kept."""
    rows: dict[tuple[int, int], list[int]] = {}
    for _, site, data in _pages(table):
        bit = 1 << (zlib.crc32(data) & 63)
        for line in {ALL_DOCUMENTS, *_edges(data, cfg).values()}:
            counted = rows.setdefault((site, line), [0, 0])
            counted[0] += 1
            counted[1] |= bit
    values = [(*key, *counted) for key, counted in sorted(rows.items())]
    return pa.table([[value[column] for value in values] for column in range(len(COUNTS))], schema=COUNTS)


def repeated_lines(files: Iterable[Path], bucket: int, buckets: int, cfg: BoilerplateConfig) -> pa.Table:
    """(site, line) of the boilerplate of the sites in one bucket, sorted, from Parquet files of COUNTS."""
    site, line, documents, texts = _added_up(files, bucket, buckets)
    whole = line == ALL_DOCUMENTS
    # Sorted by site and line: the row of all documents comes before the site's lines.
    of_site = documents[whole][np.cumsum(whole) - 1] if len(site) else documents
    bits = 64 * (1 - math.exp(-cfg.min_documents / 64))  # expected of so many texts
    repeated = ~whole & (documents >= cfg.min_documents) & (documents >= cfg.min_share * of_site)
    repeated &= np.bitwise_count(texts) >= math.floor(0.8 * bits)
    return pa.table([site[repeated], line[repeated]], schema=REPEATED)


def _added_up(files: Iterable[Path], bucket: int, buckets: int) -> tuple[NDArray[np.uint64], ...]:
    """The columns of COUNTS for one bucket of sites, one row a site and line, sorted by them."""
    parts = [[np.asarray(column) for column in COUNTS.empty_table().columns]]
    held = waiting = 0
    for file in files:
        with pq.ParquetFile(file) as counts:
            for batch in counts.iter_batches():
                columns = [np.asarray(column) for column in batch.columns]
                mine = columns[0] % np.uint64(buckets) == bucket
                parts.append([column[mine] for column in columns])
                waiting += int(mine.sum())
                if waiting > max(MERGE_ROWS, held):
                    parts, waiting = [_merged(parts)], 0
                    held = len(parts[0][0])
    return tuple(_merged(parts))


def _merged(parts: list[list[NDArray[np.uint64]]]) -> list[NDArray[np.uint64]]:
    site, line, documents, texts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((line, site))
    site, line, documents, texts = site[order], line[order], documents[order], texts[order]
    first = np.flatnonzero(np.concatenate([[True], (np.diff(site) != 0) | (np.diff(line) != 0)])[: len(site)])
    if not len(first):
        return [site, line, documents, texts]
    return [site[first], line[first], np.add.reduceat(documents, first), np.bitwise_or.reduceat(texts, first)]


def remove_lines(table: pa.Table, keys: NDArray[np.uint64], cfg: BoilerplateConfig) -> pa.Table:
    """`table` without the boilerplate lines that `keys` (of `line_keys`) names; drops what is nothing else."""
    texts = {}
    edits, reasons = [""] * len(table), table["reason"].to_pylist()
    for row, site, data in _pages(table):
        edges = _edges(data, cfg)
        hashes = np.fromiter(edges.values(), np.uint64, len(edges))
        found = _holds(keys, _keys(np.full(len(hashes), site, np.uint64), hashes))
        if not found.any():
            continue
        gone = [span for span, hit in zip(edges, found, strict=True) if hit]
        starts, ends = zip(*gone, strict=True)
        left = b"".join(data[end:start] for end, start in zip((0, *ends), (*starts, len(data)), strict=True))
        texts[row] = left.strip(b"\n").decode()
        edits[row] = f"boilerplate {len(gone)} lines"
        if not texts[row].strip():
            reasons[row] = "only_boilerplate"
    if not texts:
        return table
    mask = np.zeros(len(table), dtype=bool)
    mask[list(texts)] = True
    text = pc.replace_with_mask(table["text"], pa.array(mask), pa.array(list(texts.values()), pa.large_string()))
    return with_edits(with_columns(table, text=text, reason=reasons), edits)


def line_keys(repeated: pa.Table) -> NDArray[np.uint64]:
    """What `remove_lines` looks up: a sorted hash of each (site, line)."""
    return np.sort(_keys(np.asarray(repeated["site"]), np.asarray(repeated["line"])))


def _keys(site: NDArray[np.uint64], line: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (site * ODD) ^ line


def _holds(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if not len(keys):
        return np.zeros(len(wanted), dtype=bool)
    found: NDArray[np.bool_] = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    return found


def _pages(table: pa.Table) -> Iterator[tuple[int, int, bytes]]:
    """(row, hash of the site, text) of each web document that is kept."""
    kept = pc.and_(pc.equal(table["kind"], SourceKind.WEB), pc.is_null(table["reason"]))
    pages = table.select(["url", "text"]).filter(kept)
    texts = pages["text"].cast(pa.large_binary())
    for row, url, text in zip(np.flatnonzero(np.asarray(kept)).tolist(), pages["url"].to_pylist(), texts, strict=True):
        yield row, _site_hash("/".join(url.split("/", 3)[:3])), text.as_py()


@lru_cache(maxsize=1 << 16)
def _site_hash(host: str) -> int:
    return _hash(site_of(host).encode())


def _hash(data: bytes) -> int:
    """64 bits, never 0."""
    return hash64(data) or 1


def _edges(data: bytes, cfg: BoilerplateConfig) -> dict[tuple[int, int], int]:
    """Where (with their line end) the first and last lines that are not blank stand, and the hash of each if long."""
    spans = sorted({*_outermost(data, cfg.edge_lines), *_outermost(data, cfg.edge_lines, last=True)})
    lines = ((span, data[slice(*span)].decode().strip()) for span in spans)
    return {span: _hash(line.encode()) for span, line in lines if len(line) >= cfg.min_characters}


def _outermost(data: bytes, count: int, last: bool = False) -> list[tuple[int, int]]:
    """Spans of the first (or last) `count` lines that are not blank."""
    found: list[tuple[int, int]] = []
    start, end = 0, len(data)
    while len(found) < count and start < end:
        if last:
            span = data.rfind(b"\n", start, end - 1) + 1, end
            end = span[0]
        else:
            span = start, (data.find(b"\n", start) + 1) or end
            start = span[1]
        if data[slice(*span)].strip():
            found.append(span)
    return found


def boilerplate_step(cfg: BoilerplateConfig, repeated: pa.Table) -> Step:
    return Step("boilerplate", partial(remove_lines, keys=line_keys(repeated), cfg=cfg))
