"""Decontamination: the fast search against the definition spelled out, planted leaks, real text without any."""

import json
import pydoc_data.topics
import random
import re
import sysconfig
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_crawl import documents, prose, reasons

from arriero.data import skipgrams
from arriero.data.decontaminate import Samples, contaminated_shares, drop_contaminated, longest_spans, read_questions
from arriero.errors import InputError

LONG = "When the last train has left the station, who waters the flowers that stand on the window sill?"
SHORT = "Who waters the flowers?"


def column(texts: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([texts], pa.large_string())


def found(question: str, answer: str, *texts: str) -> list[str | None]:
    return reasons(drop_contaminated(documents(list(texts)), Samples.of([question], [answer])))


def shares(sample: str, *texts: str, longer_than: int = 10) -> float:
    samples = Samples.of([sample], [""])
    return float(contaminated_shares(longest_spans(column(list(texts)), samples), samples, longer_than)[0])


def test_planted_questions_are_caught_whatever_their_layout() -> None:
    dressed = f"{prose(1)}\n\n* {LONG.upper().replace(' ', chr(10) + '  - ')} {prose(2)}"
    assert found(LONG, "The guard.", prose(1), dressed) == [None, "evaluation_ngram"]
    assert found(SHORT, "The guard.", f"{prose(1)} who WATERS the “flowers” {prose(2)}") == ["evaluation_question"]
    # One character of Japanese is one word; forms that Unicode calls compatible are the same.
    assert found("東京タワーの高さは何メートルですか", "333", "問:東京タワーの高さは何メートル?") == [
        "evaluation_ngram"
    ]
    assert found("Où se trouve le café?", "Ici", "Ou\u0300 se trouve le cafe\u0301") == ["evaluation_question"]


def test_eleven_shared_words_are_a_match_and_ten_are_not() -> None:
    words = re.findall(r"\w+", LONG)
    ten, eleven = (" ".join(["xyz", *words[3 : 3 + size], "xyz"]) for size in (10, 11))
    assert found(LONG, "", ten, eleven) == [None, "evaluation_ngram"]


def test_question_and_answer_are_matched_as_one_sample() -> None:
    asked, answer = "Which colour?", "It is the deep green of old bottles in a cellar, no doubt"
    assert found(asked, answer, "colour it is the deep green of old bottles in a", answer) == ["evaluation_ngram"] * 2
    # Three words are an everyday phrase: alone they are no match, before the answer they are.
    texts = "Which colour now? Red.", "which colour now green"
    assert found("Which colour now?", "Green.", *texts) == [None, "evaluation_question"]
    assert found("Which colour is it?", "Green.", "Which colour is it? Red.") == ["evaluation_question"]


def test_a_match_does_not_span_two_documents() -> None:
    words = re.findall(r"\w+", LONG)
    assert found(LONG, "", " ".join(words[:8]), " ".join(words[8:])) == [None, None]


def test_four_edits_leave_one_span_and_the_fifth_ends_it() -> None:
    words = [f"w{n}" for n in range(40)]

    def edited(*places: int) -> str:
        return " ".join("other" if n in places else word for n, word in enumerate(words))

    whole = " ".join(words)
    assert shares(whole, edited(10, 16, 24, 30), longer_than=39) == 1
    # The fifth edit, at 33, leaves 33 words; the six after it are no span of their own, the twelve after 27 are.
    assert shares(whole, edited(10, 16, 24, 30, 33)) == 33 / 40
    assert shares(whole, edited(10, 16, 24, 26, 27)) == (26 + 12) / 40
    assert shares(whole, edited(10, 16, 24, 26, 27), longer_than=12) == 26 / 40
    # None among the first ten, none at the end.
    assert shares(" ".join(words[:14]), edited(9)) == 0
    assert shares(" ".join(words[:14]), edited(10)) == 1
    assert shares(" ".join(words[:14]), edited(13)) == 13 / 14
    exact, almost, short = edited(*range(11, 40)), edited(10, *range(12, 40)), edited(*range(10, 40))
    ngram, edits = "evaluation_ngram", "evaluation_edited"
    texts = [exact, almost, f"{exact} {almost}", f"{almost} {exact}", short, ""]
    assert found(whole, "", *texts) == [ngram, edits, ngram, ngram, None, None]
    assert found(whole, "") == []


def test_an_equal_hash_is_no_match() -> None:
    words = [f"w{n}" for n in range(14)]
    swapped = " ".join([words[1], words[0], *words[2:]])
    short = "Who waters the garden now?"
    with mock.patch.object(skipgrams, "ODD", np.uint64(1)):  # which leaves the sum of the words
        assert shares(" ".join(words), swapped) == 12 / 14
        assert found(short, "", "Now who waters the garden?") == [None]


def plain_spans(text: list[str], sample: list[str]) -> list[tuple[int, int, bool]]:
    """(start in the sample, length, whether all agree) of every span by the definition, tried one by one."""
    spans = []
    for p in range(len(text)):
        for i in range(len(sample)):
            same = [a == b for a, b in zip(text[p:], sample[i:], strict=False)]
            for size in range(11, len(same) + 1):
                if all(same[:10]) and same[size - 1] and same[:size].count(False) <= 4:
                    spans.append((i, size, all(same[:size])))
    return spans


@st.composite
def leaky(draw: st.DrawFn) -> tuple[list[list[str]], list[list[str]]]:
    """Samples, and documents made of their pieces with edits; few distinct words make chance matches frequent."""
    word = st.sampled_from(["a", "b", "c", "d"][: draw(st.integers(1, 4))])
    samples = draw(st.lists(st.lists(word, min_size=4, max_size=50), min_size=1, max_size=3))
    texts = []
    for _ in range(draw(st.integers(1, 3))):
        text = draw(st.lists(word, max_size=5))
        for piece in draw(st.lists(st.sampled_from(samples), max_size=2)):
            text += piece[draw(st.integers(0, 5)) :]
        for place in draw(st.lists(st.integers(0, 60), max_size=8)):
            if place < len(text):
                text[place] = draw(st.sampled_from(["a", "b", "x"]))
        texts.append(text)
    return samples, texts


@given(leaky(), st.sampled_from([(3, 2), (7, 5), (32, 1 << 14)]))
def test_equals_the_definition(case: tuple[list[list[str]], list[list[str]]], pieces: tuple[int, int]) -> None:
    """Whatever the sizes of the pieces that the work is cut into."""
    samples, texts = case
    spans = [[plain_spans(text, sample) for sample in samples] for text in texts]
    corpus = column([" ".join(text) for text in texts])
    with mock.patch.multiple(skipgrams, _BLOCK=pieces[0], _PAIRS=pieces[1]):
        ready = Samples.of([" ".join(sample) for sample in samples], [""] * len(samples))
        longest_N = longest_spans(corpus, ready)
        parts = [longest_spans(corpus.slice(n, 1), ready) for n in range(len(texts))]
        dropped = reasons(drop_contaminated(documents(corpus.to_pylist()), ready))
    for longer_than in (10, 12, 20, 30):
        expected = []
        for number, sample in enumerate(samples):
            hit = {n for of in spans for start, size, _ in of[number] for n in range(start, start + size)
                   if size > longer_than}  # fmt: skip
            expected.append(len(hit) / len(sample))
        assert contaminated_shares(longest_N, ready, longer_than) == pytest.approx(expected)
    for text, of, reason in zip(texts, spans, dropped, strict=True):
        flat = [span for each in of for span in each]
        joined = f" {' '.join(text)} "
        if any(len(sample) <= 10 and f" {' '.join(sample)} " in joined for sample in samples):
            assert reason == "evaluation_question"
        elif any(exact for _, _, exact in flat):
            assert reason == "evaluation_ngram"
        else:
            assert reason == ("evaluation_edited" if flat else None)
    assert (np.maximum.reduce(parts) == longest_N).all(), "parts of a corpus are joined by their maximum"


def real_paragraphs() -> list[str]:
    """Paragraphs of the language reference, 25 to 80 words each."""
    text = "\n\n".join(pydoc_data.topics.topics.values())
    paragraphs = dict.fromkeys(" ".join(part.split()) for part in text.split("\n\n"))
    return [part for part in paragraphs if 25 <= len(re.findall(r"[^\W_]+", part)) <= 80]


def real_files() -> list[str]:
    """Sources of the standard library: prose and code that nobody wrote for this test."""
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return [path.read_text("utf-8", "replace") for path in paths[:120]]


def edited(paragraph: str, edits: int, draw: random.Random) -> str:
    """The paragraph with `edits` of its words exchanged for others of it, from the eleventh to the last but one."""
    parts = re.split(r"([^\W_]+)", paragraph)
    words = parts[1::2]
    for place in draw.sample(range(10, len(words) - 1), edits):
        words[place] = draw.choice([word for word in words if word.lower() != words[place].lower()])
    parts[1::2] = words
    return "".join(parts)


def test_leaks_planted_in_real_text_are_found_and_nothing_else() -> None:
    draw = random.Random(1)
    paragraphs, files = real_paragraphs(), real_files()
    draw.shuffle(paragraphs)
    ready = Samples.of(paragraphs, [""] * len(paragraphs))
    quiet = reasons(drop_contaminated(documents(files), ready))
    # A few files do quote the reference; no leak goes into them.
    files = [text for text, reason in zip(files, quiet, strict=True) if reason is None]
    assert len(files) >= 0.9 * len(quiet)
    planted, kinds = [], []
    for number, paragraph in enumerate(paragraphs[:200]):
        text = draw.choice(files)[:20_000]
        place = draw.randrange(len(text) + 1)
        kinds.append(number % 5)
        planted.append(f"{text[:place]}\n{edited(paragraph, kinds[-1], draw)}\n{text[place:]}")
    out = np.array(reasons(drop_contaminated(documents(planted), ready)), object)
    for edits in range(5):
        recall = np.mean([reason is not None for reason in out[np.array(kinds) == edits]])
        assert recall >= 0.99, f"{edits} edits"
    longest_N = longest_spans(column(planted), ready)
    assert (contaminated_shares(longest_N, ready)[:200] == 1).mean() >= 0.99


@pytest.mark.parametrize("row", [{"question": "Why?"}, [1], {"question": " ?! ", "answer": "x"}])
def test_a_bad_row_is_named(tmp_path: Path, row: object) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"question": SHORT, "answer": "x"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"questions\.jsonl:2: "):
        read_questions([path])


def test_a_file_without_questions_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(InputError, match="no question"):
        read_questions([tmp_path / "none.jsonl"])
