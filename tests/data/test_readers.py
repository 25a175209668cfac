"""Reading each format back as another library wrote it, and finding a source's files."""

import gzip
import json
import os
import zlib
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import quarantined, read, records, source, warc_record
from small_crawl import prose, write_crawl
from warcio.archiveiterator import ArchiveIterator

from arriero.data.readers.files import list_files
from arriero.data.readers.read import read_file
from arriero.data.readers.source import SourceFormat, crawl_sources
from arriero.data.sources import SourceKind, read_sources
from arriero.data.text_files import TextFilesConfig, read_folder
from arriero.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ROWS = st.lists(st.fixed_dictionaries({"text": TEXT, "id": st.text("abc", min_size=1), "url": TEXT}), min_size=1)


def packed(data: bytes, codec: str) -> bytes:
    if codec == "gzip":
        half = len(data) // 2
        return gzip.compress(data[:half]) + gzip.compress(data[half:])  # two members, cut within a line
    return bytes(pa.Codec("zstd").compress(data, asbytes=True)) if codec == "zstd" else data


@pytest.mark.parametrize(("codec", "name"), [("", "a.jsonl"), ("gzip", "a.jsonl.gz"), ("zstd", "a.jsonl.zst")])
@given(rows=ROWS, ascii=st.booleans(), blank=st.sampled_from(["\n", "\r\n", "\n \n"]))
def test_json_lines_come_back(
    tmp_path_factory: pytest.TempPathFactory, codec: str, name: str, rows: list[dict[str, str]], ascii: bool, blank: str
) -> None:
    path = tmp_path_factory.mktemp("rows") / name
    data = "".join(json.dumps(row, ensure_ascii=ascii) + blank for row in rows).encode()
    path.write_bytes(packed(data, codec))
    items = read(path)
    assert [{"text": r.text, "id": r.id, "url": r.url} for r in records(items)] == rows
    assert len(items) == len(rows)
    for record, row in zip(records(items), rows, strict=True):
        file, _, offset = record.origin.rpartition(":")
        assert file == name
        assert json.loads(data[int(offset) :].split(b"\n")[0]) == row


KINDS = [pa.string(), pa.large_string(), pa.binary(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(rows=ROWS, group=st.integers(1, 40), dictionary=st.booleans())
def test_parquet_rows_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    kind: pa.DataType,
    rows: list[dict[str, str]],
    group: int,
    dictionary: bool,
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.parquet"
    text = pa.array([row["text"] for row in rows], pa.string()).cast(kind)
    table = pa.table({"x": range(len(rows)), "text": text, "id": [row["id"] for row in rows]})
    pq.write_table(table, path, row_group_size=group, use_dictionary=dictionary)
    items = read(path)
    assert [(r.text, r.id, r.url) for r in records(items)] == [(row["text"], row["id"], "") for row in rows]
    assert [r.origin for r in records(items)] == [f"a.parquet:{n}" for n in range(len(rows))]


@pytest.mark.parametrize("zipped", [True, False])
@given(bodies=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")), min_size=1))
def test_warcs_read_as_warcio_reads_them(
    tmp_path_factory: pytest.TempPathFactory, zipped: bool, bodies: list[str]
) -> None:
    data = b"".join(
        warc_record(f"https://www.s{n}.example.co.uk/{n}", body.encode(), gzip=zipped, type=kind)
        for n, body in enumerate(bodies)
        for kind in ("resource", "response", "metadata")
    )
    path = tmp_path_factory.mktemp("warc") / ("a.warc.gz" if zipped else "a.warc")
    path.write_bytes(data)
    items = records(read(path, SourceKind.WEB))
    expected = []
    archive = ArchiveIterator(BytesIO(data))
    for record in archive:
        body = record.content_stream().read()
        if record.rec_type == "response":
            url = record.rec_headers.get_header("WARC-Target-URI")
            expected.append((url, body.decode(), f"{path.name}:{archive.get_record_offset()}"))
    assert [(r.url, r.text, r.origin) for r in items] == expected
    assert {r.module for r in items} == {"example.co.uk"}
    assert len({r.id for r in items}) == len(items)


def test_bodies_are_decoded_as_their_headers_say_or_as_they_are(tmp_path: Path) -> None:
    html = "<p>Größe 20 €</p>"
    kind = ("Content-Type", "Text/HTML; charset=utf-8")
    coded, chunked = ("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked")
    chunks = (
        b"5\r\n" + html.encode()[:5] + b"\r\n%x\r\n" % (len(html.encode()) - 5) + html.encode()[5:] + b"\r\n0\r\n\r\n"
    )
    z = gzip.compress(html.encode())
    pages = [
        (html.encode(), (kind,)),
        (gzip.compress(html.encode()), (kind, coded)),
        (chunks, (kind, chunked)),
        (b"".join([b"%x\r\n" % len(z), z, b"\r\n0\r\n\r\n"]), (kind, coded, chunked)),
        (zlib.compress(html.encode()), (kind, ("Content-Encoding", "deflate"))),
        (html.encode(), (kind, coded, chunked)),  # stored decoded, under the headers of the answer
        (html.encode("cp1252"), (("Content-Type", "text/html; charset=iso-8859-1"),)),
        (html.encode(), (("Content-Type", 'text/html; charset="nonsense"'),)),
        (html.encode(), (("Content-Type", "text/html; charset=utf-7"),)),
        (html.encode("utf-16"), (("Content-Type", "text/html; charset=utf-16le"),)),
    ]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(warc_record("http://a.org", body, gzip=True, headers=h) for body, h in pages))
    assert [r.text.lstrip("\ufeff") for r in records(read(path, SourceKind.WEB))] == [html] * len(pages)


def test_what_is_no_page_comes_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(
        warc_record("http://a.org/1", b"x", gzip=True, status="404 Not Found")
        + warc_record("http://a.org/2", b"{}", gzip=True, headers=(("Content-Type", "application/json"),))
        + warc_record("http://a.org/3", b"", gzip=True, warc_headers={"X-Arriero-Module": "held"})
        + warc_record("dns:a.org", b"1.2.3.4", gzip=True, warc_headers={"Content-Type": "text/dns"})
    )
    read_back = [(r.url, r.reason, r.module) for r in records(read(path, SourceKind.WEB))]
    assert read_back[:3] == [
        ("http://a.org/1", "http_status", "a.org"),
        ("http://a.org/2", "not_html", "a.org"),
        ("http://a.org/3", None, "held"),
    ]


@pytest.mark.parametrize("zipped", [True, False])
def test_wet_files_are_plain_text(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / ("a.warc.wet.gz" if zipped else "a.wet")
    texts = [prose(1), "Größe\n\nzwei", "x"]
    data = warc_record("", b"software: x\r\n", gzip=zipped, type="warcinfo")
    for n, text in enumerate(texts):
        data += warc_record(f"http://s.org/{n}", text.encode(), gzip=zipped, type="conversion")
    path.write_bytes(data)
    assert [r.text for r in records(read(path, SourceKind.TEXT))] == texts
    assert [f.format for f in list_files(source(path))] == [SourceFormat.WET]


def test_several_records_in_one_gzip_member_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    plain = [warc_record(f"http://a.org/{n}", prose(n).encode(), gzip=False) for n in range(3)]
    path.write_bytes(gzip.compress(plain[0] + plain[1]) + gzip.compress(plain[2]))
    first = len(gzip.compress(plain[0] + plain[1]))
    items = records(read(path, SourceKind.WEB))
    assert [r.text for r in items] == [prose(n) for n in range(3)]
    assert [r.origin for r in items] == [f"{path.name}:{p}" for p in ("0", f"0+{len(plain[0])}", first)]


def test_a_text_folder_reads_as_the_stage_of_text_files_reads_it(tmp_path: Path) -> None:
    files = {"b.txt": "Größe\n", "a/c.md": "# c", "a/d.rst": "d", ".hidden.txt": "h", ".git/x.txt": "x", "e.bin": "e"}
    files |= {"venv/pyvenv.cfg": "", "venv/lib.txt": "v", "bom.txt": "\ufeffbom"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    expected = read_folder(TextFilesConfig(folder=tmp_path))
    items = read(tmp_path, format=SourceFormat.TEXT)
    assert [(r.url, r.module, r.text) for r in records(items)] == [(d.url, d.module, d.text) for d in expected]
    assert len(items) == len(expected) == 4
    assert [r.origin for r in records(read(tmp_path, format=SourceFormat.TEXT, suffixes=[".BIN"]))] == ["e.bin:0"]


def test_html_folders_are_decoded_by_what_the_page_states(tmp_path: Path) -> None:
    page = '<html><head><meta charset="{}"></head><p>Größe</p></html>'
    (tmp_path / "sub").mkdir()
    for name, charset in (("a.html", "utf-8"), ("sub/b.HTM", "windows-1252"), ("sub/c.xhtml", "iso-8859-1")):
        (tmp_path / name).write_bytes(page.format(charset).encode("cp1252" if "1" in charset else charset))
    (tmp_path / "d.css").write_text("p {}")
    items = records(read(tmp_path, SourceKind.WEB))
    assert [(r.url, r.module) for r in items] == [(f"file:{n}", n) for n in ("a.html", "sub/b.HTM", "sub/c.xhtml")]
    assert all("Größe" in r.text for r in items)
    (first, *_) = records(read(tmp_path, SourceKind.WEB, base_url="https://docs.a.org/x/"))
    assert (first.url, first.module) == ("https://docs.a.org/x/a.html", "a.org")


def test_a_crawl_artifact_is_read_like_any_source(tmp_path: Path) -> None:
    crawl = write_crawl(
        tmp_path,
        [{"url": "https://a.example/", "text": prose(1), "module": "held"}],
        rows=[{"text": "one", "module": "m1"}, {"text": "two", "source": "other"}, {"text": "x", "source": "unlisted"}],
    )
    rows = json.loads((crawl / "sources.json").read_text())
    (crawl / "sources.json").write_text(json.dumps([*rows, rows[1] | {"name": "other", "kind": "code"}]))
    sources = crawl_sources(crawl, read_sources(crawl))
    assert [(s.name, s.kind, s.licence) for s in sources] == [
        ("web", "web", "MIT"),
        ("ref", "reference", "MIT"),
        ("other", "code", "MIT"),
    ]
    web, ref, other = ([i for file in list_files(s) for i in read_file(file, s)] for s in sources)
    assert [(r.module, r.url) for r in records(web)] == [("held", "https://a.example/")]
    assert [(r.id, r.module, r.text, r.url) for r in records(ref)] == [("r0", "m1", "one", "https://r.example/0")]
    assert [(r.id, r.text) for r in records(other)] == [("r1", "two")]
    assert [reason for _, reason in quarantined(ref)] == ["unknown_source"]


def test_a_crawl_without_its_file_or_with_a_shared_warc_is_an_error(tmp_path: Path) -> None:
    crawl = write_crawl(tmp_path, [], rows=[])
    listed = read_sources(crawl)
    with pytest.raises(InputError, match="exactly one source for a WARC, not ref, web"):
        crawl_sources(crawl, [listed[0], type(listed[0])(**(listed[1].__dict__ | {"file": "web.warc.gz"}))])
    (crawl / "reference.jsonl").unlink()
    with pytest.raises(InputError, match=r"There is no file .*reference\.jsonl"):
        crawl_sources(crawl, listed)


def test_documents_without_an_id_are_told_apart_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": "a"}\n{"text": "a", "id": 7, "url": "http://[", "module": null}\n')
    items = records(read(path))
    assert len({r.id for r in items}) == 3
    assert items[2].id == "7"
    assert [r.module for r in items] == [r.id for r in items]


def names(path: Path | str, **settings: object) -> list[str]:
    return [file.name for file in list_files(source(path, **settings))]


def test_patterns_match_as_those_of_the_shell(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "x/a.txt", "x/y/a.txt", "x/y/.a.txt", "x/[1].txt", "ab.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("t")
    for pattern in ("*.txt", "**/*.txt", "x/*", "?.txt", "**/a.txt", "x/**/a.txt", "x/y/a.t*"):
        shell = {p for p in tmp_path.glob(pattern) if p.is_file() and p.name[0] != "."}
        found = {Path(f.uri) for f in list_files(source(tmp_path / pattern, format=SourceFormat.TEXT))}
        assert found == shell, pattern
    assert names(tmp_path / "x" / "[1].txt") == ["[1].txt"]
    assert names(f"{tmp_path}/x/*/a.txt") == ["y/a.txt"]
    assert names(tmp_path) == sorted(names(tmp_path))


def test_the_format_follows_from_the_endings_or_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    assert [f.format for f in list_files(source(tmp_path))] == [SourceFormat.JSONL]
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(InputError, match=r"no single format \(jsonl, text\). Set the source's format"):
        list_files(source(tmp_path))
    assert names(tmp_path, format=SourceFormat.JSONL) == ["a.jsonl"]
    for path, message in (("nothing", "names no file"), ("*.warc", "names no file")):
        with pytest.raises(InputError, match=message):
            list_files(source(tmp_path / path))
    with pytest.raises(InputError, match=r"holds no file that ends in \.parquet"):
        list_files(source(tmp_path, format=SourceFormat.PARQUET))
    with pytest.raises(InputError, match="unknown store ftp://"):
        list_files(source("ftp://a/b"))


def test_links_that_loop_and_pipes_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.txt").symlink_to(tmp_path / "self.txt")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    items = read(tmp_path)
    assert [r.origin for r in records(items)] == ["a.txt:0"]
    bad = [(item.file, item.reason) for item in items[1:]]
    assert bad == [("gone.txt", "unreadable"), ("pipe.txt", "unreadable"), ("self.txt", "unreadable")]
