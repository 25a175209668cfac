"""Area under the ROC curve: how often a positive scores above a negative, with DeLong's interval.

Source: DeLong, DeLong and Clarke-Pearson (1988); the interval is taken on the logit scale, so that it stays in [0, 1].
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from arriero.metrics.intervals import Interval


def auc(positives: ArrayLike, negatives: ArrayLike, level: float = 0.95) -> Interval:
    """Raises ValueError if a side is empty or a score is not finite."""
    above, below = np.asarray(positives, dtype=np.float64), np.asarray(negatives, dtype=np.float64)
    if not above.size or not below.size or not (np.isfinite(above).all() and np.isfinite(below).all()):
        raise ValueError("an AUC needs finite scores on both sides")
    wins = _share_below(above, below)
    losses = 1 - _share_below(below, above)
    area = float(wins.mean())
    variance = sum(float(part.var(ddof=1)) / part.size for part in (wins, losses) if part.size > 1)
    total = above.size + below.size
    if not 0 < area < 1:  # no variance is seen: the rule of three
        reach = min(1.0, 3 / min(above.size, below.size))
        return Interval(area, max(0.0, area - reach), min(1.0, area + reach), total, total)
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle, reach = math.log(area / (1 - area)), z * math.sqrt(variance) / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-(middle + side * reach))) for side in (-1, 1))
    return Interval(area, low, high, total, total)


def _share_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each score the share of `others` below it; equal ones count half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return np.asarray(below / (2 * others.size))
