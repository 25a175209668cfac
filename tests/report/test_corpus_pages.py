"""A corpus as tables and as a page: the figures are those of its files, and a hostile document stays text."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from kept_and_dropped import HOSTILE, write_corpus

from arriero.artifacts.files import write_json
from arriero.config import resolved
from arriero.data.quality_config import QualityConfig
from arriero.data.reasons import Reasons
from arriero.data.samples import Sample, Wanted, draw
from arriero.data.shown import Shown, visible
from arriero.report.corpus_tables import corpus_tables, joined
from arriero.report.page import Table
from arriero.report.samples import samples_page
from arriero.report.terminal import Terminal

REASONS = Reasons(resolved(QualityConfig()), {"docs": "web", "books": "reference"})
PERSON = "jane.roe@acme.org"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._in_text = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "pre":
            self._in_text = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_text = self._in_text and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._in_text:
            self.texts[-1] += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def test_a_hostile_document_stays_text(corpus: Path) -> None:
    samples = [sample for sample in draw(corpus, Wanted(), 1000, 0) if sample.text.startswith(HOSTILE)]
    assert [sample.split for sample in samples] == ["train", "dropped"]
    source = "\"><script>alert(3)</script><i x='"
    samples.append(
        Sample("dropped", "i</code><script>", source, "u", "o", "t", step=source, reason=source, detail=source)
    )
    text = samples_page("<script>t", samples, REASONS, Shown())
    page = Page(text)
    assert page.count("script") == 1
    assert not {"img", "b x", "i", "a"} & {tag for tag, _ in page.elements}
    assert not [
        name for _, attributes in page.elements for name in attributes if name.startswith(("on", "href", "src"))
    ]
    assert page.texts[0].removeprefix("\n") == visible(HOSTILE)
    assert {a["data-source"] for tag, a in page.elements if tag == "article"} == {"docs", source}
    assert not set(text) & set("\x1b\x07\x9b\u202e\u2066\r\b")
    assert PERSON not in text
    assert PERSON in samples_page("t", samples, REASONS, Shown(personal=True))


def test_the_page_runs_its_own_script_alone(corpus: Path) -> None:
    text = samples_page("t", draw(corpus, Wanted(), 3, 0), REASONS, Shown())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    rules = policy[1].replace("&#39;", "'")
    for tag in ("style", "script"):
        ((body,),) = [re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in rules
    assert "default-src 'none'" in rules
    assert "unsafe" not in rules
    assert not re.search(r"https?://(?!docs\.example)", text)


def test_the_cut_end_of_an_excerpt_is_not_shown() -> None:
    """What an excerpt of the full length ends in may be half of a number, which nothing recognises."""
    excerpt = ("word " * 200)[:986] + "+1 212 555 019"
    sample = Sample("dropped", "i", "s", "u", "o", excerpt, step="quality", reason="r")
    assert len(excerpt) == 1000
    assert "212" not in samples_page("t", [sample], REASONS, Shown())


def test_a_terminal_is_told_no_more_than_colours(corpus: Path) -> None:
    samples = draw(corpus, Wanted(), 1000, 0)
    plain, coloured = (
        "\n".join(line for sample in samples for line in Terminal(colour).sample(sample, REASONS, Shown()))
        for colour in (False, True)
    )
    assert plain == re.sub(r"\x1b\[[0-9;]+m", "", coloured)
    assert not set(plain) & {chr(code) for code in (*range(10), *range(11, 32), *range(0x7F, 0xA0))}
    assert "\x1b[30;43m[EMAIL]\x1b[0m" in coloured
    assert "\x1b[36m[EMAIL]\x1b[0m" in coloured
    assert PERSON not in plain


def test_tables_are_aligned_whatever_is_in_them() -> None:
    table = Table("T", ("name", "n"), [("世界", "1"), ("\x1b[1m", "20,000"), ("e\u0301", "3")], numbers_from=1)
    assert Terminal(False).table(table)[1:] == ["name       n", "世界       1", "␛[1m  20,000", "e\u0301          3"]


def test_the_tables_are_those_of_the_files(corpus: Path, tmp_path: Path) -> None:
    tables = {table.title: table for table in corpus_tables(corpus)}
    assert list(tables) == ["Funnel", "Reasons", "Sources", "Mixture", "Quarantine"]
    assert tables["Funnel"].rows[4] == ("quality", "100", "10", "10.00%", "90")
    assert ("near_duplicates", "near_duplicate_of_heldout", "9", "12.86%") in tables["Reasons"].rows
    assert tables["Sources"].rows[0] == ("books", "reference", "20", *["0"] * 6, "20", "100.00%")
    assert tables["Mixture"].rows[0] == ("books", "reference", "16", "1.0 kB", "50.00%", "3", "3.0 kB", "75.00%")
    assert tables["Quarantine"].rows == [("docs", "nul_bytes", "12"), ("docs", "cut", "1")]
    assert joined(corpus)["quarantine"] == {"docs": {"nul_bytes": 12, "cut": 1}}


def test_statistics_stand_beside_the_papers(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    counts = {
        "sources": {"docs": {"documents": 200, "bytes": 1_200_000, "words": 150_000, "lines": 9000}},
        "english_documents": 150,
        "languages": {"en": 150, "unknown": 20, "de": 30},
        "pronouns": {"he": 90, "she": 60, "gendered": 120, "first_person": 75},
        "axes": {"religion": 30, "age": 45},
        "terms": {"religion": {"buddhist": 12, "jewish": 15}, "age": {"old": 45}},
        "toxicity": {"documents": 20, "toxic": 1, "score_millionths": 1_500_000},
    }
    write_json(corpus / "statistics.json", counts)
    tables = {table.title: table for table in corpus_tables(corpus)}
    assert tables["Sizes"].rows == [("docs", "200", "1.2 MB", "150,000", "9,000")]
    assert tables["Languages"].rows == [
        ("en", "150", "75.00%", "89.70%"),
        ("de", "30", "15.00%", ""),
        ("unknown", "20", "10.00%", "8.38%"),
    ]
    assert tables["Pronouns"].rows == [
        ("gendered", "120", "80.00%", "", ""),
        ("he", "90", "60.00%", "75.00%", "50.73%"),
        ("first person", "75", "50.00%", "", ""),
        ("she", "60", "40.00%", "50.00%", "28.45%"),
    ]
    assert tables["Demographic terms"].rows[1] == ("religion", "jewish 50.00%, buddhist 40.00%", "30", "20.00%")
    assert tables["Toxicity"].rows == [("20", "1", "5.00%", "0.20%", "0.0750")]
