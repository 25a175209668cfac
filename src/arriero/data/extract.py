"""Reading a crawl: WARC records, whose main text is then extracted, and JSONL rows of plain text.

The paper does not state how it read the web. fastwarc and resiliparse are the fastest readers that keep main text
apart from navigation and footers.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from arriero.artifacts.files import read_jsonl
from arriero.data.documents import Step, documents_table, with_columns
from arriero.data.sources import SOURCES_FILE, Source, SourceKind, document_id
from arriero.data.warc import MODULE_HEADER
from arriero.errors import InputError

HTML_TYPES = ("text/html", "application/xhtml+xml")
ROW_FIELDS = ("id", "url", "source", "module", "text")


def read_crawl(folder: Path, sources: list[Source]) -> pa.Table:
    """All documents of a crawl folder, as SCHEMA; web documents hold HTML in `text`, the others plain text.

    Records that cannot become a document (an HTTP error, no HTML) come with their `reason` already set.
    Raises InputError on a damaged file, a row without its fields or of a source that is not listed, or an id that
    occurs twice.
    """
    rows: list[dict[str, str | None]] = []
    for file in sorted({source.file for source in sources}):
        path, kinds = folder / file, {source.name: source.kind for source in sources if source.file == file}
        if not path.is_file():
            raise InputError(f"There is no file {path}, though {SOURCES_FILE} names it. Make the crawl anew.")
        rows.extend(_warc_rows(path, kinds) if file.endswith((".warc", ".warc.gz")) else _jsonl_rows(path, kinds))
    twice = [id for id, count in Counter(row["id"] for row in rows).items() if count > 1]
    if twice:
        raise InputError(f"{folder}: the id {twice[0]!r} names more than one document. Ids must be unique in a crawl.")
    return documents_table(rows)


def _jsonl_rows(path: Path, kinds: dict[str, SourceKind]) -> Iterator[dict[str, str | None]]:
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        missing = [name for name in ROW_FIELDS if not isinstance(row, dict) or not isinstance(row.get(name), str)]
        if missing:
            raise InputError(f"{where}: the row has no text in {', '.join(missing)}. It needs {', '.join(ROW_FIELDS)}.")
        if row["source"] not in kinds:
            raise InputError(f"{where}: {SOURCES_FILE} does not list the source {row['source']!r} for this file.")
        yield {name: row[name] for name in ROW_FIELDS} | {"kind": kinds[row["source"]]}


def _warc_rows(path: Path, kinds: dict[str, SourceKind]) -> Iterator[dict[str, str | None]]:
    if len(kinds) != 1:
        raise InputError(f"{path}: {SOURCES_FILE} must list exactly one source for a WARC, not {', '.join(kinds)}.")
    ((source, kind),) = kinds.items()
    try:
        _check_whole(path)
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
                yield _web_row(record) | {"source": source, "kind": kind}
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} is damaged, not a whole WARC ({error}). Make the crawl anew.") from None


def _check_whole(path: Path) -> None:
    """Reads a gzipped file to its end, since fastwarc takes one that was cut for a shorter one. Raises EOFError."""
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass


def _web_row(record: WarcRecord) -> dict[str, str | None]:
    headers = {name.lower(): value for name, value in record.headers.items()}
    url = headers.get("warc-target-uri", "")
    row: dict[str, str | None] = {
        "id": document_id(url, headers.get("warc-record-id", "")),
        "url": url,
        "module": headers.get(MODULE_HEADER.lower(), ""),
        "text": "",
    }
    if record.http_headers is None or record.http_headers.status_code != 200:
        return row | {"reason": "http_status"}
    if record.http_content_type not in HTML_TYPES:
        return row | {"reason": "not_html"}
    body: bytes = record.reader.read()
    row["text"] = bytes_to_str(body, record.http_charset or detect_encoding(body) or "utf-8")
    return row


def main_text(html: str) -> str:
    """The text of a page's main content: no navigation, header or footer; lists and code keep their lines."""
    return str(extract_plain_text(html, main_content=True, preserve_formatting=True, alt_texts=False)).strip()


def extract(table: pa.Table) -> pa.Table:
    """Turns web documents into their main text; drops those without text (`no_text`)."""
    texts: list[str] = [
        main_text(text) if kind == SourceKind.WEB else text
        for text, kind in zip(table["text"].to_pylist(), table["kind"].to_pylist(), strict=True)
    ]
    reasons = [
        reason or (None if text.strip() else "no_text")
        for text, reason in zip(texts, table["reason"].to_pylist(), strict=True)
    ]
    return with_columns(table, text=texts, reason=reasons)


EXTRACT_STEP = Step("extract", extract)
