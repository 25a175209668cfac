"""Writes pages as a gzipped WARC that is equal, byte for byte, for equal pages.

A crawl's dates and record ids would differ from run to run, so the date is fixed and the id comes from the content.
"""

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from arriero.artifacts.files import write_atomic

DATE = "2023-07-18T00:00:00Z"  # of every record
MODULE_HEADER = "X-Arriero-Module"  # the page's held-out unit; absent from the WARCs of others


@dataclass(frozen=True)
class WebPage:
    """A page as a crawler got it. `module` is its held-out unit."""

    url: str
    module: str
    html: str
    licence: str


def write_warc(path: Path, pages: Iterable[WebPage]) -> None:
    """One response record a page, in order of URL."""
    buffer = BytesIO()
    writer = WARCWriter(buffer, gzip=True)
    for page in sorted(pages, key=lambda page: page.url):
        payload = page.html.encode()
        digest = hashlib.sha256(page.url.encode() + b"\0" + payload).digest()
        http = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
        headers = {
            "WARC-Date": DATE,
            "WARC-Record-ID": f"<urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}>",
            MODULE_HEADER: page.module,
        }
        record = writer.create_warc_record(
            page.url, "response", payload=BytesIO(payload), http_headers=http, warc_headers_dict=headers
        )
        writer.write_record(record)
    write_atomic(path, buffer.getvalue())
