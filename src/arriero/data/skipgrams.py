"""Skip-grams: the spans that a text shares with one of many samples, a few positions aside.

Source: Llama 2 (arXiv:2307.09288) appendix A.6: a span is more than 10 tokens long and may differ in at most 4
positions, none of them among its first 10 tokens nor at its end. The paper finds them by suffix arrays over the
training data. Here the samples, which are few, are indexed by the hashes of their 10-grams and the text streams past:
what a filter lets through is looked up, and what is found is extended token by token. Tokens are codes (int32, from 0),
in one numbering for both sides.
Shapes: N = positions of the sequences at hand, S = sequences, P = pairs of a position on either side, G = n-grams of an
index, U = the distinct ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arriero.data.hashing import ODD

EXACT = 10  # tokens at the head of a span that must agree; a span is longer than that
BUDGET = 4  # positions of a span that may differ

# Codes that equal nothing on the other side.
UNKNOWN, TEXT_BORDER, SAMPLE_BORDER = -1, -2, -3
_LEAST_CODE = SAMPLE_BORDER

_BLOCK = 32  # positions compared at a time
_PAIRS = 1 << 14  # pairs extended at a time, which bounds the memory to about 20 MB

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Sequences:
    """Sequences of codes end to end. `owner_N` is the number of the sequence that each position lies in, -1 at borders.

    `first_S` is where each sequence begins and `size_S` its length. Before, between and behind the sequences stand
    BUDGET + 1 border codes: no span can pass them.
    """

    code_N: Codes
    owner_N: Ints
    first_S: Ints
    size_S: Ints

    @staticmethod
    def of(codes: Codes, owners: Ints, count: int, border: int) -> "Sequences":
        """From the codes of `count` sequences and, in ascending order, the number of the sequence of each."""
        margin = BUDGET + 1
        size_S = np.bincount(owners, minlength=count)
        first_S = np.cumsum(size_S) - size_S + margin * np.arange(1, count + 1)
        place = np.arange(len(codes)) + margin * (owners + 1)
        code_N = np.full(len(codes) + margin * (count + 1), border, np.int32)
        owner_N = np.full(len(code_N), -1, np.int64)
        code_N[place], owner_N[place] = codes, owners
        return Sequences(code_N, owner_N, first_S, size_S)


def ngram_hashes(code_N: Codes, longest: int) -> Iterator[tuple[int, Hashes]]:
    """For each length from 1 to `longest`: that length, and the hash of the n-gram that begins at each position."""
    value_N = _values(code_N)
    hash_N = np.zeros(len(code_N), np.uint64)
    for length in range(1, min(longest, len(code_N)) + 1):
        hash_N = hash_N[: len(code_N) - length + 1] * ODD + value_N[length - 1 :]
        yield length, hash_N


def _values(codes: Codes) -> Hashes:
    return (codes - _LEAST_CODE + 1).astype(np.uint64) * ODD


class NgramIndex:
    """The n-grams of one length that begin at the positions `starts`. A candidate that it gives has to be compared."""

    def __init__(self, code_N: Codes, starts: Ints, length: int) -> None:
        hash_G = np.zeros(len(starts), np.uint64)
        for offset in range(length):  # as in `ngram_hashes`
            hash_G = hash_G * ODD + _values(code_N[starts + offset])
        order = np.argsort(hash_G, kind="stable")
        self.length = length
        self.start_G = starts[order]
        self.hash_U, first_U, self.count_U = np.unique(hash_G[order], return_index=True, return_counts=True)
        self.first_U = first_U.astype(np.int64)
        # At most one slot of eight is set, so that most of a text goes no further.
        bits = max(10, (8 * len(self.hash_U)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits, dtype=bool)
        self._filter[self._slot(self.hash_U)] = True

    def _slot(self, hashes: Hashes) -> Hashes:
        return (hashes * ODD) >> self._shift

    def candidates(self, hash_N: Hashes) -> Iterator[tuple[Ints, Ints]]:
        """Pairs (position in the text, start in the samples) of equal hashes, about _PAIRS at a time."""
        if not len(self.hash_U):
            return
        at = np.flatnonzero(self._filter[self._slot(hash_N)])
        found = np.minimum(np.searchsorted(self.hash_U, hash_N[at]), len(self.hash_U) - 1)
        real = self.hash_U[found] == hash_N[at]
        at, found = at[real], found[real]
        before = np.cumsum(self.count_U[found]) - self.count_U[found]
        for some in np.split(np.arange(len(at)), np.flatnonzero(np.diff(before // _PAIRS)) + 1):
            count = self.count_U[found[some]]
            which = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            yield np.repeat(at[some], count), self.start_G[np.repeat(self.first_U[found[some]], count) + which]


@dataclass(frozen=True)
class Spans:
    """Shared spans: their starts on both sides, their `length_P`, and how many tokens agree before the first edit."""

    text_P: Ints
    sample_P: Ints
    length_P: Ints
    exact_P: Ints


def extend(text: Sequences, samples: Sequences, text_P: Ints, sample_P: Ints) -> Spans:
    """The longest span with at most BUDGET mismatches, and none at its end, from each pair of starts."""
    length_P, exact_P, missed_P = (np.zeros(len(text_P), np.int64) for _ in range(3))
    active = np.arange(len(text_P))
    offset_K = np.arange(_BLOCK)
    while len(active):
        # Beyond the last border, `clip` repeats it, which is one more mismatch.
        same = np.take(text.code_N, text_P[active, None] + offset_K, mode="clip") == np.take(
            samples.code_N, sample_P[active, None] + offset_K, mode="clip"
        )
        missed = missed_P[active, None] + np.cumsum(~same, axis=1)
        reached = np.where(same & (missed <= BUDGET), offset_K + 1, 0).max(axis=1)
        length_P[active] = np.maximum(length_P[active], reached)
        exact_P[active] += (missed == 0).sum(axis=1)
        missed_P[active] = missed[:, -1]
        active = active[missed[:, -1] <= BUDGET]
        offset_K = offset_K + _BLOCK
    return Spans(text_P, sample_P, length_P, exact_P)


def occurrences(text: Sequences, samples: Sequences, index: NgramIndex, hash_N: Hashes) -> Iterator[Ints]:
    """Positions of the text at which an n-gram of `index` stands, from the hashes of those of its length."""
    offset_K = np.arange(index.length)
    for text_P, sample_P in index.candidates(hash_N):
        same = text.code_N[text_P[:, None] + offset_K] == samples.code_N[sample_P[:, None] + offset_K]
        yield text_P[same.all(axis=1)]


def shared_spans(text: Sequences, samples: Sequences, index: NgramIndex) -> Iterator[Spans]:
    """The spans that the text shares with the samples, whose n-grams of EXACT tokens `index` holds.

    Of the spans that begin within one run of equal tokens, only that from the run's first token is given: the others
    lie in it and end with it.
    """
    for length, hash_N in ngram_hashes(text.code_N, EXACT):
        if length < EXACT:
            continue
        for text_P, sample_P in index.candidates(hash_N):
            head = text.code_N[text_P - 1] != samples.code_N[sample_P - 1]
            spans = extend(text, samples, text_P[head], sample_P[head])
            real = (spans.exact_P >= EXACT) & (spans.length_P > EXACT)
            yield Spans(spans.text_P[real], spans.sample_P[real], spans.length_P[real], spans.exact_P[real])
