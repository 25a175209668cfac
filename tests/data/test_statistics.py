"""Corpus statistics: against a slow plain count, and the same however the corpus is cut."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_crawl import documents

from arriero.data.sources import seeded_fraction
from arriero.data.statistics import (
    DESCRIPTORS,
    PRONOUNS,
    Statistics,
    StatisticsConfig,
    count,
    word_list_scorer,
    words_of,
)

HALF = StatisticsConfig(toxicity_share=0.5, seed=3)
WORDS = (
    "She hers HIM they it's I We yours other the ours. “he” african Catholic non-binary whitespace gay same-sex fuck "
    "moron, morons! naïve 日本"
)
PIECES = st.sampled_from([*WORDS.split(), "an African American", *["\n", "Oh!"] * 5, "\n\n", "\t", " "])
TEXT = st.lists(PIECES, max_size=25).map(" ".join)


def exclamations(texts: pa.Array) -> np.ndarray:
    """A scorer to test with: 0.75 for a line with an exclamation mark, 0.25 for any other."""
    return np.array([0.75 if "!" in text else 0.25 for text in texts.to_pylist()])


def has(text: str, words: list[str]) -> bool:
    """Whether one of the words stands in the text, looked up one by one."""
    low = "".join(character if ord(character) < 128 else " " for character in text.lower())
    return any(re.search(rf"(?<![a-z0-9_]){re.escape(word)}(?![a-z0-9_])", low) for word in words)


def terms_in(text: str) -> set[str]:
    """Terms read from left to right, the longest that fits at each place."""
    every = sorted((term for terms in DESCRIPTORS.values() for term in terms), key=len, reverse=True)
    found, place, low = set(), 0, "".join(c if ord(c) < 128 else " " for c in text.lower())
    while place < len(low):
        fits = [t for t in every if low.startswith(t, place) and has(low[max(0, place - 1) : place + len(t) + 1], [t])]
        found |= set(fits[:1])
        place += len(fits[0]) if fits else 1
    return found


def plain(rows: list[dict[str, str]], cfg: StatisticsConfig) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        text = row["text"]
        sizes = {
            "documents": 1,
            "bytes": len(text.encode()),
            "words": len(text.encode().split()),
            "lines": len(re.findall(r"[^\n]*\n|[^\n]+", text)),
        }
        counts.update({("sources", row["source"], name): size for name, size in sizes.items()})
        if row["kind"] == "code":
            continue
        counts["languages", row["language"]] += 1
        if row["language"] != "en":
            continue
        counts["english_documents",] += 1
        groups = {name for name, words in PRONOUNS.items() if has(text, list(words))}
        groups |= {"any"} if groups else set()
        groups |= {"gendered"} if groups & {"she", "he", "they"} else set()
        groups |= {"third_person"} if groups & {"she", "he", "they", "it"} else set()
        counts.update(("pronouns", group) for group in groups)
        found = {axis: terms_in(text) & set(terms) for axis, terms in DESCRIPTORS.items()}
        counts.update(("axes", axis) for axis, terms in found.items() if terms)
        counts.update(("terms", axis, term) for axis, terms in found.items() for term in terms)
        lines = [line for line in text.split("\n") if line.strip()]
        if lines and seeded_fraction(cfg.seed, row["id"]) < cfg.toxicity_share:
            mean = sum(0.75 if "!" in line else 0.25 for line in lines) / len(lines)
            counts["toxicity", "documents"] += 1
            counts["toxicity", "toxic"] += mean >= 0.5
            counts["toxicity", "score_millionths"] += round(mean * 1_000_000)
    return +counts


ROW = st.tuples(TEXT, st.sampled_from(["web", "code", "reference"]), st.sampled_from(["en", "de", "unknown"]))


@settings(max_examples=40, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=8), st.integers(1, 8))
def test_against_a_plain_count(rows: list[tuple[str, str, str]], batch: int) -> None:
    texts, kinds, languages = (list(column) for column in zip(*rows, strict=True))
    table = documents(texts, kind=kinds, source=[f"s{kind}" for kind in kinds], language=languages)
    total = Statistics()
    for start in range(0, len(table), batch):
        total = total.merge(count(table.slice(start, batch), HALF, exclamations))
    assert total.counts == plain(table.to_pylist(), HALF)
    assert Statistics.from_json(json.loads(json.dumps(total.to_json()))) == total


@given(st.lists(st.text(" \t\n\r\x0b\x0c\xa0ab é", max_size=8), max_size=8), st.integers(0, 4))
def test_words(texts: list[str], start: int) -> None:
    array = pa.array(texts, pa.large_string())[start:]
    assert words_of(array).tolist() == [len(text.encode().split()) for text in texts[start:]]


def test_a_document_is_toxic_from_a_mean_of_one_half() -> None:
    table = documents(["No!\n\nYes\nYes", "No!\nYes", "No!", "\n"])
    toxicity = count(table, StatisticsConfig(toxicity_share=1.0), exclamations).to_json()["toxicity"]
    assert toxicity == {"documents": 3, "toxic": 2, "score_millionths": 416_667 + 500_000 + 750_000}


def test_the_word_list_takes_whole_words_only(tmp_path: Path) -> None:
    lines = pa.array(["What a MORON.", "oxymorons galore", "Scunthorpe", "assholes", ""], pa.large_string())
    assert word_list_scorer()(lines).tolist() == [1, 0, 0, 1, 0]
    (tmp_path / "list.txt").write_text("galore\n")
    assert word_list_scorer(tmp_path / "list.txt")(lines).tolist() == [0, 1, 0, 0, 0]


def test_the_sample_is_a_tenth_and_depends_on_the_seed_alone() -> None:
    table = documents(["A line.\n"] * 2000)
    sampled = [
        count(table, StatisticsConfig(seed=seed), exclamations).counts["toxicity", "documents"] for seed in (0, 0, 1)
    ]
    assert sampled[0] == sampled[1] == pytest.approx(200, abs=45)
    assert count(table, StatisticsConfig(toxicity_share=0.0), exclamations).counts["toxicity", "documents"] == 0
