"""Decontamination: planted questions are caught, near misses are not."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_crawl import documents, prose, reasons

from arriero.data.decontaminate import NGRAM, Questions, drop_contaminated, read_questions, words_of
from arriero.errors import InputError

LONG = "When the last train has left the station, who waters the flowers that stand on the window sill?"
SHORT = "Who waters the flowers?"


def found(question: str, answer: str, *texts: str) -> list[str | None]:
    questions = Questions()
    questions.add(question, answer)
    return reasons(drop_contaminated(documents(list(texts)), questions))


def test_planted_questions_are_caught_whatever_their_layout() -> None:
    dressed = f"{prose(1)}\n\n* {LONG.upper().replace(' ', chr(10) + '  - ')} {prose(2)}"
    assert found(LONG, "The guard.", prose(1), dressed) == [None, "evaluation_ngram"]
    assert found(SHORT, "The guard.", f"{prose(1)} who WATERS the “flowers” {prose(2)}") == ["evaluation_question"]


def test_eleven_shared_words_are_a_match_and_ten_are_not() -> None:
    words = words_of(LONG)
    ten, eleven = (" ".join(["xyz", *words[3 : 3 + size], "xyz"]) for size in (NGRAM - 1, NGRAM))
    assert found(LONG, "", ten, eleven) == [None, "evaluation_ngram"]


def test_question_and_answer_are_matched_as_one_sample() -> None:
    asked, answer = "Which colour?", "It is the deep green of old bottles in a cellar, no doubt"
    assert found(asked, answer, "colour it is the deep green of old bottles in a", answer) == ["evaluation_ngram"] * 2
    # Two words are an everyday phrase: alone they are no match, before the answer they are.
    assert found("Which colour?", "Green.", "Which colour? Red.", "which colour green") == [None, "evaluation_question"]


def test_a_match_does_not_span_two_documents() -> None:
    words = words_of(LONG)
    assert found(LONG, "", " ".join(words[:8]), " ".join(words[8:])) == [None, None]


VOCABULARY = ["one", "two", "three", "four", "other"]


@given(
    st.lists(st.sampled_from(VOCABULARY[:4]), min_size=4, max_size=14),
    st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=40), min_size=1, max_size=4),
    st.data(),
)
def test_equals_plain_python(question: list[str], texts: list[list[str]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(texts[0])))
    piece = data.draw(st.integers(0, len(question)))
    texts[0][place:place] = question[piece:]
    size = min(NGRAM, len(question))
    grams = {tuple(question[i : i + size]) for i in range(len(question) - size + 1)}
    expected = [any(tuple(words[i : i + size]) in grams for i in range(len(words) - size + 1)) for words in texts]
    actual = found(" ".join(question), "", *(" ".join(words) for words in texts))
    assert [reason is not None for reason in actual] == expected


@pytest.mark.parametrize("row", [{"question": "Why?"}, [1], {"question": " ?! ", "answer": "x"}])
def test_a_bad_row_is_named(tmp_path: Path, row: object) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"question": SHORT, "answer": "x"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"questions\.jsonl:2: "):
        read_questions(path)
