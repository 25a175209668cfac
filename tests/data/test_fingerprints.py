"""Fingerprints: which texts have the same hash, what a word is, and that batches change nothing."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.data.engine import minhash
from arriero.data.fingerprints import BAND_COLUMNS, BANDS, NGRAM, PERMUTATIONS, ROWS, SEED, fingerprints, spaced

MARKS = ((0x2000, 0x206F), (0x3000, 0x303F), (0xFF00, 0xFF0F), (0xFF1A, 0xFF20))


def table(texts: list[str]) -> pa.Table:
    return fingerprints(pa.chunked_array([texts], pa.large_string()))


def parts_words(character: str) -> bool:
    code = ord(character)
    if code < 0xC0:
        return unicodedata.category(character)[0] not in "LN"
    return any(least <= code <= greatest for least, greatest in MARKS)


def reference(text: str) -> str:
    return " ".join(filter(None, "".join(" " if parts_words(c) else c for c in text).split(" ")))


@given(st.lists(st.text(" \t.aé\u00a0\u2014\u3002日🙂", max_size=12), max_size=6), st.integers(0, 2))
def test_words_are_what_separators_part(texts: list[str], skipped: int) -> None:
    found = spaced(pa.array(texts, pa.large_string())[skipped:])
    assert found.to_pylist() == [reference(text) for text in texts[skipped:]]


def test_separators_are_those_stated() -> None:
    texts = [f"a{chr(code)}b" for code in range(0x11000) if not 0xD800 <= code < 0xE000]
    assert spaced(pa.array(texts, pa.large_string())).to_pylist() == [reference(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "same"),
    [("ONE\ttwo  three\r\n", True), ("one two three.", False), ("one two four", False), ("", False)],
)
def test_exact_hash_ignores_case_and_white_space_alone(text: str, same: bool) -> None:
    rows = table(["one two three", text]).select(["exact_hi", "exact_lo"]).to_pylist()
    assert (rows[0] == rows[1]) is same


def test_each_band_stands_for_its_minima_and_each_sketch_byte_for_one() -> None:
    first = [f"a{n}" for n in range(1500)]
    texts = [" ".join(first), " ".join(first[:1400] + ["other"] * 3)]
    signature = minhash(pa.array(texts, pa.large_string()), PERMUTATIONS, NGRAM, SEED)
    rows = table(texts)
    same = signature[0] == signature[1]
    bands = [len(set(rows[name].to_pylist())) == 1 for name in BAND_COLUMNS]
    assert bands == same.reshape(BANDS, ROWS).all(axis=1).tolist()
    assert 0 < sum(bands) < BANDS
    sketches = np.array([list(sketch) for sketch in rows["sketch"].to_pylist()])
    unlike = sketches[0] != sketches[1]
    assert not (unlike & same).any()
    assert unlike[~same].mean() > 0.8


def test_signatures_estimate_jaccard_similarity() -> None:
    first = [f"a{n}" for n in range(1500)]
    second = first[:1000] + [f"b{n}" for n in range(500)]
    true = 999 / (1499 + 500)
    a, b = minhash(pa.array([" ".join(first), " ".join(second)], pa.large_string()), PERMUTATIONS, NGRAM, SEED)
    assert abs((a == b).mean() - true) < 3 * (true * (1 - true) / PERMUTATIONS) ** 0.5


def test_short_documents_are_near_only_to_the_same_words() -> None:
    rows = table(["", " ... ", "one", "two", "One!", "one two", "one two three"])
    bands = rows["band_00"].to_pylist()
    assert bands[:2] == [None, None] == rows["sketch"].to_pylist()[:2], (
        "a document without a word has no near duplicate"
    )
    assert bands[2] == bands[4]
    assert len({bands[2], bands[3], bands[5], bands[6]}) == 4


def test_batches_change_nothing() -> None:
    texts = ["", "a b c", "Ünï — cödé ", ".", "x" * 3000, "日本、語 です"]
    whole = table(texts)
    assert pa.concat_tables([table([text]) for text in texts]).combine_chunks() == whole.combine_chunks()
    chunked = pa.chunked_array([texts[:2], [], texts[2:]], pa.large_string())
    assert fingerprints(chunked) == whole
    assert table([]).num_rows == 0
