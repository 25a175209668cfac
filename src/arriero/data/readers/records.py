"""What the readers yield: a document as its file holds it, or the place and reason of what cannot become one."""

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

from arriero.data.readers.files import SourceFile
from arriero.data.readers.source import SourceConfig
from arriero.data.sites import site_of
from arriero.data.sources import document_id

# A longer document (a line, a page, a file, a row) is quarantined unread. The longest books have 10 MB.
MOST_BYTES = 16 << 20
# Compressed bytes that expand this much are no text: a file is given up once it has put out so many bytes at such a
# ratio. Repetitive logs reach 50; gzip cannot pass 1032, zstd can.
BOMB_BYTES, BOMB_RATIO = 256 << 20, 200
DETAIL_CHARACTERS = 200
AUTHORITY = re.compile(r"[A-Za-z][\w.+-]*://[^/?#\s]+")


@dataclass(frozen=True, slots=True)
class Record:
    """A document as read: `text` is HTML for a web source. `reason` is set where it is none (`http_status`)."""

    id: str
    url: str
    module: str
    origin: str
    text: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What cannot be read. `offset`: the byte in the file (in its decompressed text, where lines are compressed; the
    gzip member of a WARC), or the row of a Parquet file, from 0.
    """

    file: str
    offset: int
    reason: str
    detail: str = ""


class Rejected(Exception):  # noqa: N818 - of a file's content, caught by the readers
    """What is being read cannot become a document."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Reading:
    """The file being read and its source: makes what a reader yields."""

    file: SourceFile
    source: SourceConfig

    def bad(self, offset: int, rejected: Rejected) -> Quarantined:
        return Quarantined(self.file.name, offset, rejected.reason, rejected.detail[:DETAIL_CHARACTERS])

    def record(
        self, place: int | str, url: str, text: str, *, id: str = "", module: str = "", reason: str | None = None
    ) -> Record:
        """A document at `place`. Raises Rejected if its text holds NUL, which no text does."""
        if "\0" in text:
            raise Rejected("nul_bytes", f"the first at character {text.index(chr(0))}")
        origin = f"{self.file.name}:{place}"
        id = id or document_id(f"{self.source.name}/{origin}", url)
        return Record(id, url, module or _site(url) or id, origin, text, reason)

    def url_of_file(self) -> str:
        base = self.source.base_url
        return f"{base.rstrip('/')}/{self.file.name}" if base else f"file:{self.file.name}"


def _site(url: str) -> str:
    """The registrable domain of a URL; empty if it names no host."""
    match = AUTHORITY.match(url)
    return _site_of_authority(match[0]) if match else ""


@lru_cache(1 << 16)
def _site_of_authority(authority: str) -> str:
    try:
        return site_of(authority) if urlsplit(authority).hostname else ""
    except ValueError:  # "http://[" and the like
        return ""


def decode_html(body: bytes, declared: str | None) -> str:
    """By the declared encoding, else by the one that the bytes tell, as browsers do. Nothing is refused."""
    # Unknown names, and those of Python alone ("utf-7", "hex"), are no encodings of the web.
    known = map_encoding_to_html5(declared.strip(" \"'"), False) if declared else None
    return str(bytes_to_str(body, known or detect_encoding(body) or "utf-8"))


def decode_utf8(body: bytes) -> str:
    """Raises Rejected with line and byte."""
    try:
        return str(body.removeprefix(codecs.BOM_UTF8), "utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise Rejected("invalid_utf8", f"byte {error.start}, in line {line}") from None


def check_bomb(expanded: int, compressed: int) -> None:
    """Raises Rejected if so few bytes have become so many."""
    if expanded > BOMB_BYTES and expanded > BOMB_RATIO * compressed:
        raise Rejected("bomb", f"{compressed} bytes expand to more than {expanded}")


def check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise Rejected("too_large", f"{size} bytes; {MOST_BYTES} are the most of a document")
