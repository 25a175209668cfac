"""What a build made of a corpus's documents, and their original texts."""

import gzip
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from fastwarc.warc import ArchiveIterator, WarcRecordType

PLACEHOLDER = re.compile(r"\[(EMAIL|PHONE|CARD|IBAN|IP|NATIONAL_ID|ADDRESS)\]")


@dataclass(frozen=True)
class Dropped:
    """`keeper` is the URL of the document that this one repeats, where it is dropped for that."""

    step: str
    reason: str
    detail: str
    keeper: str


@dataclass(frozen=True)
class Redacted:
    """A placeholder in a kept document, with the text before it."""

    url: str
    kind: str
    before: str


@dataclass(frozen=True)
class Outcome:
    """What came out. `kept` holds the texts of the wanted documents alone, `present` the URLs of all, kept or dropped;
    `repaired` are kept ones whose Unicode was repaired.
    """

    kept: dict[str, str]
    dropped: dict[str, Dropped]
    redacted: list[Redacted]
    repaired: list[str]
    present: frozenset[str]


def read_outcome(corpus: Path, wanted: Collection[str]) -> Outcome:
    """Reads the parts of a corpus. Of kept documents only the `wanted` URLs' texts are held in memory."""
    kept: dict[str, str] = {}
    redacted: list[Redacted] = []
    repaired: list[str] = []
    url_of: dict[str, str] = {}
    for path in sorted(path for split in ("train", "heldout") for path in (corpus / split).glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(columns=["id", "url", "edits", "text"]):
            for row in batch.to_pylist():
                url_of[row["id"]] = row["url"]
                if row["url"] in wanted:
                    kept[row["url"]] = row["text"]
                if "repair" in row["edits"]:
                    repaired.append(row["url"])
                for found in PLACEHOLDER.finditer(row["text"]):
                    redacted.append(
                        Redacted(row["url"], found[1], row["text"][max(0, found.start() - 40) : found.start()])
                    )
    rows = []
    for path in sorted((corpus / "dropped").glob("*.parquet")):
        rows += pq.read_table(path, columns=["id", "url", "step", "reason", "detail"]).to_pylist()
    url_of |= {row["id"]: row["url"] for row in rows}
    dropped = {
        row["url"]: Dropped(row["step"], row["reason"], row["detail"] or "", url_of.get(row["detail"] or "", ""))
        for row in rows
    }
    return Outcome(kept, dropped, redacted, repaired, frozenset(url_of.values()))


def originals(folder: Path, wanted: Collection[str]) -> Iterator[tuple[str, str]]:
    """URL and text (HTML of a page) of the wanted documents as they stand in the corpus before the build."""
    for path in sorted((folder / "web").glob("*.warc.gz")):
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
                if (url := record.headers["WARC-Target-URI"]) in wanted:
                    yield url, record.reader.read().decode()
    for path in sorted((folder / "reference").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row["url"] in wanted:
                    yield row["url"], row["text"]
    for url in sorted(url for url in wanted if url.startswith("file:")):
        yield url, (folder / "code" / url.removeprefix("file:")).read_text("utf-8", "replace")
