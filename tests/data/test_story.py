"""The story of a document, for each way in which it can end, and names that are none."""

from pathlib import Path

import pytest
from kept_and_dropped import write_corpus

from arriero.config import resolved
from arriero.data.quality import RULES
from arriero.data.quality_config import QualityConfig
from arriero.data.reasons import Reasons
from arriero.data.shown import Shown
from arriero.data.sources import SourceKind
from arriero.data.story import Story, stories
from arriero.errors import InputError

REASONS = Reasons(resolved(QualityConfig()), {"docs": "web", "books": "reference"})
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
    assert rows["why"] == "share of characters in the most frequent two words: at most 0.2 are wanted (gopher)"
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


def test_a_rule_is_explained_by_its_own_limit_of_that_kind_of_source() -> None:
    quality = resolved(QualityConfig()) | {"gopher": {"max_top_2gram": 0.25, "min_words": 40}}
    reasons = Reasons(quality, {"web": "web", "docs": "reference"})
    assert reasons.in_words("top_2gram", "web") == (
        "share of characters in the most frequent two words: at most 0.25 are wanted (gopher)"
    )
    assert ": at least 40 are wanted (gopher)" in reasons.in_words("too_short", "web")
    assert ": at least 5 are wanted (reference)" in reasons.in_words("too_short", "docs")
    assert reasons.in_words("a_new_rule", "web") == ""
    assert "'de'" in reasons.in_words("language_de", "web")
    assert "sure enough" in reasons.in_words("language_unknown", "web")


def test_every_rule_that_can_drop_has_words() -> None:
    groups = {kind: ["gopher", "c4", "fineweb"] for kind in SourceKind} | {"code": ["code"], "text": ["reference"]}
    reasons = Reasons(resolved(QualityConfig()) | {"groups": groups}, {kind: kind for kind in SourceKind})
    kinds = {"code": "code", "reference": "text"}
    assert all(reasons.in_words(rule.reason, kinds.get(rule.group, "web")) for rule in RULES)
