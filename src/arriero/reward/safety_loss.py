"""The safety reward model's auxiliary loss: whether each response is safe.

Source: Llama 2, appendix A.3.3 ("auxiliary safety loss"), whose formula and weight are not stated. The reading here is
binary cross-entropy on the reward score itself, not on a head of its own: the paper measures the recall of unsafe
responses by the reward at threshold 0.5 (logit 0), and gates PPO at 0.15, so the score must be the probability of safe.
Every labelled comparison of the model's mix counts: without harmless answers labelled safe, a small model takes
whatever is no refusal for unsafe.
Shapes: B = comparisons in the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def safety_loss(chosen_B: Tensor, rejected_B: Tensor, chosen_safe_B: Tensor, rejected_safe_B: Tensor) -> Tensor:
    """Mean binary cross-entropy over both responses of every comparison, in float32; scores are logits of safe.

    The labels are bool. Raises ValueError unless all four are (B,) with B > 0.
    """
    shapes = {tensor.shape for tensor in (chosen_B, rejected_B, chosen_safe_B, rejected_safe_B)}
    if len(shapes) != 1 or chosen_B.dim() != 1 or not len(chosen_B):
        raise ValueError(f"scores and safety labels must all be (B,) with B > 0, got {sorted(map(tuple, shapes))}")
    scores = torch.cat((chosen_B, rejected_B)).float()
    return F.binary_cross_entropy_with_logits(scores, torch.cat((chosen_safe_B, rejected_safe_B)).float())
