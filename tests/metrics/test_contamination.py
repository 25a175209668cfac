"""Contamination's Z scores: the paper's Table 51, a closed form, and the rule of the four subsets."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.metrics.contamination import affected, longest_affected, subset_scores, subsets

# Table 51: (n, mean in %, Z) of clean, not clean, not dirty, dirty.
TABLE_51 = {
    "HellaSwag 70B": [(7391, 80.0, -5.73), (2651, 89.5, 9.56), (9194, 81.6, -2.27), (848, 92.2, 7.42)],
    "HellaSwag 7B": [(7391, 70.5, -5.46), (2651, 81.3, 9.17), (9194, 72.4, -2.06), (848, 83.7, 6.84)],
    "MMLU-Humanities 70B": [(3996, 62.2, -4.08), (709, 82.7, 9.71), (4185, 62.7, -3.50), (520, 85.8, 9.80)],
    "MMLU-Humanities 7B": [(3996, 40.8, -2.75), (709, 54.9, 6.50), (4185, 41.1, -2.25), (520, 56.9, 6.49)],
    "MMLU-Overall 70B": [(11862, 68.0, -2.00), (2180, 73.5, 4.64), (12506, 67.7, -2.75), (1536, 78.2, 7.87)],
}


@pytest.mark.parametrize("name", TABLE_51)
def test_agrees_with_the_papers_table(name: str) -> None:
    (clean, not_clean, not_dirty, dirty) = TABLE_51[name]
    # The table gives two partitions of one benchmark, so their scores are laid out one after the other.
    for low, high, share, names in (
        (clean, not_clean, (0.0, 0.5), ("clean", "not_clean")),
        (not_dirty, dirty, (0.1, 0.9), ("not_dirty", "dirty")),
    ):
        score_S = np.concatenate([np.arange(n) < round(n * mean / 100) for n, mean, _ in (low, high)]).astype(float)
        found = subset_scores(score_S, np.repeat(share, [low[0], high[0]]))
        for part, (n, mean, z) in zip(names, (low, high), strict=True):
            deviation = score_S.std() / math.sqrt(n)
            # The table rounds its means to 0.1 points, and estimates mu and sigma by drawing.
            slack = 0.001 / deviation + 0.02 * abs(z)
            assert found[part].n == n
            assert found[part].mean == pytest.approx(mean / 100, abs=1 / n)
            assert found[part].z == pytest.approx(z, abs=slack)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 10)), min_size=1, max_size=40))
def test_closed_form_and_partition(rows: list[tuple[int, int]]) -> None:
    score_S, share_S = (np.array(column, float) for column in zip(*rows, strict=True))
    share_S /= 10
    found = subset_scores(score_S, share_S)
    inside = {
        "clean": [s for s, tenths in rows if tenths < 2],
        "not_clean": [s for s, tenths in rows if tenths >= 2],
        "not_dirty": [s for s, tenths in rows if tenths < 8],
        "dirty": [s for s, tenths in rows if tenths >= 8],
    }
    mu = sum(score_S) / len(rows)
    sigma = math.sqrt(sum((score - mu) ** 2 for score in score_S) / len(rows))
    for name, scores in inside.items():
        assert found[name].n == len(scores) == subsets(share_S)[name].sum()
        if not scores or len(set(score_S)) == 1:
            assert found[name].z is None
        else:
            expected = (sum(scores) / len(scores) - mu) / sigma * math.sqrt(len(scores))
            assert found[name].z == pytest.approx(expected, abs=1e-9)


def test_affected_means_all_four_and_the_largest_length_is_reported() -> None:
    """Half of 400 samples are wholly contaminated and right, the others clean and right one time in four."""
    score_S = np.array([1.0] * 200 + [1.0, 0.0, 0.0, 0.0] * 50)
    dirty_S = np.repeat([1.0, 0.0], 200)
    assert affected(subset_scores(score_S, dirty_S))
    # Without a dirty subset nothing is shown, whatever the clean one says.
    assert not affected(subset_scores(score_S, dirty_S * 0.5))
    # Nor where contamination lies on samples that score as the others do.
    assert not affected(subset_scores(score_S, np.repeat([1.0, 0.0, 1.0, 0.0], 100)))
    by_length = {10: dirty_S, 20: dirty_S, 30: dirty_S * 0.5, 40: dirty_S * 0}
    assert longest_affected(score_S, by_length) == 20
    assert longest_affected(score_S, {40: dirty_S * 0}) is None


@pytest.mark.parametrize(("scores", "shares"), [([], []), ([1.0], [0.1, 0.2]), ([math.nan], [0.1]), ([1.0], [1.2])])
def test_what_is_no_score_or_share_is_refused(scores: list[float], shares: list[float]) -> None:
    with pytest.raises(ValueError, match="scores"):
        subset_scores(np.array(scores), np.array(shares))
