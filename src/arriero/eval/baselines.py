"""What a model trained from scratch must beat: a bigram model, and the compressor `xz`.

The bigram model is smoothed as Witten and Bell (1991, method C) did: P(b|a) = (c(a,b) + T(a) P(b)) / (c(a) + T(a)),
T(a) = kinds of symbols seen after a, P(b) = (c(b) + 1) / (N + V). It has no constant to tune, and sums to one.
"""

import lzma
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Bigram:
    """Counts over symbols 0 .. V - 1 (bytes, or a tokenizer's ids). The first three fields are (V,)."""

    unigram: NDArray[np.float64]  # P(b)
    followed: Ids  # c(a) as the first of a pair
    kinds: Ids  # T(a)
    pairs: Ids  # a * V + b of every pair seen, sorted
    counts: Ids  # c(a, b), beside `pairs`

    @classmethod
    def fit(cls, sequences: Iterable[Ids], vocabulary: int) -> "Bigram":
        """Counts pairs within each sequence, never across two."""
        symbols = np.zeros(vocabulary, dtype=np.int64)
        codes = [np.zeros(0, dtype=np.int64)]
        for ids in sequences:
            symbols += np.bincount(ids, minlength=vocabulary)
            codes.append(ids[:-1] * vocabulary + ids[1:])
        pairs, counts = np.unique(np.concatenate(codes), return_counts=True)
        return cls(
            unigram=(symbols + 1) / (symbols.sum() + vocabulary),
            followed=np.bincount(pairs // vocabulary, weights=counts, minlength=vocabulary).astype(np.int64),
            kinds=np.bincount(pairs // vocabulary, minlength=vocabulary),
            pairs=pairs,
            counts=counts,
        )

    def probabilities(self, first: Ids, second: Ids) -> NDArray[np.float64]:
        """P(second | first), elementwise. A symbol that was never followed by anything gives P(second)."""
        seen = np.zeros(len(first))
        if len(self.pairs):
            code = first * len(self.unigram) + second
            place = np.minimum(np.searchsorted(self.pairs, code), len(self.pairs) - 1)
            seen = np.where(self.pairs[place] == code, self.counts[place], 0)
        kinds = self.kinds[first]
        # Where nothing was seen after a symbol, weight 1 on P(b) leaves P(b).
        backed = np.maximum(kinds, 1)
        return np.asarray((seen + backed * self.unigram[second]) / (self.followed[first] + backed))

    def bits(self, ids: Ids) -> float:
        """-log2 p(ids); the first symbol by P(b) alone."""
        if len(ids) == 0:
            return 0.0
        return float(-np.log2(self.unigram[ids[0]]) - np.log2(self.probabilities(ids[:-1], ids[1:])).sum())


def byte_ids(text: str) -> Ids:
    return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)


@dataclass(frozen=True)
class XzBits:
    """Bits per byte of held-out text as a whole by `xz -9`: by itself, and what it adds behind training text.

    `alone` = 8 size(heldout) / bytes. `after_training_text` = 8 (size(train + heldout) - size(train)) / bytes. Both let
    one held-out document foretell the next, which a model that reads each by itself is not given.
    """

    alone: float
    after_training_text: float
    heldout_bytes: int
    training_bytes: int


def xz_bits(heldout: bytes, training: bytes) -> XzBits:
    """Raises ValueError if there is no held-out text."""
    if not heldout:
        raise ValueError("xz needs held-out text to compress")
    behind = xz_size(training + heldout) - xz_size(training)
    scale = 8 / len(heldout)
    return XzBits(xz_size(heldout) * scale, behind * scale, len(heldout), len(training))


def xz_size(data: bytes) -> int:
    """Bytes that `xz -9` makes of `data`, without the container's; its dictionary spans 64 MiB."""
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9}]))
