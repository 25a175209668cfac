"""Small corpora as data.build writes them."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from arriero.corpus import SPLITS, STORED, STORED_SCHEMA, Part, write_parts
from arriero.data.parquet import write_parquet

Row = dict[str, str]


def rows_of(texts: Iterable[str], source: str = "web") -> list[Row]:
    return [{"id": f"{source}{n:04d}", "source": source, "text": text} for n, text in enumerate(texts)]


def write_corpus(folder: Path, train: list[Row], heldout: list[Row] | None = None, part_documents: int = 1000) -> Path:
    """The parts of both splits and their list; columns that a row lacks are empty."""
    parts: dict[str, list[Part]] = {}
    for split, rows in zip(SPLITS, (train, heldout or []), strict=True):
        parts[split] = []
        for source in sorted({row["source"] for row in rows}):
            own = [dict.fromkeys(STORED, "") | row for row in rows if row["source"] == source]
            for start in range(0, len(own), part_documents):
                some = own[start : start + part_documents]
                name = f"{split}/{len(parts[split]):05d}.parquet"
                write_parquet(folder / name, pa.Table.from_pylist(some, schema=STORED_SCHEMA))
                size = sum(len(row["text"].encode()) for row in some)
                parts[split].append(Part(name, source, len(some), size))
    write_parts(folder, parts)
    return folder
