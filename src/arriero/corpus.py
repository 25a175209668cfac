"""The corpus's files, as those who read it see them: `train/NNNNN.parquet` and `heldout/NNNNN.parquet`.

Each part holds documents of one source, in the order of the crawl, with the columns `STORED`. `parts.json` lists them:
nothing else in the folder counts. This stands outside of `data`, which uses the tokenizer, since the tokenizer is
trained on a corpus.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from arriero.artifacts.files import read_json, write_json
from arriero.errors import InputError

STORED = ("id", "source", "url", "module", "origin", "language", "edits", "text")
PARTS_FILE = "parts.json"
SPLITS = ("train", "heldout")
DROPPED = "dropped"
BATCH_DOCUMENTS = 256
STORED_SCHEMA = pa.schema([(name, pa.string()) for name in STORED])
# Of every document that was dropped: by which step, for what reason, and how its text began.
DROPPED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "source", "url", "origin", "step", "reason", "detail", "excerpt")]
)


@dataclass(frozen=True)
class Part:
    """One file of a corpus; `file` is its place within the folder, `bytes` those of its documents' text."""

    file: str
    source: str
    documents: int
    bytes: int


def write_parts(corpus: Path, parts: dict[str, list[Part]]) -> None:
    """`parts` by split."""
    write_json(corpus / PARTS_FILE, {split: [asdict(part) for part in parts[split]] for split in SPLITS})


def read_parts(corpus: Path, split: str) -> list[Part]:
    """Raises InputError if the folder is not a corpus."""
    try:
        return [Part(**row) for row in read_json(corpus / PARTS_FILE)[split]]
    except (TypeError, KeyError) as error:
        raise InputError(
            f"{corpus / PARTS_FILE} does not list a corpus's parts ({error}). Run data.build anew."
        ) from None


def batches(corpus: Path, split: str, columns: Sequence[str] = STORED) -> Iterator[pa.RecordBatch]:
    """All documents of a split, some at a time."""
    for part in read_parts(corpus, split):
        with pq.ParquetFile(corpus / part.file) as file:
            yield from file.iter_batches(batch_size=BATCH_DOCUMENTS, columns=list(columns))


def texts(corpus: Path, split: str) -> Iterator[list[str]]:
    """The texts of a split, some at a time."""
    for batch in batches(corpus, split, ["text"]):
        yield batch.column(0).to_pylist()


def read(corpus: Path, split: str, columns: Sequence[str] = STORED) -> pa.Table:
    """A whole split in memory."""
    schema = pa.schema([STORED_SCHEMA.field(name) for name in columns])
    return pa.Table.from_batches(batches(corpus, split, columns), schema)
