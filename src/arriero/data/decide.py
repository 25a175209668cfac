"""Phases `sites`, `exact` and `near`: what is dropped for what other documents hold.

In this order: web sites full of personal information go whole; of the rest, exact duplicates; of the rest, near ones.
A unit sees the rows whose hash falls into its bucket, so the hashes of a corpus need not fit in memory at once. What is
held whole are 8 bytes a dropped document in each unit, and here 16 bytes an edge and the decisions.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arriero.artifacts.files import replacing
from arriero.data.decisions import write_decisions
from arriero.data.duplicates import (
    DECISIONS,
    NO_EDGES,
    UNIT_SHIFT,
    Edges,
    Groups,
    Numbers,
    band_edges,
    components,
    decide_exact,
    decide_near,
    exact_edges,
)
from arriero.data.fingerprints import BANDS
from arriero.data.phase_clean import ID_HASH
from arriero.data.pii import FINDINGS_SCHEMA, WORDS_SCHEMA, PiiConfig, crowded_sites, in_bucket
from arriero.data.units import ALONE_ROWS, BUCKET_ROWS, Bucket, Phase
from arriero.errors import InputError

EDGES_SCHEMA = pa.schema([("left", pa.int64()), ("right", pa.int64())])


@dataclass(frozen=True)
class _Sites:
    """Finds the crowded sites of a bucket."""

    folders: tuple[Path, ...]
    cfg: PiiConfig

    def __call__(self, _: Path, bucket: Bucket) -> tuple[dict[str, Any], dict[str, float]]:
        found, words = (
            pa.concat_tables(
                [
                    schema.empty_table(),
                    *(in_bucket(pq.read_table(f / name), bucket.number, bucket.of) for f in self.folders),
                ]
            )
            for name, schema in (("findings.parquet", FINDINGS_SCHEMA), ("words.parquet", WORDS_SCHEMA))
        )
        return {"sites": crowded_sites(found, words, self.cfg)}, {}


@dataclass(frozen=True)
class _Duplicates:
    """Finds the edges of a bucket. `excluded` is a file of the numbers that take no part."""

    files: tuple[Path, ...]
    excluded: Path

    def __call__(self, folder: Path, bucket: Bucket) -> tuple[dict[str, Any], dict[str, float]]:
        excluded = np.asarray(pq.read_table(self.excluded)["number"], dtype=np.int64)
        edges = NO_EDGES
        if not bucket.bands:
            _check_ids(self.files, bucket)
            edges = exact_edges(self.files, bucket.number, bucket.of, excluded)
        for band in bucket.bands:
            found = band_edges(self.files, band, bucket.number, bucket.of, excluded)
            edges = components(np.concatenate([edges, found])).edges()
        pq.write_table(pa.table(list(edges.T), schema=EDGES_SCHEMA), folder / "edges.parquet", compression="zstd")
        return {"edges": len(edges)}, {}


def _check_ids(files: Sequence[Path], bucket: Bucket) -> None:
    """Raises InputError if two documents have one id."""
    parts = []
    for file in files:
        hashes = np.asarray(pq.read_table(file, columns=[ID_HASH])[ID_HASH], dtype=np.uint64)
        parts.append(hashes[hashes % np.uint64(bucket.of) == bucket.number])
    mine = np.sort(np.concatenate(parts))
    twice = mine[1:][mine[1:] == mine[:-1]]
    if len(twice):
        same = pc.field(ID_HASH) == pa.scalar(twice[0], pa.uint64())
        columns = ["id", "source", "origin"]
        rows = pa.concat_tables([pq.read_table(file, columns=columns, filters=same) for file in files]).to_pylist()[:2]
        places = " and ".join(f"{row['origin']} ({row['source']})" for row in rows)
        raise InputError(
            f"The id {rows[0]['id']!r} names more than one document: {places}. Ids must be unique in all crawls of a "
            "corpus. Set the source's id_field to a field that is, or to a name that no row has: then a document's id "
            "comes from its place."
        )


def decide_all(phase: Phase, folders: Sequence[Path], rows: int, pii: PiiConfig, epochs: Mapping[str, float]) -> Path:
    """Writes the file of decisions (`decisions`) on the documents of the units in `folders`; gives its path."""
    phase = phase.suited(rows, ALONE_ROWS)
    path = phase.context.scratch / "decisions.parquet"
    if not folders:
        write_decisions(path, {})
        return path
    files = [folder / "prints.parquet" for folder in folders]
    started = time.perf_counter()
    sites = _of_sites(files, _crowded(phase, folders, pii))
    phase.context.timing("sites_seconds", time.perf_counter() - started)
    found = {"pii": sites}
    for step, decide, bands in (("exact_duplicates", decide_exact, 0), ("near_duplicates", decide_near, BANDS)):
        started = time.perf_counter()
        groups = _groups(phase, step, files, rows, _numbers(found.values()), bands)
        of = 1 + len(groups.numbers) // BUCKET_ROWS
        parts = [part for number in range(of) if len((part := groups.part(number, of)).numbers)]
        found[step] = pa.concat_tables([DECISIONS.empty_table(), *(decide(files, part, epochs) for part in parts)])
        phase.context.timing(f"{step}_seconds", time.perf_counter() - started)
    write_decisions(path, found)
    return path


def _crowded(phase: Phase, folders: Sequence[Path], cfg: PiiConfig) -> list[str]:
    rows = sum(pq.read_metadata(f / name).num_rows for f in folders for name in ("findings.parquet", "words.parquet"))
    of = 1 + rows // BUCKET_ROWS
    found = phase.run("sites", [Bucket(number, of) for number in range(of)], _Sites(tuple(folders), cfg))
    return sorted(site for part in found for site in part["sites"])


def _of_sites(files: Sequence[Path], sites: Sequence[str]) -> pa.Table:
    """The documents of the given sites."""
    numbers = []
    for unit, file in enumerate(files if sites else ()):
        hit = pc.is_in(pq.read_table(file, columns=["site"])["site"], pa.array(sites, pa.string()))
        numbers.append(np.flatnonzero(np.asarray(hit, dtype=bool)) + (unit << UNIT_SHIFT))
    number = np.concatenate(numbers) if numbers else np.zeros(0, np.int64)
    return pa.table({"number": number, "reason": ["pii_site"] * len(number), "detail": pa.nulls(len(number))})


def _numbers(tables: Any) -> Numbers:
    return np.sort(np.concatenate([np.asarray(table["number"], dtype=np.int64) for table in tables]))


def _groups(phase: Phase, step: str, files: Sequence[Path], rows: int, excluded: Numbers, bands: int) -> Groups:
    """Groups of duplicates, exact ones if `bands` is 0. Edges are joined unit by unit: at most one a document stays."""
    path = phase.context.scratch / f"{step}.excluded.parquet"
    with replacing(path) as file:
        pq.write_table(pa.table({"number": excluded}), file)
    of = 1 + rows // BUCKET_ROWS
    each = bands if rows < ALONE_ROWS else 1  # bands that a unit goes through
    spans = [tuple(range(band, band + each)) for band in range(0, bands, each or 1)] or [()]
    buckets = [Bucket(number, of, span) for span in spans for number in range(of)]
    phase.run(step, buckets, _Duplicates(tuple(files), path))
    groups = components(NO_EDGES)
    for bucket in buckets:
        groups = components(np.concatenate([groups.edges(), _edges(phase.folder(step, bucket.name))]))
    return groups


def _edges(folder: Path) -> Edges:
    table = pq.read_table(folder / "edges.parquet")
    return np.stack([np.asarray(table[name], dtype=np.int64) for name in EDGES_SCHEMA.names], axis=1)
