"""Quality rules and language: one document per reason, and counts against plain Python."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_crawl import documents, prose, reasons

from arriero.data.language import LanguageConfig, filter_language, identify
from arriero.data.quality import RULES, Features, filter_quality

GOOD = prose(1)
CODE = "\n".join(f"def f{n}(x):\n    return x + {n}" for n in range(20))


def lines(count: int, line: str, start: int = 0) -> str:
    return "\n".join(line.format(prose(start + n, 1)) for n in range(count))


WEB_CASES = {
    "too_short": prose(1, 2),
    "too_long": " ".join(prose(seed, 1000) for seed in range(9)),
    "word_length": " ".join(["the and", *(f"antidisestablishmentarian{c}" for c in "abcdefghij" * 6)]),
    "symbols": GOOD.replace(" of ", " # # "),
    "bullet_lines": lines(30, "- {}"),
    "ellipsis_lines": lines(12, "{}...") + "\n" + lines(20, "{}", start=50),
    "few_alphabetic_words": GOOD + " 12 34 56 78" * 80,
    "few_stop_words": " ".join(word for word in prose(3).split() if word.lower() not in ("the", "that", "of", "and")),
    "lorem_ipsum": GOOD + " Lorem ipsum dolor sit amet.",
    "javascript_notice": prose(1, 8) + " Please enable JavaScript to go on.",
    "repeated_lines": lines(10, "{}") + "\nRead more about that here" * 40,
    "top_2gram": prose(1, 12) + " " + " ".join(f"moonlight serenades w{n}" for n in range(60)),
}


@pytest.mark.parametrize("reason", sorted(WEB_CASES))
def test_each_web_rule_drops_its_page(reason: str) -> None:
    assert reasons(filter_quality(documents([GOOD, WEB_CASES[reason], prose(2)]))) == [None, reason, None]


def test_a_repeated_passage_is_dropped() -> None:
    passage = "It was a dark and stormy night when all of these words were written down once again."
    (reason,) = reasons(filter_quality(documents([prose(1, 12) + f" {passage}" * 4])))
    assert reason is not None
    assert reason.startswith(("repeated_", "top_"))


def test_reference_and_code_have_rules_of_their_own() -> None:
    short = "json.loads(s)\n    Parse the text of a document."
    table = documents(
        [short, short, "a b", CODE, "x = 1", CODE + "\nx = '" + "y" * 1001 + "'", "{} () [] ;\n" * 9 + "pass"],
        kind=["web", "reference", "text", "code", "code", "code", "code"],
    )
    expected = ["too_short", None, "too_short", None, "too_short", "long_lines", "few_alphanumeric"]
    assert reasons(filter_quality(table)) == expected
    assert {rule for rules in RULES.values() for rule, _ in rules} >= set(WEB_CASES)


def naive_repeated(words: list[str], n: int) -> float:
    seen: set[tuple[str, ...]] = set()
    inside: set[int] = set()
    for start in range(len(words) - n + 1):
        gram = tuple(words[start : start + n])
        if gram in seen:
            inside |= set(range(start, start + n))
        seen.add(gram)
    return sum(len(words[i]) for i in inside) / max(1, sum(map(len, words)))


def naive_top(words: list[str], n: int) -> float:
    counts = Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
    most = max((count * sum(map(len, gram)) for gram, count in counts.items() if count > 1), default=0)
    return most / max(1, sum(map(len, words)))


@given(
    st.lists(st.lists(st.sampled_from(["a", "bc", "def", "ghij"]), max_size=25), min_size=1, max_size=5),
    st.integers(2, 6),
)
def test_ngram_shares_equal_plain_python(texts: list[list[str]], n: int) -> None:
    features = Features(documents([" ".join(words) for words in texts]))
    np.testing.assert_allclose(features.repeated_ngram_share(n), [naive_repeated(words, n) for words in texts])
    np.testing.assert_allclose(features.top_ngram_share(n), [naive_top(words, n) for words in texts])


@given(st.lists(st.lists(st.sampled_from(["x", "yy", "zzz", ""]), max_size=12), min_size=1, max_size=4))
def test_line_counts_equal_plain_python(texts: list[list[str]]) -> None:
    features = Features(documents(["\n".join(rows) for rows in texts]))
    for index, rows in enumerate(texts):
        real = [row for row in rows if row]
        again = [row for place, row in enumerate(real) if row in real[:place]]
        assert features.lines.count_D[index] == len(real)
        assert features.repeated_lines[0][index] == pytest.approx(len(again) / max(1, len(real)))
        assert features.repeated_lines[1][index] == pytest.approx(len("".join(again)) / max(1, len("".join(real))))
        assert features.longest_line[index] == max(map(len, real), default=0)


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
    assert reasons(filter_quality(documents([text, text], language=["en", "nl"]))) == ["few_stop_words", None]
