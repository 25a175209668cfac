"""WARC and WET files: a crawl's pages as HTML, and their plain text."""

from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from typing import Any

from fastwarc.stream_io import BrotliReader, ChunkedReader, GzipReader, ZstdReader
from fastwarc.warc import WarcRecord

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
from arriero.data.readers.warc_frames import Frame, frames
from arriero.data.sources import document_id
from arriero.data.warc import MODULE_HEADER

HTML_TYPES = ("text/html", "application/xhtml+xml")
DECODERS: dict[str, Callable[[Any], Any]] = {
    "chunked": ChunkedReader,
    "gzip": GzipReader,
    "x-gzip": GzipReader,
    "deflate": partial(GzipReader, zlib=True),
    "br": BrotliReader,
    "zstd": ZstdReader,
}


def read_warc(raw: RawFile, reading: Reading) -> Iterator[Record | Quarantined]:
    """Pages of response records. Those that are none come with their reason: `http_status`, `not_html`."""
    return _read(raw, reading, b"response")


def read_wet(raw: RawFile, reading: Reading) -> Iterator[Record | Quarantined]:
    """The text of conversion records, as Common Crawl's WET files hold it."""
    return _read(raw, reading, b"conversion")


def _read(raw: RawFile, reading: Reading, type: bytes) -> Iterator[Record | Quarantined]:
    for frame in frames(raw, frozenset((type,))):
        try:
            yield _record(frame, reading, is_page=type == b"response")
        except Rejected as rejected:
            yield reading.bad(frame.offset, rejected)


def _record(frame: Frame, reading: Reading, is_page: bool) -> Record:
    if isinstance(frame.data, Rejected):
        raise frame.data
    try:
        record = WarcRecord.from_bytes(frame.data)
        url, id, module = (
            record.headers.get(name) or "" for name in ("WARC-Target-URI", "WARC-Record-ID", MODULE_HEADER)
        )
    except (OSError, ValueError) as error:
        raise Rejected("bad_header", str(error)) from None
    url = url.strip("<>")  # older crawlers put them around it
    place = f"{frame.offset}+{frame.inner}" if frame.inner else frame.offset
    if is_page:
        reason, text = _page(record)
    else:
        reason, text = None, decode_utf8(frame.data[frame.header_bytes :])
    # Without a record's id the place tells it from another capture of the same page.
    id = document_id(url, id) if id else ""
    return reading.record(place, url, text, id=id, module=module, reason=reason)


def _page(record: WarcRecord) -> tuple[str | None, str]:
    """(reason why it is no page, HTML) of a response record."""
    try:
        record.parse_http(auto_decode="none")  # its own decoding holds the whole body, however much it expands
        if record.http_headers is None or record.http_headers.status_code != 200:
            return "http_status", ""
        if (record.http_content_type or "").strip().lower() not in HTML_TYPES:
            return "not_html", ""
        body = bytes(record.reader.read())
    except OSError as error:
        raise Rejected("bad_http", str(error)) from None
    codings = [
        coding.strip().lower()
        for name in ("Transfer-Encoding", "Content-Encoding")
        for coding in reversed((record.http_headers.get(name) or "").split(","))
    ]
    return None, decode_html(_decoded(body, codings), record.http_charset)


def _decoded(body: bytes, codings: list[str]) -> bytes:
    """The body without its codings, in the order in which they come off. Raises Rejected if it is too large."""
    stream: Any = BytesIO(body)
    for coding in codings:
        stream = DECODERS[coding](stream) if coding in DECODERS else stream
    parts, size = [], 0
    try:
        while size <= MOST_BYTES and (part := stream.read(MOST_BYTES + 1 - size)):
            parts.append(part)
            size += len(part)
    except OSError as error:
        if body.startswith(b"\x1f\x8b"):
            raise Rejected("bad_http", str(error)) from None
        return body  # many crawlers store it decoded, under the headers of the answer
    check_size(size)
    return b"".join(parts)
