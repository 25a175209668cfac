"""Parquet files: one document a row, read a few rows at a time."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from arriero.data.readers.files import BUFFER_BYTES, RawFile
from arriero.data.readers.records import (
    BOMB_BYTES,
    BOMB_RATIO,
    Quarantined,
    Reading,
    Record,
    Rejected,
    check_size,
    decode_utf8,
)

# So many long texts are in memory at once; a dictionary repeats one in few bytes. Larger batches are not much faster.
BATCH_ROWS = 4


def read_parquet(raw: RawFile, reading: Reading) -> Iterator[Record | Quarantined]:
    """The rows; memory follows the file's pages, not its row groups. A damaged row group is passed over from its first
    damaged row on.
    """
    try:
        file = _open(raw)
        columns = _columns(file, reading)
    except Rejected as rejected:
        yield reading.bad(0, rejected)
        return
    first = 0
    for group in range(file.num_row_groups):
        yield from _group(file, group, first, columns, reading)
        first += file.metadata.row_group(group).num_rows


def _open(raw: RawFile) -> pq.ParquetFile:
    size = raw.seek(0, 2)
    if not size:
        raise Rejected("empty")
    try:
        return pq.ParquetFile(pa.PythonFile(raw, "r"), pre_buffer=False, buffer_size=BUFFER_BYTES)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise Rejected("corrupt_parquet", str(error)) from None


def _columns(file: pq.ParquetFile, reading: Reading) -> list[str]:
    """The columns to read. Raises Rejected unless one of them holds text."""
    schema, source = file.schema_arrow, reading.source
    if source.text_field not in schema.names:
        raise Rejected("missing_text", f"no column {source.text_field!r}, only {', '.join(schema.names)}")
    kind = schema.field(source.text_field).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not _is_bytes(value):
        raise Rejected("not_text", f"the column {source.text_field!r} holds {kind}")
    return [name for name in (source.text_field, source.id_field, source.url_field, "module") if name in schema.names]


def _is_bytes(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in (*tests, pa.types.is_string_view, pa.types.is_binary_view))


def _group(
    file: pq.ParquetFile, group: int, first: int, columns: list[str], reading: Reading
) -> Iterator[Record | Quarantined]:
    row = first
    try:
        _check_group(file, group, columns)
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False):
            for values in zip(*(_values(batch.column(name)) for name in columns), strict=True):
                try:
                    yield _record(dict(zip(columns, values, strict=True)), row, reading)
                except Rejected as rejected:
                    yield reading.bad(row, rejected)
                row += 1
    except Rejected as rejected:
        yield reading.bad(row, rejected)
    except (OSError, ValueError, pa.ArrowException) as error:  # of the content: RawFile's own are InputErrors
        yield reading.bad(row, Rejected("corrupt_parquet", f"row group {group}: {error}"))


def _check_group(file: pq.ParquetFile, group: int, columns: list[str]) -> None:
    """Raises Rejected if a column expands as no text does."""
    about = file.metadata.row_group(group)
    for index in range(about.num_columns):
        column = about.column(index)
        size, packed = column.total_uncompressed_size, column.total_compressed_size
        if column.path_in_schema in columns and size > BOMB_BYTES and size > BOMB_RATIO * packed:
            raise Rejected("bomb", f"row group {group}: {packed} bytes expand to {size}")


def _values(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _record(row: dict[str, pa.Scalar], place: int, reading: Reading) -> Record:
    source = reading.source
    text = row[source.text_field]
    if not text.is_valid:
        raise Rejected("missing_text", "the text is null")
    check_size(text.as_buffer().size)
    id, url, module = (_name(row.get(field)) for field in (source.id_field, source.url_field, "module"))
    return reading.record(place, url, _text(text), id=id, module=module)


def _text(value: pa.BinaryScalar) -> str:
    """By way of its bytes, since Parquet files do not promise that they are UTF-8."""
    return decode_utf8(value.as_buffer().to_pybytes())


def _name(value: pa.Scalar | None) -> str:
    """An id, URL or module as text; empty where the row has none."""
    if value is None or not value.is_valid:
        return ""
    if isinstance(value, pa.BinaryScalar):
        return _text(value)
    if pa.types.is_integer(value.type):
        return str(value.as_py())
    raise Rejected("not_text", f"an id, URL or module is {value.type}")
