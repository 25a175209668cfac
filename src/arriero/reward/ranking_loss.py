"""Ranking loss of the reward models, with a margin that grows with the annotator's rating.

Source: Llama 2 (arXiv:2307.09288) section 3.2.2, equation 2; margins from appendix A.3.3.
Shapes: B = comparisons in the batch; every tensor here is (B,): one score per response.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from arriero.preference.record import Rating

MarginSchedule = Literal["none", "small", "large"]

# Indexed by Rating: negligibly, slightly, better, significantly.
MARGINS = {"none": (0.0, 0.0, 0.0, 0.0), "small": (0.0, 1 / 3, 2 / 3, 1.0), "large": (0.0, 1.0, 2.0, 3.0)}


def rating_margin(rating_B: Tensor, schedule: str) -> Tensor:
    """m(r) for each comparison. `rating_B` holds Rating values, dtype long."""
    if schedule not in MARGINS:
        raise ValueError(f"margin schedule must be one of {sorted(MARGINS)}, got {schedule!r}")
    assert 0 <= int(rating_B.min()) <= int(rating_B.max()) < len(Rating)
    return torch.tensor(MARGINS[schedule], device=rating_B.device)[rating_B]


def ranking_loss(chosen_B: Tensor, rejected_B: Tensor, margin_B: Tensor) -> Tensor:
    """Mean of -log sigmoid(chosen - rejected - margin), in float32. Raises ValueError unless all three are (B,)."""
    if not chosen_B.shape == rejected_B.shape == margin_B.shape:
        # Broadcasting (B,) against (B, 1) would silently compare every pair in the batch.
        raise ValueError(
            f"scores and margin must have one shape, got {chosen_B.shape}, {rejected_B.shape}, {margin_B.shape}"
        )
    return -F.logsigmoid(chosen_B.float() - rejected_B.float() - margin_B).mean()
