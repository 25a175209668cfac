"""Reads a file of a source, whatever its format, a record at a time."""

from collections.abc import Callable, Iterator

from arriero.data.readers.files import RawFile, SourceFile, open_file
from arriero.data.readers.jsonl import read_jsonl
from arriero.data.readers.parquet import read_parquet
from arriero.data.readers.records import Quarantined, Reading, Record, Rejected
from arriero.data.readers.source import SourceConfig, SourceFormat
from arriero.data.readers.warc import read_warc, read_wet
from arriero.data.readers.whole_file import read_html, read_text

Reader = Callable[[RawFile, Reading], Iterator[Record | Quarantined]]
READERS: dict[SourceFormat, Reader] = {
    SourceFormat.WARC: read_warc,
    SourceFormat.WET: read_wet,
    SourceFormat.HTML: read_html,
    SourceFormat.JSONL: read_jsonl,
    SourceFormat.PARQUET: read_parquet,
    SourceFormat.TEXT: read_text,
}


def read_file(file: SourceFile, source: SourceConfig) -> Iterator[Record | Quarantined]:
    """The documents of a file, in its order, and what in it cannot become one; a file with nothing is `empty`.

    Raises InputError if the store fails, which says nothing of the file.
    """
    reading = Reading(file, source)
    try:
        raw = open_file(file.uri)
    except OSError as error:
        yield reading.bad(0, Rejected("unreadable", error.strerror or str(error)))
        return
    nothing = True
    with raw:
        for item in READERS[file.format](raw, reading):
            nothing = False
            yield item
    if nothing:
        yield reading.bad(0, Rejected("empty"))
