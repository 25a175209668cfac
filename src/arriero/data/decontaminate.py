"""Decontamination: documents that hold a piece of an evaluation sample leave the corpus.

Source: Llama 2 (arXiv:2307.09288) appendix A.6: a token of a fully verbalised sample is contaminated if it lies in an
n-gram of more than 10 tokens that the training data shares, up to 4 positions aside (`skipgrams`). There this is
measured after the fact; here the documents are dropped as well. A token is a word, a run of letters and digits in small
letters: the corpus is cleaned before it has a tokenizer, and layout and punctuation do not hide a match. In scripts
that put no space between words, each character is one. A question shorter than an n-gram is matched as a whole.
Shapes: N = positions of the samples or of a text, with their borders; G = n-grams; P = places found; D = documents;
S = samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.artifacts.files import read_jsonl
from arriero.data.documents import Step, with_columns
from arriero.data.skipgrams import (
    EXACT,
    SAMPLE_BORDER,
    TEXT_BORDER,
    UNKNOWN,
    Ints,
    NgramIndex,
    Sequences,
    ngram_hashes,
    occurrences,
    shared_spans,
)
from arriero.errors import InputError

QUESTIONS_FILE = "questions.jsonl"  # of an artifact of evaluation texts
SHORTEST_QUESTION = 4  # words; a shorter one is an everyday phrase: it is matched together with its answer

# Where several hold, the last: only with edits, more than 10 words in a row, a short question.
REASONS = (None, "evaluation_edited", "evaluation_ngram", "evaluation_question")
_EDITED, _VERBATIM, _WHOLE = 1, 2, 3

_BETWEEN_WORDS = r"[^\p{L}\p{N}]+"
_WITHOUT_SPACES = r"([\p{Han}\p{Hiragana}\p{Katakana}])"


def words(texts: pa.ChunkedArray) -> tuple[pa.Array, Ints]:
    """The words of all texts, one after the other, and for each the number of its text."""
    plain = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC"))
    plain = pc.replace_substring_regex(plain, _WITHOUT_SPACES, r" \1 ")
    lists = pc.split_pattern_regex(plain, _BETWEEN_WORDS).combine_chunks()
    flat, owners = lists.flatten(), pc.list_parent_indices(lists)
    real = pc.not_equal(flat, "")
    return flat.filter(real), np.asarray(owners.filter(real), dtype=np.int64)


@dataclass(frozen=True)
class Samples:
    """Evaluation samples, ready to be looked for.

    `ngrams` holds all their n-grams of EXACT words, `short` by their length the questions that are matched as a whole.
    """

    vocabulary: pa.LargeStringArray  # a word's code is its place
    sequences: Sequences
    ngrams: NgramIndex
    short: dict[int, NgramIndex]

    @staticmethod
    def of(questions: Sequence[str], answers: Sequence[str]) -> "Samples":
        """From as many answers as questions. A sample is the question, a space, and the answer."""
        texts = [f"{question} {answer}" for question, answer in zip(questions, answers, strict=True)]
        flat, owners = words(pa.chunked_array([texts], pa.large_string()))
        encoded = flat.dictionary_encode()
        sequences = Sequences.of(np.asarray(encoded.indices, dtype=np.int32), owners, len(texts), SAMPLE_BORDER)
        code_N, owner_N = sequences.code_N, sequences.owner_N
        within = (owner_N[: 1 - EXACT] >= 0) & (owner_N[: 1 - EXACT] == owner_N[EXACT - 1 :])
        ngrams = NgramIndex(code_N, np.flatnonzero(within), EXACT)
        # A short question is the head of its sample.
        asked_S = np.bincount(words(pa.chunked_array([questions], pa.large_string()))[1], minlength=len(texts))
        head_S = np.where(asked_S < SHORTEST_QUESTION, np.minimum(sequences.size_S, EXACT), asked_S)
        lengths = sorted({int(length) for length in head_S if length <= EXACT})
        short = {length: NgramIndex(code_N, sequences.first_S[head_S == length], length) for length in lengths}
        return Samples(encoded.dictionary, sequences, ngrams, short)


def read_questions(paths: Sequence[Path]) -> Samples:
    """Reads JSONL rows {"question", "answer"}.

    Raises InputError if a file has none, or one is not such a row or asks nothing; it names the line.
    """
    questions: list[str] = []
    answers: list[str] = []
    for path in paths:
        for question, answer in _questions(path):
            questions.append(question)
            answers.append(answer)
    return Samples.of(questions, answers)


def _questions(path: Path) -> list[tuple[str, str]]:
    rows = []
    for number, row in read_jsonl(path):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("question", "answer")):
            raise InputError(f"{path}:{number}: expected an object with the texts `question` and `answer`.")
        if not len(words(pa.chunked_array([[row["question"]]], pa.large_string()))[0]):
            raise InputError(f"{path}:{number}: the question is empty. Remove the row.")
        rows.append((row["question"], row["answer"]))
    if not rows:
        raise InputError(f"{path} holds no question: there is nothing to look for. Give rows, or leave the file out.")
    return rows


def _encoded(texts: pa.ChunkedArray, samples: Samples) -> Sequences:
    """The texts in the codes of the samples' words."""
    flat, owners = words(texts)
    encoded = flat.dictionary_encode()
    known = pc.fill_null(pc.index_in(encoded.dictionary, value_set=samples.vocabulary), UNKNOWN)
    codes = np.asarray(known, dtype=np.int32)[np.asarray(encoded.indices)]
    return Sequences.of(codes, owners, len(texts), TEXT_BORDER)


def drop_contaminated(table: pa.Table, samples: Samples) -> pa.Table:
    """Drops documents that share a span with a sample, or hold a short question."""
    text = _encoded(table["text"], samples)
    found_D = np.zeros(table.num_rows, np.int64)
    for spans in shared_spans(text, samples.sequences, samples.ngrams):
        np.maximum.at(found_D, text.owner_N[spans.text_P], np.where(spans.exact_P > EXACT, _VERBATIM, _EDITED))
    for length, hash_N in ngram_hashes(text.code_N, max(samples.short, default=0)):
        if length in samples.short:
            for text_P in occurrences(text, samples.sequences, samples.short[length], hash_N):
                found_D[text.owner_N[text_P]] = _WHOLE
    return with_columns(table, reason=[REASONS[found] for found in found_D])


def longest_spans(texts: pa.ChunkedArray, samples: Samples) -> Ints:
    """For each position of the samples (N,) the length of the longest span that begins there; 0 if none does.

    The results of several parts of a corpus are joined by `np.maximum`.
    """
    longest_N = np.zeros(len(samples.sequences.code_N), np.int64)
    for spans in shared_spans(_encoded(texts, samples), samples.sequences, samples.ngrams):
        np.maximum.at(longest_N, spans.sample_P, spans.length_P)
    return longest_N


def contaminated_shares(longest_N: Ints, samples: Samples, longer_than: int = EXACT) -> NDArray[np.float64]:
    """The share of each sample's words (S,) that lie in a span of more than `longer_than` words, the paper's L."""
    start = np.flatnonzero(longest_N > longer_than)
    depth_N = np.zeros(len(longest_N), np.int64)
    np.add.at(depth_N, start, 1)
    np.add.at(depth_N, start + longest_N[start], -1)
    owners = samples.sequences.owner_N[np.cumsum(depth_N) > 0]
    size_S = samples.sequences.size_S
    return np.bincount(owners, minlength=len(size_S)) / np.maximum(size_S, 1)


def decontamination_step(samples: Samples) -> Step:
    return Step("decontamination", partial(drop_contaminated, samples=samples))
