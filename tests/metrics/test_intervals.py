"""Intervals and the trend test, against scipy and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from arriero.metrics.intervals import bootstrap_mean, bootstrap_ratio, paired_bootstrap, share, wilson
from arriero.metrics.trend import trend


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


def test_groups_are_resampled_whole() -> None:
    generator = np.random.default_rng(1)
    group = generator.normal(size=40)
    values = np.repeat(group, 5)  # five copies of forty values say no more than the forty
    asks = np.repeat(np.arange(40), 5).tolist()
    copied = bootstrap_mean(values, 3, groups=asks)
    alone = bootstrap_mean(group, 3)
    assert (copied.n, copied.groups) == (200, 40)
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    naive = bootstrap_mean(values, 3)
    assert naive.high - naive.low < 0.6 * (copied.high - copied.low)
    with pytest.raises(ValueError, match="every item needs a group"):
        bootstrap_mean(values, 3, groups=asks[1:])


@given(st.integers(2, 40).flatmap(lambda g: st.tuples(st.integers(1, g - 1), st.just(g))), st.integers(1, 4))
def test_a_share_of_copies_is_the_share_of_what_was_copied(counts: tuple[int, int], copies: int) -> None:
    k, n = counts
    hits = [i < k for i in range(n) for _ in range(copies)]
    ours = share(hits, groups=[i for i in range(n) for _ in range(copies)])
    theirs = wilson(k, n)
    assert (ours.n, ours.groups) == (n * copies, n)
    # The variance between groups is the unbiased one, n / (n - 1) wider.
    assert theirs.high - theirs.low <= ours.high - ours.low + 1e-12
    assert ours.high - ours.low < 1.25 * (theirs.high - theirs.low)


def test_a_share_covers_the_truth_where_groups_differ() -> None:
    generator = np.random.default_rng(5)
    covered = naive = 0
    for _ in range(300):
        rates = generator.beta(1, 2, size=30)  # mean 1/3
        hits = [bool(hit) for rate in rates for hit in generator.random(6) < rate]
        groups = [i for i in range(30) for _ in range(6)]
        of_groups, of_items = share(hits, groups=groups), share(hits)
        covered += of_groups.low <= 1 / 3 <= of_groups.high
        naive += of_items.low <= 1 / 3 <= of_items.high
    assert 275 <= covered <= 296  # 95% of 300 is 285
    assert naive < 262


def test_where_all_hits_are_equal_each_group_counts_once() -> None:
    none = share([False] * 60, groups=[i // 6 for i in range(60)])
    assert (none.mean, none.low, none.n, none.groups) == (0.0, 0.0, 60, 10)
    assert none.high == wilson(0, 10).high


def outcomes(successes: list[int], totals: list[int]) -> tuple[list[bool], list[int]]:
    hits = [i < k for k, n in zip(successes, totals, strict=True) for i in range(n)]
    return hits, np.repeat(np.arange(len(totals)), totals).tolist()


def test_the_trend_of_independent_items_is_nearly_cochran_and_armitage() -> None:
    # Their statistic's closed form: z^2 = N r^2, r Pearson's correlation of outcome with score.
    hits, scores = outcomes([110, 130, 160, 190], [200, 220, 250, 280])
    r = stats.pearsonr(scores, hits).statistic
    found = trend(hits, scores, range(len(hits)))
    assert found.z == pytest.approx(r * math.sqrt(len(hits)), rel=0.03)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.z)))


def test_the_trend_turns_with_the_order_and_copies_add_nothing() -> None:
    hits, scores = outcomes([2, 5, 9], [10, 10, 10])
    rising = trend(hits, scores, range(30))
    assert rising.z > 2
    assert trend(hits, [2 - score for score in scores], range(30)).z == pytest.approx(-rising.z)
    assert trend(hits * 3, scores * 3, list(range(30)) * 3).z == pytest.approx(rising.z)
    assert trend([True] * 5, [0, 1, 2, 3, 1], range(5)).p == 1.0
    assert trend([True, False], [1, 1], range(2)).p == 1.0
    with pytest.raises(ValueError, match="one length"):
        trend([], [], [])


def test_no_trend_is_found_about_as_seldom_as_it_says_where_groups_differ() -> None:
    generator = np.random.default_rng(11)
    found = 0
    for _ in range(300):
        hits, scores = [], []
        for _ in range(60):  # a group: one grade mostly, one rate
            grade, rate = int(generator.integers(4)), generator.beta(1, 1)
            hits += [bool(hit) for hit in generator.random(5) < rate]
            scores += [grade] * 5
        found += trend(hits, scores, [i // 5 for i in range(300)]).p < 0.05
    assert 5 <= found <= 27  # 5% of 300 is 15
