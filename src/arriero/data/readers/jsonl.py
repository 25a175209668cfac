"""JSON Lines, plain or compressed by gzip or zstd: one document a line."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from arriero.data.readers.files import RawFile
from arriero.data.readers.records import (
    MOST_BYTES,
    Quarantined,
    Reading,
    Record,
    Rejected,
    check_bomb,
    decode_utf8,
)

CHUNK = 1 << 20
# JSON text never begins with these bytes, so the content tells how it is compressed.
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
# Python takes 64 bytes and more for a list or an object, 32 for a number, and a hostile line could hold millions. Text
# has far fewer of these characters.
MOST_CONTAINERS, MOST_COMMAS = 1 << 18, 1 << 21


def read_jsonl(raw: RawFile, reading: Reading) -> Iterator[Record | Quarantined]:
    """Blank lines are passed over. Compressed bytes that are damaged or cut end the file up to CHUNK
    bytes of text before that place: damage shows only after wrong bytes have come out.
    """
    for offset, line in lines(_chunks(raw), MOST_BYTES):
        try:
            if isinstance(line, Rejected):
                raise line
            if line and not line.isspace():
                record = _record(line, offset, reading)
                if record is not None:
                    yield record
        except Rejected as rejected:
            yield reading.bad(offset, rejected)


def _record(line: bytes, offset: int, reading: Reading) -> Record | None:
    """The document of a line; None if it is another source's."""
    source, row = reading.source, _parse(line)
    if source.rows_of:
        owner = row.get("source")
        if owner not in source.rows_of:
            raise Rejected("unknown_source", f"{owner!r} is none of {', '.join(source.rows_of)}")
        if owner != source.name:
            return None
    text = row.get(source.text_field)
    if text is None:
        raise Rejected("missing_text", f"the row has no field {source.text_field!r}")
    if not isinstance(text, str):
        raise Rejected("not_text", f"the field {source.text_field!r} is a {type(text).__name__}")
    id, url, module = (_name(row, field) for field in (source.id_field, source.url_field, "module"))
    if b"\\u" in line:  # only an escape yields half of a character
        _check_surrogates(text, id, url, module)
    return reading.record(offset, url, text, id=id, module=module)


def _parse(line: bytes) -> dict[str, Any]:
    text = decode_utf8(line)
    if len(line) > MOST_CONTAINERS and _is_crowded(line):
        raise Rejected("bad_json", f"more than {MOST_CONTAINERS} lists and objects, or {MOST_COMMAS} values in a line")
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rejected("bad_json", str(error)) from None
    if not isinstance(row, dict):
        raise Rejected("bad_json", f"the line is a {type(row).__name__}, not an object")
    return row


def _is_crowded(line: bytes) -> bool:
    return line.count(b"[") + line.count(b"{") > MOST_CONTAINERS or line.count(b",") > MOST_COMMAS


def _name(row: dict[str, Any], field: str) -> str:
    """An id, URL or module as text; empty where the row has none."""
    value = row.get(field)
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Rejected("not_text", f"the field {field!r} is a {type(value).__name__}")


def _check_surrogates(*values: str) -> None:
    for value in values:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            around = ascii(error.object[max(0, error.start - 20) : error.end])
            raise Rejected("lone_surrogate", f"half a character near {around}") from None


def lines(chunks: Iterable[bytes | Rejected], most_bytes: int) -> Iterator[tuple[int, bytes | Rejected]]:
    """(offset, line) of the joined chunks. A line that is too long is not held; it and damage come as Rejected."""
    too_long = Rejected("too_large", f"a line of more than {most_bytes} bytes")
    offset, begun, skipping = 0, b"", False  # of the line that is not whole yet
    for chunk in chunks:
        if isinstance(chunk, Rejected):
            yield offset, chunk
            return
        *whole, rest = (begun + chunk).split(b"\n")
        for line in whole:
            if not skipping:
                yield offset, line if len(line) <= most_bytes else too_long
            offset, skipping = offset + len(line) + 1, False
        begun = rest
        if len(begun) > most_bytes and not skipping:
            yield offset, too_long
            skipping = True
        if skipping:
            offset, begun = offset + len(begun), b""
    if begun:
        yield offset, begun


def _chunks(raw: RawFile) -> Iterator[bytes | Rejected]:
    """The decompressed text. Damage is the last item."""
    start = raw.read(4)
    raw.seek(0)
    codec = next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)
    stream = raw if codec is None else pa.CompressedInputStream(pa.PythonFile(raw, "r"), codec)
    expanded = 0
    try:
        while chunk := stream.read(CHUNK):
            expanded += len(chunk)
            if codec is not None:
                check_bomb(expanded, raw.count)
            yield chunk
    except Rejected as rejected:
        yield rejected
    except OSError as error:  # of decompression: RawFile's own are InputErrors
        yield Rejected(f"corrupt_{codec}", str(error))
