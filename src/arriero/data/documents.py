"""The table that every data step takes and returns.

A step is a pure function Table -> Table on `SCHEMA`: it may rewrite `text` or `language`, and it drops a document by
giving it a `reason`. It never removes, adds or reorders rows. What it did to a document that stays, it adds to `edits`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

# `source` is a name in the crawl's sources.json and `kind` its SourceKind; `module` is the unit that is held out whole;
# `origin` is the file that the document was read from and its place there (byte or row), as "file:place".
# `text` is HTML before the extraction step and plain text after it. `language` is empty until known. `edits` says what
# the steps changed in the text ("boilerplate 3 lines; pii EMAIL 2"), empty if nothing. `reason` is null while the
# document is kept; `detail` then says more where there is more to say: the value that failed, the document it repeats.
SCHEMA = pa.schema(
    [
        (name, pa.large_string())
        for name in (
            *("id", "source", "kind", "url", "module", "origin"),
            *("text", "language", "edits", "reason", "detail"),
        )
    ]
)


@dataclass(frozen=True)
class Step:
    """A named step; it sees the documents in batches."""

    name: str
    run: Callable[[pa.Table], pa.Table]


def documents_table(rows: list[dict[str, str | None]]) -> pa.Table:
    """Rows with the columns of SCHEMA; `origin` and what the steps fill in may be missing."""
    blank = {"origin": "", "language": "", "edits": "", "reason": None, "detail": None}
    return pa.Table.from_pylist([blank | row for row in rows], schema=SCHEMA)


def with_columns(table: pa.Table, **columns: object) -> pa.Table:
    """`table` with the named columns replaced by the given values (Arrow arrays or sequences of str | None)."""
    for name, values in columns.items():
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, pa.large_string())
        table = table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), array.cast(pa.large_string()))
    return table


def with_edits(table: pa.Table, edits: list[str]) -> pa.Table:
    """`table` with what a step did ("" for nothing) added to each document's `edits`."""
    if not any(edits):
        return table
    before = table["edits"].to_pylist()
    return with_columns(table, edits=["; ".join(filter(None, pair)) for pair in zip(before, edits, strict=True)])


def with_blank(table: pa.Table) -> pa.Table:
    """`table` with those columns of SCHEMA that it lacks, null."""
    columns = {name: table[name] if name in table.column_names else pa.nulls(len(table)) for name in SCHEMA.names}
    return pa.table(columns).cast(SCHEMA)
