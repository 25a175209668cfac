"""Decontamination: documents that hold an evaluation question leave the corpus.

Source: Llama 2 (arXiv:2307.09288) appendix A.6: a token is contaminated if it lies in an n-gram of more than 10 tokens
that the fully verbalised sample shares with the training data. There it is measured after the fact; here the document
is dropped. Tokens are words (runs of letters and digits, in small letters), so that layout and punctuation do not hide
a match. A question shorter than an n-gram is matched as a whole.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.artifacts.files import read_jsonl
from arriero.data.documents import Step, with_columns
from arriero.errors import InputError

NGRAM = 11  # "more than 10 tokens"
SHORTEST_QUESTION = 4  # a shorter one is an everyday phrase; it is matched together with its answer

Words = tuple[int, ...]


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters."""
    flat = pc.split_pattern_regex(pc.utf8_lower(pa.array([text], pa.large_string())), r"[^\p{L}\p{N}]+")[0].as_py()
    return [word for word in flat if word]


@dataclass(frozen=True)
class Questions:
    """What to look for: word sequences by their length, each with the reason that it gives."""

    vocabulary: dict[str, int] = field(default_factory=dict)
    sequences: dict[int, dict[Words, str]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, question: str, answer: str) -> None:
        asked, sample = words_of(question), words_of(f"{question} {answer}")
        for start in range(len(sample) - NGRAM + 1):
            self._add(sample[start : start + NGRAM], "evaluation_ngram")
        if len(asked) < NGRAM:
            self._add(asked if len(asked) >= SHORTEST_QUESTION else sample[: NGRAM - 1], "evaluation_question")

    def _add(self, words: list[str], reason: str) -> None:
        ids = tuple(self.vocabulary.setdefault(word, len(self.vocabulary)) for word in words)
        self.sequences[len(ids)][ids] = reason


def read_questions(path: Path) -> Questions:
    """Reads JSONL rows {"question", "answer"}. Raises InputError naming the line of a row that is not one."""
    questions = Questions()
    for number, row in read_jsonl(path):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("question", "answer")):
            raise InputError(f"{path}:{number}: expected an object with the texts `question` and `answer`.")
        if not words_of(row["question"]):
            raise InputError(f"{path}:{number}: the question is empty. Remove the row.")
        questions.add(row["question"], row["answer"])
    return questions


def drop_contaminated(table: pa.Table, questions: Questions) -> pa.Table:
    """Drops documents in which one of the questions' word sequences occurs."""
    lists = pc.split_pattern_regex(pc.utf8_lower(table["text"]), r"[^\p{L}\p{N}]+").combine_chunks()
    flat, owner_P = lists.flatten(), np.asarray(pc.list_parent_indices(lists))
    real = pc.not_equal(flat, "")
    flat, owner_P = flat.filter(real), owner_P[np.asarray(real, dtype=bool)]
    known = pa.array(list(questions.vocabulary), pa.large_string())
    # A word that no question has becomes -1, which ends every candidate.
    code_P = np.asarray(pc.fill_null(pc.index_in(flat, known), -1), dtype=np.int64)
    reasons: list[str | None] = [None] * table.num_rows
    for length, sequences in sorted(questions.sequences.items()):
        for start in _candidates(code_P, owner_P, length, {words[0] for words in sequences}):
            reason = sequences.get(tuple(code_P[start : start + length].tolist()))
            if reason is not None:
                reasons[owner_P[start]] = reasons[owner_P[start]] or reason
    return with_columns(table, reason=reasons)


def _candidates(code_P: NDArray[np.int64], owner_P: NDArray[np.int64], length: int, firsts: set[int]) -> list[int]:
    """Starts of runs of `length` known words within one document that begin as a sequence does."""
    size = len(code_P) - length + 1
    if size <= 0:
        return []
    unknown = np.concatenate([[0], np.cumsum(code_P < 0)])
    within = (unknown[length:] == unknown[:size]) & (owner_P[:size] == owner_P[length - 1 :])
    return list(np.flatnonzero(within & np.isin(code_P[:size], list(firsts))))


def decontamination_step(questions: Questions) -> Step:
    return Step("decontamination", partial(drop_contaminated, questions=questions))
