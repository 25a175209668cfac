"""Words and word n-grams as 64-bit hashes, the same on every machine and in every run.

A word is hashed in small letters and without the punctuation around it. Words are hashed once per batch each, over the
bytes of the batch's vocabulary: sum of table[byte] * BASE^place, modulo 2^64.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.data.hashing import ODD

Hashes = NDArray[np.uint64]

PUNCTUATION = ".,;:!?()[]{}<>\"'`“”‘’«»…*_"
_BASE = int(ODD)  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)
_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
_FOLD = np.uint64(32)


def _powers(base: int, count: int) -> Hashes:
    """base^0, base^1, ..."""
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _mixed(hashes: Hashes) -> Hashes:
    """A bijection that spreads every bit of a hash over all of them."""
    for _ in range(2):
        hashes = (hashes ^ (hashes >> _FOLD)) * _MULTIPLIER
    result: Hashes = hashes ^ (hashes >> _FOLD)
    return result


_BYTES = _mixed(np.arange(1, 257, dtype=np.uint64) * np.uint64(_BASE))


def followed(context: Hashes, word: Hashes) -> Hashes:
    """The hashes of n-grams from those of their first n - 1 words and of their last."""
    hashes: Hashes = context * _MULTIPLIER + word
    return hashes


def word_hashes(words: pa.Array) -> Hashes:
    """One hash for each word."""
    plain = pc.utf8_trim(pc.utf8_lower(words), PUNCTUATION).cast(pa.large_binary())
    data = np.frombuffer(b"".join(plain.to_pylist()), np.uint8)
    end = np.cumsum(np.asarray(pc.binary_length(plain), dtype=np.int64))
    start = np.concatenate([[0], end[:-1]]).astype(np.int64)
    total = np.concatenate(
        [np.zeros(1, np.uint64), np.cumsum(_BYTES[data] * _powers(_BASE, len(data)), dtype=np.uint64)]
    )
    return _mixed((total[end] - total[start]) * _powers(_INVERSE, len(data) + 1)[start])


def buckets(hashes: Hashes, bits: int) -> NDArray[np.int64]:
    """Each hash's place in a table of 2^bits."""
    return (hashes >> np.uint64(64 - bits)).view(np.int64)
