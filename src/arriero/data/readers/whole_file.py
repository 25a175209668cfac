"""Folders of HTML pages, and of prose or code: one document a file."""

from collections.abc import Callable, Iterator

from arriero.data.readers.files import RawFile
from arriero.data.readers.records import (
    MOST_BYTES,
    Quarantined,
    Reading,
    Record,
    Rejected,
    check_size,
    decode_html,
    decode_utf8,
)


def read_html(raw: RawFile, reading: Reading) -> Iterator[Record | Quarantined]:
    """The page, decoded by the encoding that it states."""
    return _read(raw, reading, lambda body: decode_html(body, None))


def read_text(raw: RawFile, reading: Reading) -> Iterator[Record | Quarantined]:
    """The file's text, which must be UTF-8."""
    return _read(raw, reading, decode_utf8)


def _read(raw: RawFile, reading: Reading, decode: Callable[[bytes], str]) -> Iterator[Record | Quarantined]:
    body = _whole(raw)
    if not body:
        return
    module = "" if reading.source.base_url else reading.file.name
    try:
        check_size(len(body))
        yield reading.record(0, reading.url_of_file(), decode(body), module=module)
    except Rejected as rejected:
        yield reading.bad(0, rejected)


def _whole(raw: RawFile) -> bytes:
    """The file, or as much as shows that it is too large."""
    parts, size = [], 0
    while size <= MOST_BYTES and (part := raw.read(MOST_BYTES + 1 - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)
