"""Intervals around means, differences and shares: what a figure must carry before it is a claim.

Sources: Efron (1979) for the bootstrap, here its percentile form; Wilson (1927) for shares, which stays inside [0, 1]
and is honest at k = 0. The paper states neither: it prints Wilson-like whiskers on win rates (section 3.4.2) only.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
_CELLS_AT_ONCE = 4_000_000  # bounds the memory of resampled indices to 32 MB


@dataclass(frozen=True)
class Interval:
    """A point estimate with its interval; `n` counts the things it was measured on (prompts, documents, pairs)."""

    mean: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int]:
        return asdict(self)

    def clear_of_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def bootstrap_mean(values: Sequence[float] | NDArray[np.float64], seed: int, level: float = 0.95) -> Interval:
    """Mean of `values` with its percentile bootstrap interval, 2000 draws from a generator seeded by `seed`.

    Raises ValueError if there is no value, or one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    return bootstrap_ratio(sample, np.ones_like(sample), seed, level)


def bootstrap_ratio(
    numerators: Sequence[float] | NDArray[np.float64],
    denominators: Sequence[float] | NDArray[np.float64],
    seed: int,
    level: float = 0.95,
) -> Interval:
    """sum(numerators) / sum(denominators), resampling the pairs together.

    For quantities that are totals over totals, such as bits per byte over documents of unequal length. Raises
    ValueError unless the two are of one length, finite, not empty, and every denominator is positive.
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
    draws = _resampled_ratios(top, bottom, seed)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(top.sum() / bottom.sum()), float(low), float(high), int(top.size))


def paired_bootstrap(
    a: Sequence[float] | NDArray[np.float64],
    b: Sequence[float] | NDArray[np.float64],
    seed: int,
    level: float = 0.95,
) -> Interval:
    """Mean of a - b over items measured twice (the same prompt, two models), resampling items.

    Raises ValueError if `a` and `b` differ in length, are empty, or hold a value that is not finite.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired values must be of one length, got {first.shape} and {second.shape}")
    return bootstrap_mean(first - second, seed, level)


def wilson(successes: int, total: int, level: float = 0.95) -> Interval:
    """Share successes / total with Wilson's score interval. Raises ValueError unless 0 <= successes <= total > 0."""
    if total <= 0 or not 0 <= successes <= total:
        raise ValueError(f"a share needs 0 <= successes <= total and total > 0, got {successes} of {total}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # At the ends the formula gives 0 or 1 exactly; rounding must not push the interval past the share.
    low = 0.0 if successes == 0 else max(0.0, middle - reach)
    high = 1.0 if successes == total else min(1.0, middle + reach)
    return Interval(share, low, high, total)


def _resampled_ratios(top: NDArray[np.float64], bottom: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS_AT_ONCE // top.size)
    parts = []
    for start in range(0, DRAWS, rows):
        chosen = generator.integers(0, top.size, size=(min(rows, DRAWS - start), top.size))
        parts.append(top[chosen].sum(axis=1) / bottom[chosen].sum(axis=1))
    return np.concatenate(parts)
