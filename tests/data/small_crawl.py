"""A small crawl written by warcio, and prose that passes the quality rules."""

import json
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from arriero.data.declared import open_crawl
from arriero.data.documents import documents_table
from arriero.data.phase_read import row_of
from arriero.data.readers.read import read_file
from arriero.data.readers.records import Record

NOUNS = "river garden teacher window letter mountain village doctor bridge kitchen market winter forest captain"
VERBS = "watched carried painted followed remembered opened crossed visited described repaired found left"
ADJECTIVES = "old quiet bright narrow heavy gentle distant broken green famous empty warm careful"


def prose(seed: int, sentences: int = 30) -> str:
    """English sentences that differ from those of any other seed."""
    draw = random.Random(seed)

    def a(words: str) -> str:
        return draw.choice(words.split())

    def thing() -> str:
        return f"{a('the that one')} {a(ADJECTIVES)} {a(NOUNS)}"

    return " ".join(
        f"{thing().capitalize()} of the {a(NOUNS)} {a(VERBS)} {thing()} and {thing()}." for _ in range(sentences)
    )


def page(text: str) -> bytes:
    """HTML with navigation and footer around the text."""
    body = "".join(f"<p>{paragraph}</p>" for paragraph in text.split("\n\n"))
    return (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>t</title></head><body>"
        "<header><nav class='menu'><ul><li><a href='/'>Navigation</a></li></ul></nav></header>"
        f"<main><article><h1>Title</h1>{body}</article></main><footer><p>Imprint</p></footer></body></html>"
    ).encode()


def write_crawl(
    folder: Path,
    pages: list[dict[str, Any]],
    rows: list[dict[str, str]] = (),  # type: ignore[assignment]
    heldout: list[str] = (),  # type: ignore[assignment]
) -> Path:
    """`pages`: url, and text or body, type, status, module. `rows`: reference documents; id and url may be missing."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = BytesIO()
    writer = WARCWriter(buffer, gzip=True)
    for number, given in enumerate(pages):
        body = given.get("body", page(given.get("text", "")))
        http = StatusAndHeaders(
            given.get("status", "200 OK"),
            [("Content-Type", given.get("type", "text/html; charset=utf-8"))],
            protocol="HTTP/1.1",
        )
        headers = {
            "WARC-Date": "2023-07-18T00:00:00Z",
            "WARC-Record-ID": f"<urn:uuid:00000000-0000-0000-0000-{number:012d}>",
            "X-Arriero-Module": given.get("module", "m"),
        }
        record = writer.create_warc_record(
            given["url"], "response", payload=BytesIO(body), http_headers=http, warc_headers_dict=headers
        )
        writer.write_record(record)
    (folder / "web.warc.gz").write_bytes(buffer.getvalue())
    full = [
        {"id": f"r{n}", "url": f"https://r.example/{n}", "source": "ref", "module": "m"} | row
        for n, row in enumerate(rows)
    ]
    (folder / "reference.jsonl").write_text("".join(json.dumps(row) + "\n" for row in full))
    common = {"licences": {"MIT": 1}, "documents": 1, "bytes": 1, "python_version": None}
    sources = [
        {"name": "web", "kind": "web", "file": "web.warc.gz"} | common,
        {"name": "ref", "kind": "reference", "file": "reference.jsonl"} | common,
    ]
    (folder / "sources.json").write_text(json.dumps(sources))
    (folder / "heldout_modules.json").write_text(json.dumps(sorted(heldout)))
    return folder


def read_crawl(folder: Path) -> pa.Table:
    """All documents of a crawl, as data.build reads them."""
    rows = [
        row_of(record, source.config)
        for source in open_crawl(folder)
        for file in source.files
        for record in read_file(file, source.config)
        if isinstance(record, Record)
    ]
    return documents_table(rows)


def documents(texts: list[str], **columns: list[str]) -> pa.Table:
    """A table of web documents d0, d1, ... for a single step; `columns` override the defaults."""
    rows: list[dict[str, str | None]] = []
    for number, text in enumerate(texts):
        row = {"id": f"d{number}", "source": "web", "kind": "web", "url": f"https://s{number}.example/", "module": "m"}
        rows.append(row | {"text": text, "language": "en"} | {name: given[number] for name, given in columns.items()})
    return documents_table(rows)


def reasons(table: pa.Table) -> list[str | None]:
    return table["reason"].to_pylist()
