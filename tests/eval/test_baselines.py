"""The bigram model and xz: probabilities that sum to one, closed forms, and the right order of strength."""

import itertools
import lzma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.eval.baselines import Bigram, byte_ids, xz_bits


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=30), max_size=4), st.integers(0, 6))
def test_probabilities_after_any_symbol_sum_to_one(sequences: list[list[int]], first: int) -> None:
    bigram = Bigram.fit((np.array(s) for s in sequences), 7)
    everything = np.arange(7)
    assert bigram.probabilities(np.full(7, first), everything).sum() == pytest.approx(1)
    assert bigram.unigram.sum() == pytest.approx(1)


def test_witten_bell_by_hand() -> None:
    bigram = Bigram.fit([np.array([0, 1, 0, 1, 0, 2])], 3)
    # c(0,1) = 2, c(0,2) = 1, so c(0) = 3 and T(0) = 2; P(1) = (2 + 1) / (6 + 3).
    assert bigram.probabilities(np.array([0]), np.array([1]))[0] == pytest.approx((2 + 2 * 3 / 9) / 5)
    # 2 was never followed by anything: P(b) itself.
    assert bigram.probabilities(np.array([2]), np.array([0]))[0] == pytest.approx(4 / 9)


def test_pairs_are_never_counted_across_documents() -> None:
    apart = Bigram.fit([np.array([0, 1]), np.array([2, 0])], 3)
    assert apart.followed.tolist() == [1, 0, 1]


def test_bits_are_those_of_the_chain_rule() -> None:
    bigram = Bigram.fit([byte_ids("the cat sat on the mat " * 20)], 256)
    text = byte_ids("the mat")
    by_hand = -np.log2(bigram.unigram[text[0]])
    for a, b in itertools.pairwise(text):
        by_hand -= np.log2(bigram.probabilities(np.array([a]), np.array([b]))[0])
    assert bigram.bits(text) == pytest.approx(by_hand)
    assert bigram.bits(text) < bigram.bits(byte_ids("ttaehm ")) / 2
    assert bigram.bits(byte_ids("")) == 0


def test_xz_knows_the_training_text_only_in_the_second_figure() -> None:
    generator = np.random.default_rng(0)
    words = [generator.bytes(6).hex() for _ in range(3000)]
    training, heldout = " ".join(words).encode(), " ".join(words[1000:1400]).encode()
    bits = xz_bits(heldout, training)
    whole_file = 8 * len(lzma.compress(heldout, preset=9)) / len(heldout)
    assert whole_file - 8 * 80 / len(heldout) < bits.alone < whole_file  # but for the container
    assert bits.after_training_text < bits.alone / 10  # the held-out text stands in the training text word for word
    assert (bits.heldout_bytes, bits.training_bytes) == (len(heldout), len(training))
    with pytest.raises(ValueError, match="held-out text"):
        xz_bits(b"", training)
