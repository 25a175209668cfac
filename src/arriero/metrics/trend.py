"""Whether a share rises along ordered groups: reward-model accuracy along the four grades (paper, Table 8).

Source: Armitage (1955), "Tests for linear trends in proportions and frequencies", with the variance between clusters in
place of the binomial one (Boos, 1992, "On generalized score tests"), since comparisons of one prompt are not
independent. The paper prints the accuracies and states no test.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Trend:
    """`z` is positive where the share rises along the groups; `p` is two-sided."""

    z: float
    p: float


def trend(hits: Sequence[bool], scores: Sequence[int], groups: Sequence[Hashable]) -> Trend:
    """Score test of a linear trend of hits along `scores` (0, 1, 2, ...), robust to dependence within `groups`.

    Where all hits or all scores are equal, or there is one group, there is no trend to see: z = 0, p = 1. Raises
    ValueError on lists of different length, or without an item.
    """
    if not len(hits) == len(scores) == len(groups) > 0:
        raise ValueError(f"a trend needs lists of one length, got {len(hits)}, {len(scores)} and {len(groups)}")
    share, mean_score = sum(hits) / len(hits), sum(scores) / len(scores)
    totals: dict[Hashable, float] = defaultdict(float)
    for hit, score, group in zip(hits, scores, groups, strict=True):
        totals[group] += (score - mean_score) * (hit - share)
    variance = sum(total**2 for total in totals.values())
    if len(totals) < 2 or variance < 1e-12:
        return Trend(0.0, 1.0)
    z = sum(totals.values()) / math.sqrt(variance * len(totals) / (len(totals) - 1))
    return Trend(z, 2 * NormalDist().cdf(-abs(z)))
