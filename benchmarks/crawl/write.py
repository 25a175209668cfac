"""Writes the evaluation corpus: WARC files of all sites mixed, JSONL of dictionary entries, a tree of programs.

folder/web/00000.warc.gz ...    pages in a random order, about 25 MB of HTML a file
folder/reference/00000.jsonl.gz entries
folder/code/...                 programs
truth/truth.jsonl, truth/questions.jsonl, truth/manifest.json: outside the corpus
"""

import gzip
import hashlib
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from arriero.artifacts.files import write_json, write_jsonl
from crawl.documents import Page, all_entries, all_pages, all_programs
from crawl.packages import DICTIONARIES, PROGRAMS, SITES, fetch
from crawl.plant import Corpus, Counts, plant

SEED = 7
DATE = "2023-07-18T00:00:00Z"
WARC_BYTES, JSONL_BYTES = 25_000_000, 10_000_000
LEVEL = 6


def build_corpus(cache: Path, out: Path, counts: Counts = Counts(), seed: int = SEED) -> dict[str, Any]:  # noqa: B008
    """Builds the corpus from Debian's packages in `cache`, unless it is there already; the manifest."""
    manifest = out / "truth" / "manifest.json"
    if manifest.is_file():
        return dict(json.loads(manifest.read_text()))
    versions = fetch(cache)
    tree = cache / "tree"
    corpus = plant(all_pages(tree), all_entries(tree), counts, seed)
    random.Random(seed).shuffle(corpus.pages)
    for number, part in enumerate(_parts(corpus.pages, WARC_BYTES)):
        _write(out / "corpus" / "web" / f"{number:05d}.warc.gz", _warc(part))
    for number, part in enumerate(_parts(corpus.entries, JSONL_BYTES)):
        rows = (json.dumps({"url": page.url, "text": page.text}, ensure_ascii=False) + "\n" for page in part)
        _write(
            out / "corpus" / "reference" / f"{number:05d}.jsonl.gz",
            gzip.compress("".join(rows).encode(), LEVEL, mtime=0),
        )
    programs = all_programs(tree)
    for name, data in programs:
        _write(out / "corpus" / "code" / name, data)
    (out / "truth").mkdir(parents=True, exist_ok=True)
    write_jsonl(out / "truth" / "truth.jsonl", corpus.truth)
    write_jsonl(out / "truth" / "questions.jsonl", corpus.questions)
    report = _manifest(corpus, programs, versions, seed)
    write_json(manifest, report)
    return report


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _parts(pages: Iterable[Page], limit: int) -> Iterator[list[Page]]:
    part: list[Page] = []
    size = 0
    for page in pages:
        part.append(page)
        size += len(page.text.encode())
        if size >= limit:
            yield part
            part, size = [], 0
    if part:
        yield part


def _warc(pages: list[Page]) -> bytes:
    buffer = BytesIO()
    writer = WARCWriter(buffer, gzip=True)
    for page in pages:
        payload = page.text.encode()
        digest = hashlib.sha256(page.url.encode() + b"\0" + payload).digest()
        http = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
        headers = {"WARC-Date": DATE, "WARC-Record-ID": f"<urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}>"}
        record = writer.create_warc_record(
            page.url, "response", payload=BytesIO(payload), http_headers=http, warc_headers_dict=headers
        )
        writer.write_record(record)
    return buffer.getvalue()


def _manifest(corpus: Corpus, programs: list[tuple[str, bytes]], versions: dict[str, str], seed: int) -> dict[str, Any]:
    documents: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for page in (*corpus.pages, *corpus.entries):
        documents[page.package or "made up"] += 1
        size[page.package or "made up"] += len(page.text.encode())
    for name, data in programs:
        documents[name.split("/")[0]] += 1
        size[name.split("/")[0]] += len(data)
    licences = {part.package: part.licence for table in (SITES, DICTIONARIES, PROGRAMS) for part in table}
    return {
        "seed": seed,
        "bytes": size.total(),
        "documents": documents.total(),
        "bytes_of": {
            "web": sum(len(page.text.encode()) for page in corpus.pages),
            "reference": sum(len(page.text.encode()) for page in corpus.entries),
            "code": sum(len(data) for _, data in programs),
        },
        "packages": {
            name: {
                "version": versions.get(name),
                "licence": licences.get(name),
                "documents": count,
                "bytes": size[name],
            }
            for name, count in documents.items()
        },
        "cases": dict(Counter(f"{row['case']}: {row['form']}" for row in corpus.truth)),
    }
