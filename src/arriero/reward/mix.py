"""What each reward model is trained on: its own domain and a part of the other's.

Source: Llama 2, section 3.2.2, "Data Composition". "Uniformly" is read as without replacement; where the other domain
has less than asked for, all of it is taken.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# The other domain's share of the whole mix. Helpfulness: all of its own and as much of the others; safety: 90 to 10.
PAPER_SHARES = {"helpfulness": 0.5, "safety": 0.1}


def mix(own: Sequence[T], others: Sequence[T], share: float, seed: int) -> list[T]:
    """All of `own`, then rows of `others` in their order, drawn so that they are `share` (below 1) of the whole."""
    wanted = round(len(own) * share / (1 - share))
    drawn = np.random.default_rng([seed, 0]).permutation(len(others))[:wanted]
    return [*own, *(others[index] for index in sorted(drawn))]
