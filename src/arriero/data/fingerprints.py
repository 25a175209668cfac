"""What later tells duplicates apart, computed for a batch of documents: columns of fixed width beside each text.

Exact duplicates differ in case and white space alone: the 128-bit hashes of the rest are equal. Near duplicates are
found by MinHash over pairs of neighbouring words, in small letters; words are what white space and punctuation part
(FineWeb drops punctuation too; there every number becomes 0, here it stays: pages of a reference work may differ in it
alone). 36 bands of 4 rows propose pairs of documents; the share of equal bytes in their `sketch`es, one byte of each of
the 144 minima, then estimates their Jaccard similarity, which must be at least 0.55: where a copy stands of whose words
16% were replaced at random. One with 10% replaced has 0.68, and shares a band with probability 1 - (1 - 0.68^4)^36.

FineWeb (arXiv:2406.17557) has word 5-grams in 14 bands of 8 rows and checks no pair: a copy with 10% of its words
replaced has similarity 0.42 in 5-grams and is found in 2 to 3 cases of 100. Pairs of words bear scattered edits better
than longer n-grams do, at the same similarity of pages that share a template.
"""

import hashlib
import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.data.engine import minhash
from arriero.data.hashing import ODD, mixed

NGRAM = 2
BANDS = 36
ROWS = 4
PERMUTATIONS = BANDS * ROWS
SIMILARITY = 0.55
SEED = 1
# Two bytes of unlike minima are equal once in 256 times.
EQUAL_BYTES = math.ceil(PERMUTATIONS * (SIMILARITY + (1 - SIMILARITY) / 256))

BAND_COLUMNS = tuple(f"band_{band:02}" for band in range(BANDS))
# `band_NN` and `sketch` are null where a document has no word: it is no one's near duplicate.
FINGERPRINTS = pa.schema(
    [
        ("exact_hi", pa.uint64()),
        ("exact_lo", pa.uint64()),
        *((name, pa.uint64()) for name in BAND_COLUMNS),
        ("sketch", pa.binary(PERMUTATIONS)),
    ]
)

SPACE = ord(" ")
WHITE = b" \t\n\v\f\r"
_ASCII_SEPARATORS = bytes(SPACE if code < 128 and not chr(code).isalnum() else code for code in range(256))
# Beyond ASCII, as (UTF-8 bytes before the last, least last byte, greatest last byte): U+0080-00BF but letters and
# digits, U+2000-206F, U+3000-303F, U+FF00-FF0F and U+FF1A-FF20.
_WIDE_SEPARATORS = (
    (b"\xc2", 0x80, 0xA9),
    (b"\xc2", 0xAB, 0xB1),
    (b"\xc2", 0xB4, 0xB4),
    (b"\xc2", 0xB6, 0xB8),
    (b"\xc2", 0xBB, 0xBB),
    (b"\xc2", 0xBF, 0xBF),
    (b"\xe2\x80", 0x80, 0xBF),
    (b"\xe2\x81", 0x80, 0xAF),
    (b"\xe3\x80", 0x80, 0xBF),
    (b"\xef\xbc", 0x80, 0x8F),
    (b"\xef\xbc", 0x9A, 0xA0),
)


def fingerprints(texts: pa.ChunkedArray) -> pa.Table:
    """The columns FINGERPRINTS of each text."""
    lower = pc.utf8_lower(texts.combine_chunks().cast(pa.large_string()))
    words = spaced(lower)
    signature = minhash(words, PERMUTATIONS, NGRAM, SEED)
    wordless = np.diff(_offsets(words)) == 0
    exact = [pa.array(half) for half in _digests(lower).T]
    bands = [pa.array(band, mask=wordless) for band in _band_hashes(signature).T]
    return pa.Table.from_arrays([*exact, *bands, _sketches(signature, wordless)], schema=FINGERPRINTS)


def _offsets(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    if not len(texts):
        return np.zeros(1, np.int64)
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]


def spaced(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """The words with one space between them: ten times as fast as by a regular expression."""
    offsets = _offsets(texts)
    if offsets[0] == offsets[-1]:
        return texts
    text = memoryview(texts.buffers()[2])[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    data = np.frombuffer(bytearray(text).translate(_ASCII_SEPARATORS), np.uint8)
    _blank_wide(data)
    space = data == SPACE
    drop = space.copy()
    drop[1:] &= space[:-1]
    starts = offsets[:-1][offsets[:-1] < data.size]
    drop[starts] = space[starts]
    # Of each run its first space is left; of one that ends a text that one goes too, if the text is not all spaces.
    closed = (np.diff(offsets) > 0) & space[offsets[1:] - 1]
    kept = np.concatenate([[-1], np.flatnonzero(space & ~drop)])
    last = kept[np.searchsorted(kept, offsets[1:][closed]) - 1]
    drop[last[last >= offsets[:-1][closed]]] = True
    dropped = np.flatnonzero(drop)
    offsets = offsets - np.searchsorted(dropped, offsets)
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(data[~drop]))


def _blank_wide(data: NDArray[np.uint8]) -> None:
    """Makes spaces of the separators beyond ASCII, in place."""
    leads = np.flatnonzero(data >= 0xC2)
    for before, least, greatest in _WIDE_SEPARATORS:
        first = leads[data[leads] == before[0]]
        for place, byte in enumerate(before[1:], start=1):
            first = first[data[first + place] == byte]
        last = data[first + len(before)]
        first = first[(last >= least) & (last <= greatest)]
        for place in range(len(before) + 1):
            data[first + place] = SPACE


def _digests(lower: pa.LargeStringArray) -> NDArray[np.uint64]:
    """(texts, 2): the halves of the BLAKE2b hash, 128 bits, of each text without white space."""
    offsets, data = _offsets(lower).tolist(), (lower.buffers()[2] or pa.py_buffer(b"")).to_pybytes()
    digests = b"".join(
        hashlib.blake2b(data[start:stop].translate(None, WHITE), digest_size=16).digest()
        for start, stop in pairwise(offsets)
    )
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def _band_hashes(signature: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """(documents, BANDS): one number for the ROWS minima of a band."""
    rows = signature.reshape(-1, BANDS, ROWS).astype(np.uint64)
    hashes = np.full(rows.shape[:2], ODD)
    for row in range(ROWS):
        hashes = mixed(hashes + rows[:, :, row])
    return hashes


def _sketches(signature: NDArray[np.uint32], wordless: NDArray[np.bool_]) -> pa.FixedSizeBinaryArray:
    # The high byte of the product: the minima of a long text have few high bits, and the product mixes all into it.
    high = ((signature * np.uint32(0x9E3779B1)) >> np.uint32(24)).astype(np.uint8)
    valid = np.packbits(~wordless, bitorder="little")
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(PERMUTATIONS), len(signature), [pa.py_buffer(valid), pa.py_buffer(high)]
    )
