"""Cuts a WARC, plain or gzipped, into its records, and goes on after what is broken.

fastwarc's own iterator takes a cut record for a shorter one, ends at the first damage, and follows a wrong length into
the next records; so the records are cut here, and fastwarc only parses them. Source: ISO 28500 (WARC 1.1), section 4:
`version CRLF *named-field CRLF block CRLF CRLF`; annex D: each record is a gzip member of its own.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from arriero.data.readers.files import RawFile
from arriero.data.readers.records import MOST_BYTES, Rejected, check_bomb

CHUNK = 1 << 16  # zlib copies what of it is behind a member, so it is not much larger than a member
GZIP, END = b"\x1f\x8b\x08", b"\r\n\r\n"
MOST_HEADER = 64 << 10
# Behind each broken record some bytes are read again: a file in which they are many times what is behind is given up.
READ_AGAIN, READ_AGAIN_BYTES = 8, 64 << 20
GZIP_MEMBER = re.compile(re.escape(GZIP))
VERSION = re.compile(rb"WARC/1\.\d\r\n")
LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,18})[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
TYPE = re.compile(rb"^warc-type:[ \t]*(\w+)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Frame:
    """A record's bytes, or why there are none. `inner`: its place in a gzip member that holds several."""

    offset: int
    inner: int
    data: bytes | Rejected
    header_bytes: int = 0


class _Stream:
    """The archive's bytes from an offset on; `buffer` holds those that are read and not taken."""

    def __init__(self, raw: RawFile, offset: int) -> None:
        raw.seek(offset)
        self.raw, self.buffer, self.start = raw, bytearray(), offset
        self.record: tuple[int, int] | None = None  # the place of the record that is being read

    def fill(self, size: int) -> bool:
        """Whether `size` bytes are there, reading as many as needed."""
        while len(self.buffer) < size:
            if not self.more():
                return False
        return True

    def more(self) -> bool:
        chunk = self.raw.read(CHUNK)
        self.buffer += chunk
        return bool(chunk)

    def take(self, size: int) -> None:
        self.start += size
        del self.buffer[:size]

    def place(self) -> tuple[int, int]:
        return self.start, 0

    def settle(self) -> None:
        """Checks what closes the record that was just taken."""

    def skip(self, size: int) -> bool:
        """Takes `size` bytes without holding them; False if there are fewer."""
        while size > len(self.buffer):
            size -= len(self.buffer)
            self.take(len(self.buffer))
            if not self.more():
                return False
        self.take(size)
        return True


class _GzipStream(_Stream):
    """`start` is that of the member that the buffer begins in, `inner` the place in it."""

    def __init__(self, raw: RawFile, offset: int) -> None:
        super().__init__(raw, offset)
        self.packed, self.inner = b"", 0
        self.next_member = offset
        self.member: zlib._Decompress | None = None
        self.expanded = 0

    def more(self) -> bool:
        if self.member is None and not self._open():
            return False
        before = len(self.buffer)
        while len(self.buffer) == before and self.member is not None:
            self._inflate()
        return len(self.buffer) > before or self.more()

    def _open(self) -> bool:
        """Begins the next member; False at the end of the file."""
        self.packed = self.packed or self.raw.read(CHUNK)
        if not self.packed:
            return False
        if not self.buffer:
            self.start, self.inner = self.next_member, 0
        self.member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        return True

    def _inflate(self) -> None:
        assert self.member is not None
        self.packed = self.packed or self.raw.read(CHUNK)
        if not self.packed:
            raise Rejected("cut", "the file ends within a gzip member")
        try:
            out = self.member.decompress(self.packed, CHUNK)
        except zlib.error as error:
            raise Rejected("corrupt_gzip", str(error)) from None
        self.buffer += out
        self.expanded += len(out)
        check_bomb(self.expanded, self.raw.tell())
        self.packed = self.member.unconsumed_tail
        if self.member.eof:  # zlib has checked length and checksum
            self.packed, self.member = self.member.unused_data, None
            self.next_member = self.raw.tell() - len(self.packed)

    def take(self, size: int) -> None:
        self.inner += size
        del self.buffer[:size]

    def place(self) -> tuple[int, int]:
        return self.start, self.inner

    def settle(self) -> None:
        while self.member is not None and not self.buffer:
            self._inflate()


def frames(raw: RawFile, types: frozenset[bytes]) -> Iterator[Frame]:
    """The records of the given types. After a broken one it goes on at the next (in gzip, that begins a member)."""
    start = raw.read(CHUNK)
    is_gzip = not start.lstrip().startswith(b"WARC/") and (GZIP in start or raw.uri.endswith(".gz"))
    offset = 0
    while raw.count <= READ_AGAIN * offset + READ_AGAIN_BYTES:
        stream = _GzipStream(raw, offset) if is_gzip else _Stream(raw, offset)
        try:
            yield from _whole_frames(stream, types)
            return
        except Rejected as rejected:
            offset, inner = stream.record or stream.place()
            yield Frame(offset, inner, rejected)
            if rejected.reason == "bomb":
                return
        following = _next_record(raw, offset + 1, is_gzip)
        if following is None:
            return
        offset = following
    yield Frame(offset, 0, Rejected("too_many_broken", "too many broken records; the rest is not read"))


def _whole_frames(stream: _Stream, types: frozenset[bytes]) -> Iterator[Frame]:
    """The records from the stream's start on. Raises Rejected, with the stream's `record` that of the broken one."""
    while _skip_newlines(stream):
        offset, inner = stream.record = stream.place()
        header, length, type = _header(stream)
        data: bytes | Rejected = Rejected("too_large", f"{length} bytes; {MOST_BYTES} are the most of a record")
        if type in types and length <= MOST_BYTES:
            if not stream.fill(header + length):
                raise Rejected("cut", f"{len(stream.buffer) - header} of {length} bytes are left of the record")
            data = bytes(memoryview(stream.buffer)[: header + length])
        if not stream.skip(header + length):
            raise Rejected("cut", f"the file ends before the {length} bytes of the record do")
        _check_end(stream)
        stream.record = None
        if type in types:
            yield Frame(offset, inner, data, header)


def _skip_newlines(stream: _Stream) -> bool:
    """Whether anything follows them."""
    while stream.fill(1):
        if stream.buffer[0] not in b"\r\n":
            return True
        stream.take(len(stream.buffer) - len(stream.buffer.lstrip(b"\r\n")))
    return False


def _header(stream: _Stream) -> tuple[int, int, bytes]:
    """(bytes of the header, bytes of the block, type) of the record that the stream is at."""
    stream.fill(5)
    if not stream.buffer.startswith(b"WARC/"):
        raise Rejected("no_record", f"no WARC record begins here, but {bytes(stream.buffer[:16])!r}")
    end = -1
    while (end := stream.buffer.find(END, 0, MOST_HEADER)) < 0:
        if len(stream.buffer) >= MOST_HEADER or not stream.more():
            raise Rejected("bad_header", "the record's header does not end")
    header = bytes(memoryview(stream.buffer)[: end + 2])
    length, type = LENGTH.search(header), TYPE.search(header)
    if VERSION.search(header, 1):
        raise Rejected("bad_header", "another record begins within the record's header")
    if length is None or type is None:
        raise Rejected("bad_header", "the record's header has no valid Content-Length, or no WARC-Type")
    return end + 4, int(length[1]), type[1].lower()


def _check_end(stream: _Stream) -> None:
    """Raises Rejected unless a record's end is where its length put it."""
    if stream.fill(4) and stream.buffer.startswith(END):
        stream.take(4)
        stream.settle()
    elif _skip_newlines(stream) and not (stream.fill(5) and stream.buffer.startswith(b"WARC/")):
        raise Rejected("bad_length", "the record does not end where its Content-Length says")


def _next_record(raw: RawFile, offset: int, is_gzip: bool) -> int | None:
    """Where a record begins, from `offset` on; None if nowhere. What is broken need not end with its line."""
    mark, length = (GZIP_MEMBER, len(GZIP)) if is_gzip else (VERSION, len(b"WARC/1.0\r\n"))
    start = offset  # of `window` in the file
    raw.seek(start)
    window = b""
    while chunk := raw.read(CHUNK):
        window += chunk
        for found in mark.finditer(window):
            if not is_gzip or _begins_record(raw, start + found.start()):
                return start + found.start()
        keep = min(length - 1, len(window))
        start, window = start + len(window) - keep, window[len(window) - keep :]
        raw.seek(start + keep)
    return None


def _begins_record(raw: RawFile, offset: int) -> bool:
    raw.seek(offset)
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(raw.read(512), 16).startswith(b"WARC/")
    except zlib.error:
        return False
