"""PPO's clipped losses, per token.

Sources: policy loss, Schulman et al. (arXiv:1707.06347), equation 7; clipped value loss and the clip fraction as in
lm-human-preference-details. Llama 2 (section 3.2.3) states clip 0.2 for the policy and nothing about the value loss.
Shapes: B answers, R response tokens; every tensor is (B, R). response_mask_BR: True = counts.
Each function returns per-token values, zero where nothing counts: whoever sums them over micro-batches divides by the
number of counted tokens in the whole mini-batch, so that micro-batching changes nothing.
"""

import torch
from torch import Tensor


def policy_loss(
    logprobs_BR: Tensor, old_logprobs_BR: Tensor, advantages_BR: Tensor, response_mask_BR: Tensor, clip_range: float
) -> Tensor:
    """-min(ratio * A, clip(ratio, 1 - clip_range, 1 + clip_range) * A)."""
    log_ratio_BR = torch.where(response_mask_BR, logprobs_BR - old_logprobs_BR, 0.0)
    ratio_BR = log_ratio_BR.exp()
    clipped_BR = ratio_BR.clamp(1 - clip_range, 1 + clip_range)
    loss_BR = -torch.minimum(ratio_BR * advantages_BR, clipped_BR * advantages_BR)
    return torch.where(response_mask_BR, loss_BR, 0.0)


def clipped(
    logprobs_BR: Tensor, old_logprobs_BR: Tensor, advantages_BR: Tensor, response_mask_BR: Tensor, clip_range: float
) -> Tensor:
    """Boolean (B, R): the counted tokens where the clip binds, that is, whose policy gradient is zero."""
    ratio_BR = (logprobs_BR - old_logprobs_BR).exp()
    high_BR = (ratio_BR > 1 + clip_range) & (advantages_BR > 0)
    low_BR = (ratio_BR < 1 - clip_range) & (advantages_BR < 0)
    return (high_BR | low_BR) & response_mask_BR


def value_loss(
    values_BR: Tensor, old_values_BR: Tensor, returns_BR: Tensor, response_mask_BR: Tensor, value_clip_range: float
) -> Tensor:
    """Half the larger squared error: of the value, or of the value kept within value_clip_range of the old one."""
    near_BR = torch.minimum(
        torch.maximum(values_BR, old_values_BR - value_clip_range), old_values_BR + value_clip_range
    )
    loss_BR = 0.5 * torch.maximum((values_BR - returns_BR).square(), (near_BR - returns_BR).square())
    return torch.where(response_mask_BR, loss_BR, 0.0)
