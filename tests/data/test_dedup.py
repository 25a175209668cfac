"""Exact and near duplicates: what is found, and which one stays."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from small_crawl import documents, prose, reasons

from arriero.data.dedup import BANDS, NGRAM, PERMUTATIONS, SEED, KeepRule, components, drop_exact, drop_near
from arriero.data.engine import minhash

RULE = KeepRule(heldout=frozenset({"held"}), epochs={"web": 1.0, "facts": 3.0})


def test_exact_duplicates_differ_in_case_and_white_space_at_most() -> None:
    texts = ["One  two\nthree ", "one two three", "one two three.", "ONE\ttwo three"]
    assert reasons(drop_exact(documents(texts), RULE)) == [None, "exact_duplicate", None, "exact_duplicate"]


@pytest.mark.parametrize("drop", [drop_exact, drop_near])
def test_keep_rule(drop: object) -> None:
    text = prose(1)
    kept = {
        "held-out before any other": (["m", "held"], ["facts", "web"], [text + " ", text]),
        "the source read more often": (["m", "m"], ["web", "facts"], [text + " ", text]),
        "the longest": (["m", "m"], ["web", "web"], [text, text + " "]),
    }
    for why, (modules, sources, texts) in kept.items():
        result = drop(documents(texts, module=modules, source=sources), RULE)  # type: ignore[operator]
        reason = str(drop.__name__).removeprefix("drop_") + "_duplicate"  # type: ignore[attr-defined]
        assert reasons(result) == [reason + "_of_heldout" * why.startswith("held"), None], why
    same = drop(documents([text, text]), RULE)  # type: ignore[operator]
    assert reasons(same)[0] is None, "the smallest id"
    assert reasons(same)[1] is not None


def test_near_duplicates_in_a_synthetic_crawl() -> None:
    original = prose(1, 40)
    words = original.split()
    words[len(words) // 2] = "unexpectedly"
    texts = [
        prose(2, 40),
        original + " A line at the end.",
        " ".join(words),
        prose(3, 40),
        original[: len(original) // 2],
    ]
    found = reasons(drop_near(documents(texts), RULE))
    # Half of the text has Jaccard similarity 0.5: under the threshold.
    assert found == [None, None, "near_duplicate", None, None]


def test_signatures_estimate_jaccard_similarity() -> None:
    first = [f"a{n}" for n in range(1500)]
    second = first[:1000] + [f"b{n}" for n in range(500)]
    shingles = [{tuple(w[i : i + NGRAM]) for i in range(len(w) - NGRAM + 1)} for w in (first, second)]
    true = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
    texts = pa.array([" ".join(first), " ".join(second)], pa.large_string())
    a, b = minhash(texts, PERMUTATIONS, NGRAM, SEED)
    assert abs((a == b).mean() - true) < 3 * (true * (1 - true) / PERMUTATIONS) ** 0.5


@given(st.lists(st.lists(st.integers(0, 3), min_size=BANDS, max_size=BANDS), min_size=1, max_size=12))
def test_components_equal_scipys(bands: list[list[int]]) -> None:
    signature = np.repeat(np.array(bands, np.uint32), PERMUTATIONS // BANDS, axis=1)
    pairs = [
        (i, j)
        for i, a in enumerate(bands)
        for j, b in enumerate(bands)
        if any(x == y for x, y in zip(a, b, strict=True))
    ]
    rows, columns = zip(*pairs, strict=True)
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(bands), len(bands)))
    _, labels = connected_components(graph, directed=False)
    first = {label: list(labels).index(label) for label in labels}
    assert components(signature).tolist() == [first[label] for label in labels]


def test_no_documents() -> None:
    empty = documents([])
    assert drop_near(empty, RULE).num_rows == drop_exact(empty, RULE).num_rows == 0
