"""The story of a document, for each way in which it can end, and names that are none."""

from pathlib import Path
from typing import Annotated

import pytest
from kept_and_dropped import write_corpus

from arriero.config import config, setting
from arriero.data.build import BuildConfig
from arriero.data.reasons import Reasons
from arriero.data.shown import Shown
from arriero.data.story import Story, stories
from arriero.errors import InputError

REASONS = Reasons(BuildConfig, {})
KEPT, HELD = f"02{'ab' * 7}", f"00{'ab' * 7}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def told(corpus: Path, name: str) -> Story:
    (story,) = stories(corpus, name, REASONS, Shown())
    return story


@pytest.mark.parametrize("name", [KEPT, KEPT[:3], "https://docs.example/2", "web/0.warc.gz:2"])
def test_a_kept_document(corpus: Path, name: str) -> None:
    story = told(corpus, name)
    assert story.title == f"{KEPT}: kept for training"
    rows = dict(story.rows)
    assert rows["source"] == "docs (web), licence: CC-BY-4.0"
    assert rows["read from"] == "web/0.warc.gz, at 2"
    steps = [row for row in story.rows if row[0] in ("extract", "repair", "boilerplate", "pii")]
    left = "left it as it was"
    assert steps == [("extract", left), ("repair", "3 characters"), ("boilerplate", "2 lines"), ("pii", "EMAIL 1")]
    assert rows["lies in"] == "train/00001.parquet, row 1"
    assert rows["is read"] == "once in one pass over the mixture, as all of its source"
    assert "".join(piece.text for piece in story.beginning).startswith("Document 2. It says little.")


def test_up_sampled_and_held_out(corpus: Path) -> None:
    assert dict(told(corpus, "03").rows)["is read"].startswith("3 times in one pass")
    story = told(corpus, HELD)
    rows = dict(story.rows)
    assert story.title == f"{HELD}: kept, held out"
    assert rows["is read"].startswith("never in training")
    assert rows["source"] == "books (reference), under one of: CC0-1.0 (12 documents), MIT (8 documents)"
    fell = [text for label, text in story.rows if label == "in place of" or not label]
    assert len(fell) == 10
    assert all("(exact_duplicates)" in text and "/exact_duplicates/" in text for text in fell)


def test_a_document_that_a_rule_dropped(corpus: Path) -> None:
    rows = dict(told(corpus, "h000").rows)
    assert rows["passed"] == "extract, repair, language, boilerplate"
    assert rows["dropped by"] == "quality: top_2gram"
    assert rows["detail"] == "0.31 > 0.2"
    assert "kept instead" not in rows
    assert dict(told(corpus, "f003").rows)["passed"] == "nothing: this was the first step"


def test_a_duplicate(corpus: Path) -> None:
    rows = dict(told(corpus, "https://docs.example/near_duplicates/4").rows)
    assert rows["kept instead"] == f"05{'ab' * 7}, https://docs.example/5 (heldout/00001.parquet, row 0)"
    assert rows["why"] == "another document has nearly the same text, and that one is held out"
    also = [text for label, text in told(corpus, "k004").rows if label == "as were" or not label]
    assert len(also) == 9
    assert not any("/near_duplicates/4 " in text for text in also)


def test_people_in_a_dropped_text_are_hidden(corpus: Path) -> None:
    (open_story,) = stories(corpus, "h000", REASONS, Shown(personal=True))
    assert "jane.roe@acme.org" in "".join(piece.text for piece in open_story.beginning)
    assert "jane.roe" not in str(told(corpus, "h000"))


def test_files(corpus: Path) -> None:
    story = told(corpus, "bad.warc.gz")
    assert story.title == "file web/bad.warc.gz"
    assert story.rows[1:] == [("documents", "none"), ("quarantined", "at 77: cut (␛[31mends)")]
    books, docs = stories(corpus, "web/1.warc.gz", REASONS, Shown())
    assert books.rows[1:] == [("documents", "1 kept, held out"), ("documents", "2 kept for training")]
    assert docs.rows[-1] == ("", "and 2 more")
    dropped = told(corpus, "web/d.warc.gz")
    assert ("documents", "9 dropped by near_duplicates: near_duplicate_of_heldout") in dropped.rows


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("0", "10 documents have an id that starts with '0'"),
        ("https://docs.example/pii/", "Near: https://docs.example/pii/0"),
        (f"{HELD[:-1]}c", f"Near: {HELD}"),
        ("nothing", "`arriero data inspect` shows some"),
    ],
)
def test_names_that_are_no_one_document(corpus: Path, name: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        stories(corpus, name, REASONS, Shown())
    assert said in str(error.value)


def test_reasons_are_explained_by_the_fields_that_they_name() -> None:
    @config
    class Group:
        max_top_2gram: Annotated[float | None, None] = setting(0.2, "share of characters in the most frequent pair")
        min_words: int = setting(50, "words", unit="words")

    @config
    class Quality:
        gopher: Group = setting(Group(), "rules")

    @config
    class Build:
        quality: Quality = setting(Quality(), "rules")

    reasons = Reasons(Build, {"quality": {"gopher": {"max_top_2gram": 0.25, "min_words": 50}}})
    assert (
        reasons.in_words("quality", "top_2gram")
        == "share of characters in the most frequent pair: must be at most 0.25"
    )
    assert reasons.in_words("quality", "gopher_min_words") == "words: must be at least 50 words"
    assert reasons.in_words("pii", "top_2gram") == ""
    assert "'de'" in reasons.in_words("language", "language_de")
    assert "sure enough" in reasons.in_words("language", "language_unknown")
