"""Steps over batches of documents: what they keep goes on, what they drop is counted and written down.

The parts of a unit that every phase needs: a stream of batches, a Parquet file written batch by batch, and the sieve.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arriero.corpus import DROPPED_SCHEMA
from arriero.data.documents import SCHEMA, Step, documents_table

BATCH_DOCUMENTS = 256
BATCH_CHARACTERS = 4 << 20
EXCERPT_CHARACTERS = 1000


class TableFile:
    """A Parquet file that grows batch by batch; a context manager. Equal batches give equal bytes.

    `raw` columns are hashes, which neither dictionaries nor compression make smaller. Row groups have `group_rows`, or
    are the batches.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, level: int = 1, raw: Sequence[str] = (), group_rows: int = 1
    ) -> None:
        self.rows = 0
        self._waiting: list[pa.Table] = []
        self._group_rows = group_rows
        packed = [name for name in schema.names if name not in raw]
        self._writer = pq.ParquetWriter(
            path,
            schema,
            use_dictionary=packed,
            compression={name: "none" if name in raw else "zstd" for name in schema.names},
            compression_level=dict.fromkeys(packed, level),
            write_statistics=packed,
        )
        self._schema = schema

    def write(self, table: pa.Table) -> None:
        if table.num_rows:
            self._waiting.append(table.select(self._schema.names).cast(self._schema))
            self.rows += table.num_rows
            if sum(map(len, self._waiting)) >= self._group_rows:
                self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


def row_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """A file's batches, as they were written."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=None if columns is None else list(columns))


def tables(rows: Iterable[dict[str, str | None]]) -> Iterator[pa.Table]:
    """Documents in tables of at most BATCH_DOCUMENTS and about BATCH_CHARACTERS."""
    batch: list[dict[str, str | None]] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row["text"] or "")
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield documents_table(batch)
            batch, characters = [], 0
    if batch:
        yield documents_table(batch)


def dropped_rows(table: pa.Table, step: str) -> pa.Table:
    """What is written down of documents that `step` dropped."""
    excerpt = pc.utf8_slice_codeunits(table["text"], 0, EXCERPT_CHARACTERS)
    given = {"step": pa.array([step] * table.num_rows), "excerpt": excerpt}
    columns = [given.get(name, table[name] if name in table.column_names else None) for name in DROPPED_SCHEMA.names]
    return pa.table(columns, names=DROPPED_SCHEMA.names).cast(DROPPED_SCHEMA)


class Sieve:
    """Runs `steps` on tables one after the other, on what the step before kept."""

    def __init__(self, steps: Sequence[Step], dropped: TableFile) -> None:
        self.steps = steps
        self.seconds = dict.fromkeys((step.name for step in steps), 0.0)
        self._dropped = dropped
        self._counts: dict[str, dict[str, Counter[str]]] = {step.name: {} for step in steps}

    def __call__(self, table: pa.Table) -> pa.Table:
        """The documents that all steps keep."""
        for step in self.steps:
            if not table.num_rows:
                break
            started = time.process_time()
            table = self._step(step, table)
            self.seconds[step.name] += time.process_time() - started
        return table

    def _step(self, step: Step, table: pa.Table) -> pa.Table:
        result = step.run(table)
        assert result.schema.equals(SCHEMA), f"step {step.name} changed the columns"
        assert result["id"].equals(table["id"]), f"step {step.name} changed the documents"
        kept = pc.is_null(result["reason"])
        if pc.all(kept).as_py():
            return result
        gone = result.filter(pc.invert(kept))
        self._dropped.write(dropped_rows(gone, step.name))
        for source, reason in zip(gone["source"].to_pylist(), gone["reason"].to_pylist(), strict=True):
            self._counts[step.name].setdefault(source, Counter())[reason] += 1
        return result.filter(kept)

    def counts(self) -> dict[str, Any]:
        """Step -> source -> reason -> documents dropped."""
        return {
            step: {source: dict(sorted(reasons.items())) for source, reasons in sorted(by_source.items())}
            for step, by_source in self._counts.items()
        }
