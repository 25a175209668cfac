"""Quality rules and language: documents on both sides of every limit, and counts against plain Python."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_crawl import documents, prose, reasons

from arriero.config import load
from arriero.config.schema import fields_of
from arriero.data.c4_lines import clean_lines
from arriero.data.classifier import BITS, TextClassifier, save_classifier
from arriero.data.hashed_words import buckets, word_hashes
from arriero.data.language import LanguageConfig, filter_language, identify
from arriero.data.perplexity import save_ngrams
from arriero.data.perplexity import train as train_ngrams
from arriero.data.quality import RULES, Batch, Rule, filter_quality, quality_step
from arriero.data.quality_config import C4Config, QualityConfig
from arriero.data.text_counts import RepeatedNgrams, TextCounts
from arriero.errors import ConfigError

CFG = QualityConfig()
GOOD = prose(1)
CODE = "\n".join(f"def f{n}(x):\n    return x + {n}" for n in range(20))


def lines(count: int, line: str, start: int = 0) -> str:
    return "\n".join(line.format(prose(start + n, 1)) for n in range(count))


def judged(texts: list[str], cfg: QualityConfig = CFG, **columns: list[str]) -> list[str | None]:
    return reasons(filter_quality(documents(texts, **columns), cfg))


def with_limit(rule: Rule, limit: float | None, kind: str = "web") -> QualityConfig:
    """A config in which nothing is asked but one rule."""
    groups = {group: getattr(CFG, group) for group in ("gopher", "c4", "fineweb", "code", "reference")}
    off = {
        group: replace(given, **{name: None for name in fields_of(type(given)) if name.startswith(("min_", "max_"))})
        for group, given in groups.items()
    }
    off[rule.group] = replace(off[rule.group], **{rule.field: limit})
    return QualityConfig(**off, groups={kind: [rule.group]})


# Hand-made: each breaks its rule at the default limits, or the paper's where it is off.
WEB_CASES = {
    "too_short": prose(1, 2),
    "too_long": " ".join(prose(seed, 1000) for seed in range(9)),
    "short_words": GOOD + " a b c d e. of" * 120,
    "long_words": " ".join(["the and", *(f"antidisestablishmentarian{c}" for c in "abcdefghij" * 6)]),
    "symbols": GOOD.replace(" of ", " # # "),
    "bullet_lines": lines(30, "- {}"),
    "ellipsis_lines": lines(12, "{}...") + "\n" + lines(20, "{}", start=50),
    "few_alphabetic_words": GOOD + " 12 34 56 78" * 80,
    "few_stop_words": " ".join(
        w for word in prose(3).split() if (w := word.lower()) not in ("the", "that", "of", "and")
    ),
    "lorem_ipsum": GOOD + " Lorem ipsum dolor sit amet.",
    "javascript_notice": prose(1, 8) + " Please enable JavaScript to go on.",
    "few_sentences": prose(1, 9).replace(".", ","),
    "repeated_lines": lines(10, "{}") + "\nRead more about that here" * 40,
    "repeated_line_characters": lines(10, "{}") + ("\n" + prose(77, 1)) * 4,
    "repeated_paragraphs": "\n\n".join([*(lines(4, "{}", start=9 * n) for n in range(8)), *["So it was."] * 5]),
    "top_2gram": prose(1, 12) + " " + " ".join(f"moonlight serenades w{n}" for n in range(60)),
}


@pytest.mark.parametrize("reason", sorted(WEB_CASES))
def test_each_web_rule_drops_its_page(reason: str) -> None:
    assert judged([GOOD, WEB_CASES[reason], prose(2)]) == [None, reason, None]


def test_every_limit_has_one_rule_and_every_rule_its_limit() -> None:
    limits = [
        (group, name)
        for group in ("gopher", "c4", "fineweb", "code", "reference")
        for name in fields_of(type(getattr(CFG, group)))
        if name.startswith(("min_", "max_")) and "line_word" not in name
    ]
    assert sorted(limits) == sorted((rule.group, rule.field) for rule in RULES)


SAMPLES = [
    GOOD.replace(". ", ".\n"),
    WEB_CASES["repeated_lines"] + "\n- Lorem ipsum...\n" + WEB_CASES["top_2gram"],
    "\n\n".join([prose(3, 3), CODE, prose(3, 3), CODE, "# Please enable JavaScript {now}…"]),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.group}.{rule.field}")
def test_a_limit_holds_on_both_its_sides_and_can_be_off(rule: Rule) -> None:
    """The limit at the value itself keeps the document, the next number beyond drops it and says why."""
    lower = rule.field.startswith("min_")
    limits = set()
    for text in SAMPLES:
        value = float(rule.measure(_batch(text), -1.0)[0])
        if not np.isfinite(value) or value == (1 if lower else 0):  # no limit lies beyond
            continue
        beyond = np.nextafter(value, np.inf if lower else -np.inf)
        if "int" in str(fields_of(type(getattr(CFG, rule.group)))[rule.field].annotation):
            value, beyond = int(value), int(value) + (1 if lower else -1)
        limits.add(value)
        assert judged([text], with_limit(rule, value)) == [None]
        assert judged([text], with_limit(rule, None)) == [None]
        dropped = filter_quality(documents([text]), with_limit(rule, beyond))
        assert reasons(dropped) == [rule.reason]
        shown, sign, limit = dropped["detail"][0].as_py().split()
        assert (float(shown), float(limit)) == pytest.approx((value, beyond), rel=1e-3)
        assert sign == ("<" if lower else ">")
    assert limits, "no sample exercises the rule"


def _batch(text: str) -> Any:
    return Batch(documents([text]))


def test_the_first_rule_in_order_decides() -> None:
    both = WEB_CASES["symbols"] + " lorem ipsum"
    assert judged([both]) == ["symbols"]
    off = load.parse(QualityConfig, {"gopher": {"max_symbols_per_word": "off"}}, "quality")
    assert judged([both], off) == ["lorem_ipsum"]
    assert off.gopher.min_words == CFG.gopher.min_words


def test_a_repeated_passage_is_dropped() -> None:
    passage = "It was a dark and stormy night when all of these words were written down once again."
    (reason,) = judged([prose(1, 12) + f" {passage}" * 5])
    assert reason == "repeated_5grams"


def test_reference_and_code_have_rules_of_their_own() -> None:
    short = "json.loads(s)\n    Parse the text of a document."
    texts = [short, short, "a b", CODE, "x = 1", CODE + "\nx = '" + "y" * 1001 + "'", "{} () [] ;\n" * 9 + "pass"]
    kinds = ["web", "reference", "text", "code", "code", "code", "code"]
    expected = ["too_short", None, "too_short", None, "too_short", "long_lines", "few_alphanumeric"]
    assert judged(texts, kind=kinds) == expected
    strict = load.parse(QualityConfig, {"groups": {"text": ["gopher", "reference"]}}, "quality")
    assert judged([short, short, short], strict, kind=["text", "reference", "text"]) == ["too_short", None, "too_short"]


def naive_repeated(text: str, n: int) -> float:
    """As datatrove's find_all_duplicate, but for n-grams as lists of words."""
    words, seen, at, found = text.split(), set(), 0, 0
    while at + n <= len(words):
        gram = tuple(words[at : at + n])
        if gram in seen:
            found += sum(map(len, gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return found / max(1, len(text))


def naive_top(text: str, n: int) -> float:
    words = text.split()
    counts = Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
    if not counts or counts.most_common(1)[0][1] < 2:
        return 0.0
    gram, count = counts.most_common(1)[0]
    return count * len(" ".join(gram)) / len(text)


def ngrams(texts: list[str]) -> RepeatedNgrams:
    counts = TextCounts(pa.array(texts, pa.large_string()))
    return RepeatedNgrams(counts.words, np.ones(len(texts), dtype=bool), counts.characters_D)


word_lists = st.lists(st.lists(st.sampled_from(["a", "bc", "def", "ghij"]), max_size=40), min_size=1, max_size=5)


@given(word_lists, st.lists(st.integers(2, 7), min_size=1, max_size=3, unique=True), st.floats(0, 0.9))
def test_ngram_shares_equal_plain_python(lists: list[list[str]], sizes: list[int], limit: float) -> None:
    """Exactly, at limit 0; and above another limit, with no value above it where there should be none."""
    texts = [" ".join(words) for words in lists]
    for naive, name in ((naive_top, "top_share"), (naive_repeated, "repeated_share")):
        exact, bounded = ngrams(texts), ngrams(texts)
        for n in sorted(sizes):
            truth = np.array([naive(text, n) for text in texts])
            np.testing.assert_allclose(getattr(exact, name)(n, 0.0), truth)
            found = getattr(bounded, name)(n, limit)
            np.testing.assert_allclose(np.where(truth > limit, truth, 0), np.where(found > limit, found, 0))


@given(st.lists(st.lists(st.sampled_from(["x", "yy", "zzz", ""]), max_size=12), min_size=1, max_size=4))
def test_line_counts_equal_plain_python(texts: list[list[str]]) -> None:
    counts = TextCounts(pa.array(["\n".join(rows) for rows in texts], pa.large_string()))
    for index, rows in enumerate(texts):
        real = [row for row in rows if row]
        again = [row for place, row in enumerate(real) if row in real[:place]]
        pieces = [piece for piece in re.split("\n{2,}", "\n".join(rows).strip("\n")) if piece]
        repeats = [piece for place, piece in enumerate(pieces) if piece in pieces[:place]]
        assert counts.lines.count_D[index] == len(real)
        assert counts.lines.repeated_share[index] == pytest.approx(len(again) / max(1, len(real)))
        assert counts.lines.repeated_characters[index] == len("".join(again))
        assert counts.paragraphs.repeated_share[index] == pytest.approx(len(repeats) / max(1, len(pieces)))
        assert counts.paragraphs.repeated_characters[index] == len("".join(repeats))
        assert counts.longest_line[index] == max(map(len, real), default=0)
        assert counts.line_ends[index] == "\n".join(rows).count("\n")


CITED = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def naive_c4(text: str, cfg: C4Config) -> list[str]:
    """The lines that stay, trimmed: datatrove's loop."""
    kept = []
    for line in map(str.strip, text.split("\n")):
        words = line.split()
        if cfg.max_line_word_length is not None and any(len(word) > cfg.max_line_word_length for word in words):
            continue
        line = CITED.sub("", line) if cfg.citations else line
        stop = line.strip().endswith((".", "?", "!", '"', "'")) and not line.strip().endswith("...")
        if (cfg.terminal_punctuation and not stop) or len(words) < (cfg.min_line_words or 0):
            continue
        low = line.lower()
        if (cfg.javascript_lines and "javascript" in low) or (cfg.policy_lines and any(p in low for p in POLICIES)):
            continue
        kept.append(line.strip())
    return [line for line in kept if line]


PIECES = [
    "The end.",
    "so...",
    "JavaScript",
    "we use cookies here",
    "x" * 12,
    "[3]",
    "[edit] a b c",
    '"q"',
    "  two words",
]


@given(
    st.lists(st.lists(st.lists(st.sampled_from(PIECES), max_size=3).map(" ".join), max_size=6), max_size=4),
    st.builds(
        C4Config,
        max_line_word_length=st.sampled_from([None, 10]),
        min_line_words=st.sampled_from([None, 3]),
        **{name: st.booleans() for name in ("terminal_punctuation", "javascript_lines", "policy_lines", "citations")},
    ),
)
def test_c4_lines_equal_plain_python(texts: list[list[str]], cfg: C4Config) -> None:
    given_texts = ["\n".join(rows) for rows in texts]
    cleaned, edits = clean_lines(pa.array(given_texts, pa.large_string()), cfg)
    for before, after, edit in zip(given_texts, cleaned.to_pylist(), edits, strict=True):
        assert [line.strip() for line in after.split("\n") if line.strip()] == naive_c4(before, cfg)
        assert bool(edit) == (after != before) or before != before.strip("\n")


def test_c4_lines_are_noted_and_the_rules_see_what_is_left() -> None:
    rows = lines(8, "{}").split("\n")
    rows[3:3] = ["    This site uses cookies.", "", "    " + "x" * 1001]
    on = load.parse(QualityConfig, {"c4": {"policy_lines": True}}, "quality")
    result = filter_quality(documents(["\n".join(rows), GOOD]), on)
    assert result["edits"].to_pylist() == ["quality 2 lines", ""]
    assert result["text"][0].as_py().replace("\n\n", "\n") == lines(8, "{}")
    all_gone = load.parse(
        QualityConfig, {"c4": {"min_line_words": 9, "min_sentences": "off"}, "gopher": OFF}, "quality"
    )
    assert judged(["one\ntwo"], all_gone) == ["no_lines_left"]


OFF = dict.fromkeys(fields_of(type(CFG.gopher)), "off")


GERMAN = "Das ist ein ganz gewöhnlicher Satz über das Wetter, den niemand für englisch halten wird."
JAPANESE = "これは日本語の文章です。東京は日本の首都です。"


def test_language_by_fasttext_at_the_papers_threshold() -> None:
    table = documents(
        [GOOD, GERMAN, JAPANESE, "0x12 34 == 56", "x = 1"],
        kind=["web", "web", "reference", "text", "code"],
        language=[""] * 5,
    )
    result = filter_language(table, LanguageConfig())
    assert result["language"].to_pylist() == ["en", "de", "ja", "unknown", ""]
    assert reasons(result) == [None, "language_de", "language_ja", "language_unknown", None]
    assert reasons(filter_language(table, LanguageConfig(keep=["de", "ja"])))[:3] == ["language_en", None, None]


def test_names_and_numbers_do_not_hide_the_language() -> None:
    calls = " ".join(f"shutil.copy_{n}(src_{n}, dst_{n}, *, follow_symlinks={n})" for n in range(60))
    assert identify(f"Copy a file to the given place. {calls} Returns the path of the new file.", 0.5) == "en"


def test_few_stop_words_is_asked_of_english_only() -> None:
    text = WEB_CASES["few_stop_words"]
    assert judged([text, text], language=["en", "nl"]) == ["few_stop_words", None]


def test_learned_rules_drop_below_and_above_their_limits(tmp_path: Path) -> None:
    weight = np.zeros(1 << BITS, np.float32)
    weight[buckets(word_hashes(pa.array(["river"])), BITS)] = 300
    save_classifier(TextClassifier(weight, -2.0), tmp_path / "likes-rivers")
    save_ngrams(train_ngrams([pa.array([prose(1, 200)])], 16), tmp_path / "ngrams")
    cfg = load.parse(
        QualityConfig,
        {"gopher": OFF, "c4": {"min_sentences": "off"}, "learned": {"min_score": 0.5, "max_perplexity": 2000}},
        "quality",
    )
    step = quality_step(cfg, tmp_path / "likes-rivers", tmp_path / "ngrams")
    texts = ["the old river of the garden", "the old garden of the village", "river zebra crossing quagga okapi"]
    found = step.run(documents(texts))
    assert reasons(found) == [None, "unlike_reference", "high_perplexity"]
    assert found["detail"][1].as_py() == "0.1192 < 0.5"
    with pytest.raises(ConfigError, match=r"learned\.min_score is 0\.5, but no model"):
        quality_step(cfg, None, tmp_path / "ngrams")
    with pytest.raises(ConfigError, match="max_perplexity is not set"):
        quality_step(CFG, None, tmp_path / "ngrams")
