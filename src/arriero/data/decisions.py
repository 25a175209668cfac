"""Which documents are dropped for what other documents hold: sites full of personal information, and duplicates.

A document is known by its number: its unit's number shifted by 32 bits, and its row in the unit's file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arriero.artifacts.files import replacing
from arriero.data.duplicates import UNIT_SHIFT

SCHEMA = pa.schema([("number", pa.int64()), ("step", pa.string()), ("reason", pa.string()), ("detail", pa.string())])
STEPS = ("pii", "exact_duplicates", "near_duplicates")


def write_decisions(path: Path, by_step: Mapping[str, pa.Table]) -> None:
    """Tables of number, reason and detail in one file, by document; a document is in one of them at most."""
    parts = [
        pa.table([found["number"], pa.array([step] * len(found)), found["reason"], found["detail"]], names=SCHEMA.names)
        for step, found in by_step.items()
    ]
    table = pa.concat_tables([SCHEMA.empty_table(), *(part.cast(SCHEMA) for part in parts)]).sort_by("number")
    assert pc.count_distinct(table["number"]).as_py() == table.num_rows, "a document is dropped once"
    with replacing(path) as file:
        pq.write_table(table, file, compression="zstd", row_group_size=1 << 16)


@dataclass(frozen=True)
class Decisions:
    """What is dropped of some rows: `row_N` ascending."""

    row_N: NDArray[np.int64]
    table: pa.Table

    def slice_rows(self, first: int, last: int) -> "Decisions":
        """Those of rows `first` to `last` (excluded), counted from `first`."""
        start, stop = np.searchsorted(self.row_N, (first, last))
        return Decisions(self.row_N[start:stop] - first, self.table.slice(start, stop - start))

    def by_step(self) -> Iterator[tuple[str, "Decisions"]]:
        for step in STEPS:
            mask = pc.equal(self.table["step"], step)
            rows = np.flatnonzero(np.asarray(mask, dtype=bool))
            if len(rows):
                yield step, Decisions(self.row_N[rows], self.table.filter(mask))

    def of(self, documents: pa.Table) -> pa.Table:
        """The dropped rows of `documents`, with reason and detail."""
        lost = documents.take(self.row_N)
        return lost.append_column("reason", self.table["reason"]).append_column("detail", self.table["detail"])

    def kept(self, rows: int) -> pa.Array:
        """True for the rows that stay."""
        mask = np.ones(rows, dtype=bool)
        mask[self.row_N] = False
        return pa.array(mask)


def read_decisions(path: Path, unit: int) -> Decisions:
    """The decisions on a unit's documents."""
    span = (("number", ">=", unit << UNIT_SHIFT), ("number", "<", (unit + 1) << UNIT_SHIFT))
    table = pq.read_table(path, filters=list(span))
    return Decisions(np.asarray(table["number"], dtype=np.int64) - (unit << UNIT_SHIFT), table)
