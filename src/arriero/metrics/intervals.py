"""Intervals around means, differences and shares: what a figure must carry before it is a claim.

Sources: Efron (1979) for the bootstrap, here its percentile form; Wilson (1927) for shares, which stays inside [0, 1]
and is honest at k = 0. Where several items come from one source (a request in several wordings, the turns of a
dialogue) they are no independent evidence: the bootstrap then resamples whole groups, and a share's interval takes the
effective sample size of Korn and Graubard (1998). The paper prints Wilson-like whiskers on win rates (section 3.4.2).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
_CELLS_AT_ONCE = 4_000_000  # bounds the memory of resampled indices to 32 MB


@dataclass(frozen=True)
class Interval:
    """A point estimate with its interval.

    `n` counts the things it was measured on (prompts, documents, pairs), `groups` the independent ones among them.
    """

    mean: float
    low: float
    high: float
    n: int
    groups: int

    def to_json(self) -> dict[str, float | int]:
        return asdict(self)

    def clear_of_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def bootstrap_mean(
    values: Sequence[float] | NDArray[np.float64],
    seed: int,
    level: float = 0.95,
    *,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """Mean of `values` with its percentile bootstrap interval, 2000 draws from a generator seeded by `seed`.

    `groups` names each value's group; without, each value is its own. Raises ValueError if there is no value, or one
    is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    return bootstrap_ratio(sample, np.ones_like(sample), seed, level, groups=groups)


def bootstrap_ratio(
    numerators: Sequence[float] | NDArray[np.float64],
    denominators: Sequence[float] | NDArray[np.float64],
    seed: int,
    level: float = 0.95,
    *,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """sum(numerators) / sum(denominators), resampling the pairs together, or whole `groups` of them.

    For quantities that are totals over totals, such as bits per byte over documents of unequal length. Raises
    ValueError unless the lists are of one length, finite, not empty, and every denominator is positive.
    """
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if top.ndim != 1 or top.shape != bottom.shape:
        raise ValueError(f"values to resample must be two lists of one length, got {top.shape} and {bottom.shape}")
    if top.size == 0:
        raise ValueError("an interval needs at least one value")
    if not (np.isfinite(top).all() and np.isfinite(bottom).all() and (bottom > 0).all()):
        raise ValueError("values to resample must be finite, and what they are divided by positive")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    of = _group_numbers(groups, top.size)
    # A group's total over its size: resampling groups is resampling these.
    tops, bottoms = (np.bincount(of, part).astype(np.float64) for part in (top, bottom))
    draws = _resampled_ratios(tops, bottoms, seed)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(top.sum() / bottom.sum()), float(low), float(high), int(top.size), int(of.max()) + 1)


def paired_bootstrap(
    a: Sequence[float] | NDArray[np.float64],
    b: Sequence[float] | NDArray[np.float64],
    seed: int,
    level: float = 0.95,
    *,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """Mean of a - b over items measured twice (the same prompt, two models), resampling items or `groups` of them.

    Raises ValueError if `a` and `b` differ in length, are empty, or hold a value that is not finite.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired values must be of one length, got {first.shape} and {second.shape}")
    return bootstrap_mean(first - second, seed, level, groups=groups)


def wilson(successes: int, total: int, level: float = 0.95) -> Interval:
    """Share successes / total with Wilson's score interval. Raises ValueError unless 0 <= successes <= total > 0."""
    if total <= 0 or not 0 <= successes <= total:
        raise ValueError(f"a share needs 0 <= successes <= total and total > 0, got {successes} of {total}")
    return Interval(successes / total, *_wilson_bounds(successes / total, total, level), total, total)


def share(hits: Sequence[bool], level: float = 0.95, *, groups: Sequence[Hashable] | None = None) -> Interval:
    """Share of `hits` that are true, with Wilson's interval at the effective sample size of items in `groups`.

    The effective size is n / the design effect: the share's variance between groups over that of independent items.
    It lies between the number of groups and n; where all hits are equal no variance is seen, and the number of groups
    is taken. Raises ValueError if there is no item.
    """
    of = _group_numbers(groups, len(hits))
    n, count = len(hits), int(of.max()) + 1 if len(hits) else 0
    whole = wilson(sum(hits), n, level)
    if count == n:
        return whole
    effective = float(count)
    if 0 < whole.mean < 1 and count > 1:
        excess = np.bincount(of, np.asarray(hits, dtype=np.float64) - whole.mean)
        between = count / (count - 1) * float((excess**2).sum()) / n**2
        effective = min(max(whole.mean * (1 - whole.mean) / max(between, 1e-12), count), n)
    return Interval(whole.mean, *_wilson_bounds(whole.mean, effective, level), n, count)


def _wilson_bounds(share: float, total: float, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # At the ends the formula gives 0 or 1 exactly; rounding must not push the interval past the share.
    return (0.0 if share == 0 else max(0.0, middle - reach), 1.0 if share == 1 else min(1.0, middle + reach))


def _group_numbers(groups: Sequence[Hashable] | None, items: int) -> NDArray[np.int64]:
    """Each item's group, numbered from 0 by first appearance."""
    if groups is None:
        return np.arange(items)
    if len(groups) != items:
        raise ValueError(f"every item needs a group, got {len(groups)} groups for {items} items")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def _resampled_ratios(top: NDArray[np.float64], bottom: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS_AT_ONCE // top.size)
    parts = []
    for start in range(0, DRAWS, rows):
        chosen = generator.integers(0, top.size, size=(min(rows, DRAWS - start), top.size))
        parts.append(top[chosen].sum(axis=1) / bottom[chosen].sum(axis=1))
    return np.concatenate(parts)
