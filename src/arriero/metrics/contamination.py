"""Whether contamination of the training data lifted a benchmark: scores of clean and dirty samples against all.

Source: Llama 2 (arXiv:2307.09288) appendix A.6. A mean over a subset of n samples is compared with the means of n
samples drawn from all: Z = (mean - mu) / (sigma / sqrt(n)), with mu and sigma of the scores of all samples. The draws
are with replacement, which is what Table 51's numbers agree with: there, a subset and its complement do not have the
same |Z|. Evidence that scores are affected is |Z| > 2 in all four subsets.
Shapes: S = samples.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLEAN_BELOW = 0.2  # share of contaminated tokens
DIRTY_FROM = 0.8
SPAN_LENGTHS = (10, 20, 30, 40, 50)  # the paper's L: spans of more than so many tokens count
Z_AFFECTED = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SubsetScore:
    """A subset's size, mean share of contaminated tokens and mean score. `z` is None where none is defined.

    That is where the subset is empty (the means are None then, too) or all samples have one score.
    """

    n: int
    contamination: float | None
    mean: float | None
    z: float | None


def subsets(share_S: Floats) -> dict[str, NDArray[np.bool_]]:
    """The paper's four subsets, as masks over the samples, by the share of their tokens that is contaminated."""
    clean_S, dirty_S = share_S < CLEAN_BELOW, share_S >= DIRTY_FROM
    return {"clean": clean_S, "not_clean": ~clean_S, "not_dirty": ~dirty_S, "dirty": dirty_S}


def subset_scores(score_S: Floats, share_S: Floats) -> dict[str, SubsetScore]:
    """Score of each of the four subsets. Raises ValueError unless both are lists of one length, finite, not empty."""
    if score_S.ndim != 1 or score_S.shape != share_S.shape or not score_S.size:
        raise ValueError(
            f"scores and shares must be two lists of one length, not empty: {score_S.shape}, {share_S.shape}"
        )
    if not (np.isfinite(score_S).all() and (share_S >= 0).all() and (share_S <= 1).all()):
        raise ValueError("scores must be finite and shares of tokens between 0 and 1")
    mu, sigma = float(score_S.mean()), float(score_S.std())
    # Equal scores leave rounding behind in the deviation.
    varied = bool((score_S != score_S[0]).any())
    result = {}
    for name, member_S in subsets(share_S).items():
        n = int(member_S.sum())
        if not n:
            result[name] = SubsetScore(0, None, None, None)
            continue
        mean = float(score_S[member_S].mean())
        z = (mean - mu) / (sigma / math.sqrt(n)) if varied else None
        result[name] = SubsetScore(n, float(share_S[member_S].mean()), mean, z)
    return result


def affected(scores: Mapping[str, SubsetScore]) -> bool:
    """Whether all four subsets deviate by more than two deviations of their sampling distribution."""
    return all(score.z is not None and abs(score.z) > Z_AFFECTED for score in scores.values())


def longest_affected(score_S: Floats, share_by_length: Mapping[int, Floats]) -> int | None:
    """The largest L at which the benchmark is affected, as the paper reports it; None if it is at none.

    `share_by_length` gives for each L, such as SPAN_LENGTHS, the shares of tokens in spans of more than L tokens.
    """
    shown = [length for length, share_S in share_by_length.items() if affected(subset_scores(score_S, share_S))]
    return max(shown, default=None)
