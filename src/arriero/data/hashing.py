"""Hashes that are the same on every machine and in every run: of bytes, and of 64-bit words."""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio; odd: multiplication is a bijection of 64-bit words


def hash64(data: bytes) -> int:
    """BLAKE2b's first 64 bits."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def mixed(values: Words) -> Words:
    """The finalizer of SplitMix64 (Steele and others, 2014): each bit of the result hangs on every bit of the value."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
