"""The planted cases of the evaluation corpus are what they say: so many edits, the same markup, lossless mojibake."""

import difflib
import html
import random
import re

import pytest
from small_crawl import page, prose

from crawl.documents import Page
from crawl.html_text import MARKUP, edited, seen_text, with_sentence, words_of
from crawl.judge import SharedSpans, likeness
from crawl.plant import Counts, plant
from planted.leaks import HEAD, TOKEN, changed, sample, unique
from planted.mojibake import MOJIBAKE, foreign_words

SENTENCE = " ".join(f"word{chr(97 + n)}" for n in range(24)) + "."


def long_sentences(seed: int) -> str:
    """Prose whose sentences are long enough for a sample."""
    return re.sub(r"\. The (.*?)\.", r", while the \1.", prose(seed, 16))


POOL = [f"other{chr(97 + n)}" for n in range(20)]


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2, 0.3])
def test_a_copy_has_the_stated_share_of_words_edited_and_the_same_markup(rate: float) -> None:
    original = page(prose(1) + "\n\n" + html.escape("Straße & café <b>")).decode()
    copy = edited(original, rate, POOL, random.Random(1))
    assert [m[0] for m in MARKUP.finditer(copy)] == [m[0] for m in MARKUP.finditer(original)]
    before, after = ([m[0] for m in words_of(text)] for text in (original, copy))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    touched = sum(max(b - a, d - c) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal")
    # Beside each other, an insertion and a deletion are one replacement to difflib.
    assert touched == pytest.approx(rate * len(before), rel=0.1)
    assert 1 - likeness(seen_text(original), seen_text(copy)) == pytest.approx(0.68 * rate, rel=0.3)


@pytest.mark.parametrize("edits", [0, 1, 2, 3, 4])
def test_an_edited_leak_keeps_to_the_papers_rule(edits: int) -> None:
    spans = SharedSpans([SENTENCE])
    for seed in range(30):
        copy = changed(SENTENCE, edits, POOL, random.Random(seed))
        before, after = TOKEN.findall(SENTENCE), TOKEN.findall(copy)
        differ = [n for n, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
        assert len(differ) == edits
        assert all(HEAD <= n < len(before) - 1 for n in differ)
        assert spans.in_text(f"Before it. {copy} After it.") == SENTENCE[:-1]
    five = re.sub("word[lnprt]", "x", SENTENCE)
    assert spans.in_text(five) == " ".join(before[:19]), "the span ends before the fifth mismatch"
    assert spans.in_text(" ".join(before[:10])) is None


def test_samples_that_occur_elsewhere_are_left_out() -> None:
    shared = " ".join(TOKEN.findall(SENTENCE)[3:14])
    assert unique([SENTENCE, "Another " + SENTENCE[6:]], []) == [SENTENCE]
    assert unique([SENTENCE], ["It is not here.", shared.upper()]) == []
    assert unique([SENTENCE], [shared[6:]]) == [SENTENCE], "ten in a row are no leak"
    assert " ".join(sample(SENTENCE).values()) == SENTENCE


@pytest.mark.parametrize("form", MOJIBAKE)
def test_mojibake_breaks_all_foreign_words_and_loses_nothing(form: str) -> None:
    text = "Größe, façade, año, привет – “naïve” €, Ünï"
    broken = MOJIBAKE[form](text)
    assert not foreign_words(text) & set(broken.split())
    for _ in range(2 if "twice" in form else 1):
        codes = [ord(c) if ord(c) < 256 else c.encode("cp1252")[0] for c in broken]
        broken = bytes(codes).decode()
    assert broken == text


def test_a_sentence_stands_where_the_extractor_sees_it() -> None:
    original = page("\n\n".join(prose(n) for n in range(4))).decode()
    changed_page = with_sentence(original, "Write to <a&b@mail.example>,\nplease.", random.Random(1))
    assert changed_page is not None
    assert "Write to <a&b@mail.example>, please." in seen_text(changed_page)
    assert with_sentence("<html><body>no paragraph</body></html>", "Here.", random.Random(1)) is None


def test_the_same_seed_plants_the_same_and_every_url_once() -> None:
    counts = Counts(
        held_pages=60, pii_per_form=1, not_pii=4, copies=2, leaks=4, mojibake_per_form=1, spam_per_form=2, sites=2,
        pages_per_site=2,
    )  # fmt: skip
    german = "Die Straße führt über die Brücke, größer für Äpfel, Öl, Übung, schön, müde, Fuß, Tür, Wörter, Käse. "
    pages = [
        Page(
            f"https://a.example/{n}.html",
            page("\n\n".join(long_sentences(10 * n + k) for k in range(3))).decode(),
            "a",
            "en",
        )
        for n in range(160)
    ]
    others = [
        Page(f"https://a.example/{language}/{n}.html", page(german * 8 + prose(9000 + n)).decode(), "a", language)
        for language in ("de", "es", "fr", "it", "ru")
        for n in range(12)
    ]
    entries = [Page(f"https://d.example/{n}", prose(5000 + n), "d", "en") for n in range(60)]
    first, again = (plant([*pages, *others], entries, counts, 3) for _ in range(2))
    assert (first.pages, first.entries, first.truth) == (again.pages, again.entries, again.truth)
    urls = [one.url for one in (*first.pages, *first.entries)]
    assert len(set(urls)) == len(urls)
    cases = [row["url"] for row in first.truth]
    assert len(set(cases)) == len(cases)
    assert set(cases) <= set(urls)
    texts = {one.url: one.text for one in (*first.pages, *first.entries)}
    for row in first.truth:
        if row["case"] in ("pii", "not pii"):
            shown = seen_text(texts[row["url"]]) if row["host"] == "a.example" else texts[row["url"]]
            assert row["value"] in " ".join(shown.split())
        if row["case"] == "copy":
            assert row["original"] in urls
            assert row["original"] not in cases
