"""What the tests of readers share: reading a path as a source, and WARCs written by warcio."""

import uuid
from io import BytesIO
from pathlib import Path
from typing import Any

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from arriero.data.readers.files import list_files
from arriero.data.readers.read import read_file
from arriero.data.readers.records import Quarantined, Record
from arriero.data.readers.source import SourceConfig
from arriero.data.sources import SourceKind


def source(path: Path | str, kind: SourceKind = SourceKind.TEXT, **settings: Any) -> SourceConfig:
    return SourceConfig(name="s", path=str(path), kind=kind, licence="CC0-1.0", **settings)


def read(path: Path | str, kind: SourceKind = SourceKind.TEXT, **settings: Any) -> list[Record | Quarantined]:
    described = source(path, kind, **settings)
    return [item for file in list_files(described) for item in read_file(file, described)]


def records(items: list[Record | Quarantined]) -> list[Record]:
    return [item for item in items if isinstance(item, Record)]


def quarantined(items: list[Record | Quarantined]) -> list[tuple[int, str]]:
    return [(item.offset, item.reason) for item in items if isinstance(item, Quarantined)]


def warc_record(
    url: str,
    body: bytes,
    *,
    gzip: bool,
    type: str = "response",
    status: str = "200 OK",
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/html; charset=utf-8"),),
    warc_headers: dict[str, str] | None = None,
) -> bytes:
    """One record, the same for the same arguments."""
    number = uuid.uuid5(uuid.NAMESPACE_URL, f"{type} {url}")
    fixed = {"WARC-Date": "2023-07-18T00:00:00Z", "WARC-Record-ID": f"<urn:uuid:{number}>"}
    buffer = BytesIO()
    http = StatusAndHeaders(status, list(headers), protocol="HTTP/1.1") if type == "response" else None
    record = WARCWriter(buffer).create_warc_record(
        url, type, payload=BytesIO(body), http_headers=http, warc_headers_dict=fixed | (warc_headers or {})
    )
    WARCWriter(buffer, gzip=gzip).write_record(record)
    return buffer.getvalue()
