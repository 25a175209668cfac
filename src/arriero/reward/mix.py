"""What each reward model is trained on: its own domain and a part of the other's.

Source: Llama 2, section 3.2.2, "Data Composition". "Uniformly" is read as without replacement; where the other domain
has less than the recipe asks for, all of it is taken.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

HELPFULNESS_SHARE_IN_SAFETY = 0.1


def helpfulness_mix(helpfulness: Sequence[T], others: Sequence[T], seed: int) -> list[T]:
    """All helpfulness comparisons, then as many drawn uniformly from `others` (own safety and open data)."""
    return [*helpfulness, *_draw(others, len(helpfulness), seed)]


def safety_mix(safety: Sequence[T], helpfulness: Sequence[T], seed: int) -> list[T]:
    """All safety comparisons, then helpfulness ones drawn so that they are a tenth of the whole: 90 to 10."""
    wanted = round(len(safety) * HELPFULNESS_SHARE_IN_SAFETY / (1 - HELPFULNESS_SHARE_IN_SAFETY))
    return [*safety, *_draw(helpfulness, wanted, seed)]


def _draw(rows: Sequence[T], wanted: int, seed: int) -> list[T]:
    """Up to `wanted` rows, uniformly without replacement, in their own order."""
    drawn = np.random.default_rng([seed, 0]).permutation(len(rows))[:wanted]
    return [rows[index] for index in sorted(drawn)]
