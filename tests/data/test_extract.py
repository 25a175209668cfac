"""What a crawl's pages become: main text, or a reason why not."""

import time
from pathlib import Path

from small_crawl import documents, page, prose, read_crawl, reasons, write_crawl

from arriero.data.extract import extract


def test_main_text_without_navigation_and_footer(tmp_path: Path) -> None:
    crawl = write_crawl(
        tmp_path, [{"url": "https://a.example/", "text": prose(1) + "\n\n" + prose(2), "module": "held"}]
    )
    (row,) = extract(read_crawl(crawl), html=True).to_pylist()
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
    read = read_crawl(crawl)
    table = extract(read, html=True)
    of_web = [row["reason"] for row in table.to_pylist() if row["source"] == "web"]
    assert of_web == [None, "http_status", "not_html", "no_text", "no_text", None]
    assert reasons(table)[-1:] == ["no_text"]
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
    for row in extract(read_crawl(crawl), html=True).to_pylist():
        assert "Größe und Maß: 20 €." in row["text"]


def test_what_is_no_html_stays_as_it_is() -> None:
    text = "if a < b:\n    <T> is no tag\n\n  two   blanks"
    table = documents([text, " \n"])
    result = extract(table, html=False)
    assert result["text"].to_pylist()[0] == text
    assert reasons(result) == [None, "no_text"]


def test_a_page_nested_without_end_is_dropped_at_once() -> None:
    deep = "<div>" * 100_000 + "words " * 50 + "</div>" * 100_000
    wide = "<div>" + "<div>words and words</div>" * 2000 + "</div>"
    started = time.process_time()
    result = extract(documents([deep, wide, deep.replace("div", "ARTICLE")]), html=True)
    assert reasons(result) == ["too_deep", None, "too_deep"]
    assert time.process_time() - started < 10  # the extractor alone would take minutes
