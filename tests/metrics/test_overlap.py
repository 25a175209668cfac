"""Text overlap against hand-worked cases of SQuAD's measures, and F1's own laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.metrics.overlap import bag_f1, exact_match, token_f1

BAGS = st.lists(st.sampled_from("abc"))


@pytest.mark.parametrize(
    ("answer", "reference", "f1", "exact"),
    [
        ("The Denver Broncos!", "denver broncos", 1.0, True),
        ("It copies a tree.", "copies the tree", 4 / 5, False),  # 2 of 3 words, 2 of 2
        ("a tree tree tree", "tree", 1 / 2, False),  # a repeat counts once: 1 of 3, 1 of 1
        ("another theatre", "other atre", 0.0, False),  # articles go as words, not inside them
        ("os.path", "ospath", 1.0, True),
        ("", "tree", 0.0, False),
        ("the", "", 1.0, True),
    ],
)
def test_worked_cases(answer: str, reference: str, f1: float, exact: bool) -> None:
    assert token_f1(answer, reference) == pytest.approx(f1)
    assert exact_match(answer, reference) is exact


@given(BAGS, BAGS)
def test_bag_f1_is_the_harmonic_mean_of_precision_and_recall(answer: list[str], reference: list[str]) -> None:
    score = bag_f1(answer, reference)
    assert (score == 1) == (sorted(answer) == sorted(reference))
    if not answer or not reference:
        return
    left = list(reference)
    hits = sum(1 for word in answer if word in left and (left.remove(word) or True))
    precision, recall = hits / len(answer), hits / len(reference)
    expected = 2 * precision * recall / (precision + recall) if hits else 0.0
    assert score == pytest.approx(expected)
