"""Intervals and the trend test, against scipy and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from arriero.metrics.intervals import bootstrap_mean, bootstrap_ratio, paired_bootstrap, wilson
from arriero.metrics.trend import cochran_armitage


def test_bootstrap_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=120)
    ours = bootstrap_mean(values, seed=1)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=2).confidence_interval
    standard_error = values.std(ddof=1) / math.sqrt(values.size)
    assert ours.mean == pytest.approx(values.mean(), abs=1e-12)
    assert ours.n == 120
    assert abs(ours.low - theirs.low) < 0.1 * standard_error
    assert abs(ours.high - theirs.high) < 0.1 * standard_error


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    covered = sum(
        interval.low <= 0.3 <= interval.high
        for seed in range(200)
        if (interval := bootstrap_mean(generator.normal(0.3, 1.0, size=60), seed))
    )
    assert 180 <= covered <= 198  # 95% of 200 is 190; percentile intervals run a little narrow


def test_the_seed_alone_decides_the_draws() -> None:
    values = list(range(30))
    assert bootstrap_mean(values, seed=5) == bootstrap_mean(values, seed=5)
    assert bootstrap_mean(values, seed=5) != bootstrap_mean(values, seed=6)


def test_pairing_removes_what_the_items_share() -> None:
    generator = np.random.default_rng(3)
    items = generator.normal(0, 10, size=200)
    a, b = items + 0.5 + generator.normal(0, 0.5, 200), items + generator.normal(0, 0.5, 200)
    paired = paired_bootstrap(a, b, seed=0)
    assert paired.mean == pytest.approx(np.mean(a - b))
    assert paired.clear_of_zero()
    assert paired.low < 0.5 < paired.high
    assert bootstrap_mean(a, 0).low < bootstrap_mean(b, 0).high  # apart, the two intervals overlap


def test_chunking_of_the_draws_leaves_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=50)
    whole = bootstrap_mean(values, seed=2)
    monkeypatch.setattr("arriero.metrics.intervals._CELLS_AT_ONCE", 50 * 7)
    assert bootstrap_mean(values, seed=2) == whole


def test_ratio_weighs_documents_by_their_size() -> None:
    interval = bootstrap_ratio([10.0, 1000.0], [10.0, 500.0], seed=0)
    assert interval.mean == pytest.approx(1010 / 510)
    assert (interval.low, interval.high) == (1.0, 2.0)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts: tuple[int, int]) -> None:
    k, n = counts
    theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
    ours = wilson(k, n)
    assert ours.low == pytest.approx(theirs.low, abs=1e-9)
    assert ours.high == pytest.approx(theirs.high, abs=1e-9)
    assert 0 <= ours.low <= ours.mean <= ours.high <= 1


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= successes <= total"):
        wilson(k, n)


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_bootstrap_refuses_nothing_and_nan(values: list[float]) -> None:
    with pytest.raises(ValueError):
        bootstrap_mean(values, seed=0)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="one length"):
        paired_bootstrap([1.0, 2.0], [1.0], seed=0)


def test_trend_squared_is_n_r_squared() -> None:
    # The statistic's closed form: z^2 = N r^2, r Pearson's correlation of outcome with score.
    successes, totals = [11, 18, 25, 33], [20, 30, 38, 40]
    outcomes = np.concatenate([[1.0] * k + [0.0] * (n - k) for k, n in zip(successes, totals, strict=True)])
    scores = np.repeat(np.arange(4), totals)
    r = stats.pearsonr(scores, outcomes).statistic
    trend = cochran_armitage(successes, totals)
    assert trend.z == pytest.approx(r * math.sqrt(sum(totals)))
    assert trend.p == pytest.approx(stats.chi2.sf(trend.z**2, 1))


def test_trend_of_two_groups_is_the_uncorrected_chi_square() -> None:
    trend = cochran_armitage([12, 25], [40, 50])
    theirs = stats.chi2_contingency([[12, 25], [28, 25]], correction=False)
    assert trend.z > 0
    assert trend.p == pytest.approx(theirs.pvalue)


def test_trend_turns_with_the_order_and_ignores_empty_groups() -> None:
    rising = cochran_armitage([2, 5, 9], [10, 10, 10])
    falling = cochran_armitage([9, 5, 2], [10, 10, 10])
    assert rising.z == pytest.approx(-falling.z)
    assert rising.p == pytest.approx(falling.p)
    assert cochran_armitage([3, 7, 0], [10, 10, 0]) == cochran_armitage([3, 7], [10, 10])
    assert cochran_armitage([10, 10], [10, 10]).p == 1.0
