"""Whether a share rises along ordered groups: reward-model accuracy along the four grades (paper, Table 8).

Source: Armitage (1955), "Tests for linear trends in proportions and frequencies"; scores 0, 1, 2, ... The paper prints
the accuracies and states no test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Trend:
    """`z` is positive where the share rises along the groups; `p` is two-sided."""

    z: float
    p: float


def cochran_armitage(successes: Sequence[int], totals: Sequence[int]) -> Trend:
    """Cochran-Armitage test of a linear trend of successes / totals over groups scored 0, 1, 2, ...

    Groups of no members are allowed and carry no weight. Where every trial succeeded or failed, or only one group has
    members, there is no trend to see: z = 0, p = 1. Raises ValueError on lengths that differ or counts out of range.
    """
    if len(successes) != len(totals) or len(totals) < 2:
        raise ValueError(f"a trend needs two or more groups in both lists, got {len(successes)} and {len(totals)}")
    if any(not 0 <= k <= n for k, n in zip(successes, totals, strict=True)):
        raise ValueError(f"successes must lie between 0 and their totals, got {list(successes)} of {list(totals)}")
    members, hits = sum(totals), sum(successes)
    if members == 0:
        raise ValueError("a trend needs at least one trial")
    share = hits / members
    mean_score = sum(score * n for score, n in enumerate(totals)) / members
    spread = sum(n * (score - mean_score) ** 2 for score, n in enumerate(totals))
    variance = share * (1 - share) * spread
    if variance == 0:
        return Trend(0.0, 1.0)
    rise = sum((score - mean_score) * k for score, k in enumerate(successes))
    z = rise / math.sqrt(variance)
    return Trend(z, 2 * NormalDist().cdf(-abs(z)))
