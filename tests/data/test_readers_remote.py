"""Sources in object stores: S3 against a local server, the hub of datasets against one that answers as it does."""

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs

import pyarrow as pa
import pyarrow.fs as arrow_fs
import pyarrow.parquet as pq
import pytest
from reading import quarantined, read, records, source, warc_record
from small_crawl import prose

from arriero.data.readers import read as read_module
from arriero.data.readers.files import RawFile, list_files
from arriero.data.readers.read import read_file
from arriero.data.sources import SourceKind
from arriero.errors import InputError


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The query that sends `s3://corpus/...` to a server in this process."""
    moto = pytest.importorskip("moto.server", reason="needs moto[s3,server], which is in no extra")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    query = f"?scheme=http&endpoint_override={host}:{port}&region=us-east-1"
    system, _ = arrow_fs.FileSystem.from_uri(f"s3://corpus{query}&allow_bucket_creation=true")
    system.create_dir("corpus")
    try:
        yield query
    finally:
        server.stop()


@pytest.mark.full
def test_every_format_is_read_from_s3(bucket: str, tmp_path: Path) -> None:
    texts = [prose(n) for n in range(200)]
    table = pa.table({"text": texts, "id": [str(n) for n in range(200)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=50)
    rows = "".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows))
    (tmp_path / "a b#.txt").write_text(texts[0])
    pages = [warc_record(f"http://a.org/{n}", text.encode(), gzip=True) for n, text in enumerate(texts)]
    pages[100] = pages[100][:-30]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(pages))
    system, _ = arrow_fs.FileSystem.from_uri(f"s3://corpus{bucket}")
    for path in tmp_path.iterdir():
        with system.open_output_stream(f"corpus/in/x/{path.name}", compression=None) as out:
            out.write(path.read_bytes())
    for far, near, format in (
        ("in/x/*.parquet", "a.parquet", "parquet"),
        ("in/**/a.jsonl.gz", "a.jsonl.gz", "jsonl"),
        ("in/x/a.warc.gz", "a.warc.gz", "warc"),
        ("in/x", "", "text"),
    ):
        there = read(f"s3://corpus/{far}{bucket}", SourceKind.WEB, format=format)
        here = read(tmp_path / near, SourceKind.WEB, format=format)
        assert [r.text for r in records(there)] == [r.text for r in records(here)]
        assert quarantined(there) == quarantined(here)
        assert len(there) == (200 if near else 1)
    (one,) = list_files(source(f"s3://corpus/in/x/a b#.txt{bucket}"))
    assert (one.name, one.bytes) == ("a b#.txt", len(texts[0]))
    with pytest.raises(InputError, match="names no file"):
        list_files(source(f"s3://corpus/nothing/*{bucket}"))
    system.delete_file("corpus/in/x/a b#.txt")
    assert [item.reason for item in read_file(one, source("x")) if not hasattr(item, "text")] == ["unreadable"]


HUB_FILES = {"data/a.jsonl": b'{"text": "one"}\n{"text": "two"}\n' * 3, "README.md": b"x"}


class Hub(BaseHTTPRequestHandler):
    """What the hub answers about the data set o/n."""

    def do_GET(self) -> None:
        path, *query = self.path.partition("?")
        if path.startswith("/api/datasets/o/n/tree/main"):
            folder = path.removeprefix("/api/datasets/o/n/tree/main").strip("/")
            tree = [{"type": "directory", "path": "data", "oid": "0", "size": 0}]
            tree += [{"type": "file", "path": k, "size": len(v), "oid": "1" * 40} for k, v in HUB_FILES.items()]
            deep = parse_qs(query[-1]).get("recursive") == ["true"]
            below = [entry for entry in tree if entry["path"] != folder and entry["path"].startswith(folder)]  # type: ignore[attr-defined]
            shown = [entry for entry in below if deep or "/" not in entry["path"][len(folder) + 1 :]]  # type: ignore[index]
            self.answer(200, json.dumps(shown).encode())
        elif path.startswith("/api/datasets/o/n"):
            self.answer(200, json.dumps({"id": "o/n", "sha": "a" * 40, "siblings": []}).encode())
        elif path.startswith("/datasets/o/n/resolve/main/"):
            body = HUB_FILES[path.removeprefix("/datasets/o/n/resolve/main/")]
            first, last = self.headers["range"].removeprefix("bytes=").split("-")
            self.answer(206, body[int(first) : int(last) + 1])
        else:
            self.answer(404, b"")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


CHILD = """
import sys
from reading import read, records
for path in sys.argv[1:]:
    print([(r.origin, r.text) for r in records(read(path))])
"""


def test_data_sets_are_read_from_a_hub() -> None:
    """In a process of its own: the hub's address is fixed when its library is imported."""
    pytest.importorskip("huggingface_hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    paths = [f"hf://datasets/o/{path}" for path in ("n/data/a.jsonl", "n/**/*.jsonl", "n@main/data")]
    done = subprocess.run([sys.executable, "-c", CHILD, *paths], env=environment, capture_output=True, text=True)
    server.shutdown()
    assert done.returncode == 0, done.stderr
    named = [
        str([(f"{name}:{16 * n}", ("one", "two")[n % 2]) for n in range(6)])
        for name in ("a.jsonl", "data/a.jsonl", "a.jsonl")
    ]
    assert done.stdout.splitlines() == named


class Unplugged(BytesIO):
    """A file whose store answers one short request and then fails."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() or size != 4:
            raise ConnectionResetError("reset by peer")
        return super().read(size)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet", "a.warc", "a.warc.gz", "a.txt"])
def test_a_store_that_fails_is_not_taken_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    rows = "".join(json.dumps({"text": prose(n)}) + "\n" for n in range(50)).encode()
    if name == "a.parquet":
        pq.write_table(pa.table({"text": [prose(n) for n in range(50)]}), path)
    elif "warc" in name:
        path.write_bytes(warc_record("http://a.org", rows, gzip=name.endswith("gz")))
    else:
        path.write_bytes(gzip.compress(rows) if name.endswith("gz") else rows)
    data = path.read_bytes()
    monkeypatch.setattr(read_module, "open_file", lambda uri: RawFile(uri, Unplugged(data)))
    with pytest.raises(InputError, match=f"{name} could not be read: reset by peer. Run again"):
        read(path, SourceKind.WEB)
