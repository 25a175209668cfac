"""Reading crawls: main text, records that are no documents, damaged files."""

import gzip
import json
from pathlib import Path

import pytest
from small_crawl import page, prose, reasons, write_crawl

from arriero.data.extract import extract, read_crawl
from arriero.data.sources import read_sources
from arriero.errors import InputError


def read(folder: Path) -> list[dict[str, str]]:
    return read_crawl(folder, read_sources(folder)).to_pylist()


def test_main_text_without_navigation_and_footer(tmp_path: Path) -> None:
    crawl = write_crawl(
        tmp_path, [{"url": "https://a.example/", "text": prose(1) + "\n\n" + prose(2), "module": "held"}]
    )
    (row,) = extract(read_crawl(crawl, read_sources(crawl))).to_pylist()
    assert prose(1) in row["text"]
    assert prose(2) in row["text"]
    assert "Navigation" not in row["text"]
    assert "Imprint" not in row["text"]
    assert (row["source"], row["kind"], row["url"], row["module"]) == ("web", "web", "https://a.example/", "held")


def test_records_that_are_no_documents_have_their_reason(tmp_path: Path) -> None:
    pages = [
        {"url": "https://a.example/1", "text": prose(1)},
        {"url": "https://a.example/2", "text": prose(1), "status": "404 Not Found"},
        {"url": "https://a.example/3", "body": b"{}", "type": "application/json"},
        {"url": "https://a.example/4", "body": b"<html><body><nav>menu</nav></body></html>"},
        {"url": "https://a.example/5", "body": b""},
        {"url": "https://a.example/1", "text": prose(1)},  # the same page, captured twice
    ]
    crawl = write_crawl(tmp_path, pages, rows=[{"text": " \n"}])
    table = extract(read_crawl(crawl, read_sources(crawl)))
    of_web = [row["reason"] for row in table.to_pylist() if row["source"] == "web"]
    assert of_web == [None, "http_status", "not_html", "no_text", "no_text", None]
    assert reasons(table)[:1] == ["no_text"]
    assert len(set(table["id"].to_pylist())) == 7


def test_the_declared_or_detected_encoding_is_used(tmp_path: Path) -> None:
    text = "Größe und Maß: 20 €. " * 20
    latin = page(text).decode().replace("utf-8", "windows-1252").encode("windows-1252")
    pages = [
        {"url": "https://a.example/1", "body": latin, "type": "text/html; charset=windows-1252"},
        {"url": "https://a.example/2", "body": latin, "type": "text/html"},
        {"url": "https://a.example/3", "text": text},
    ]
    crawl = write_crawl(tmp_path, pages)
    for row in extract(read_crawl(crawl, read_sources(crawl))).to_pylist():
        assert "Größe und Maß: 20 €." in row["text"]


def test_a_cut_or_overwritten_warc_is_an_error(tmp_path: Path) -> None:
    crawl = write_crawl(tmp_path, [{"url": f"https://a.example/{n}", "text": prose(n)} for n in range(5)])
    warc = crawl / "web.warc.gz"
    data = warc.read_bytes()
    for damaged in (data[: len(data) - 40], data[:200] + bytes(200) + data[400:]):
        warc.write_bytes(damaged)
        with pytest.raises(InputError, match=r"web\.warc\.gz is damaged"):
            read(crawl)
    warc.unlink()
    with pytest.raises(InputError, match=r"There is no file .*web\.warc\.gz"):
        read(crawl)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "a"}', "has no text in url, source, module, text"),
        (b"[1]", "has no text in id"),
        (b"{", "not JSON"),
        (b'{"id": "\xff"}', "not UTF-8"),
        (
            json.dumps({"id": "a", "url": "u", "source": "s", "module": "m", "text": "t"}).encode(),
            "does not list the source 's'",
        ),
        (
            json.dumps({"id": "a", "url": "u", "source": "ref", "module": "m", "text": "\ud800"}).encode(),
            "lone surrogate",
        ),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(tmp_path: Path, line: bytes, message: str) -> None:
    crawl = write_crawl(tmp_path, [], rows=[{"text": "fine"}])
    path = crawl / "reference.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(InputError, match=r"reference\.jsonl:2: ") as caught:
        read(crawl)
    assert message in str(caught.value)


def test_an_id_that_occurs_twice_is_an_error(tmp_path: Path) -> None:
    crawl = write_crawl(tmp_path, [], rows=[{"id": "x", "text": "a"}, {"id": "x", "text": "b"}])
    with pytest.raises(InputError, match="'x' names more than one document"):
        read(crawl)


def test_an_uncompressed_warc_reads_alike(tmp_path: Path) -> None:
    crawl = write_crawl(tmp_path, [{"url": "https://a.example/1", "text": prose(1)}])
    expected = read(crawl)
    (crawl / "web.warc").write_bytes(gzip.decompress((crawl / "web.warc.gz").read_bytes()))
    sources = (crawl / "sources.json").read_text().replace("web.warc.gz", "web.warc")
    (crawl / "sources.json").write_text(sources)
    assert read(crawl) == expected
