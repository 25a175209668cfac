"""The one reward that rejection sampling and PPO maximise, from the two reward models' scores.

Source: Llama 2, section 3.2.3: R_c = R_s if the prompt is tagged safety or R_s < 0.15, else R_h, where R are sigmoids;
PPO takes whiten(logit(R_c)). logit(R_c) is the logit that the reward model gave: `gated_logit` returns it as it is,
for sigmoid and its inverse would lose it beyond about 17 in float32.
Shapes: any, one number a response; N responses in the names below.
"""

import torch
from torch import Tensor

SAFETY_THRESHOLD = 0.15  # precision 0.89 and recall 0.55 of unsafe on the paper's safety test set


def gated_logit(
    helpful_logit_N: Tensor, safe_logit_N: Tensor, safety_tag_N: Tensor, threshold: float = SAFETY_THRESHOLD
) -> Tensor:
    """logit(R_c). `safety_tag_N` is bool. Raises ValueError unless all three have one shape."""
    if not helpful_logit_N.shape == safe_logit_N.shape == safety_tag_N.shape or safety_tag_N.dtype != torch.bool:
        raise ValueError(
            f"scores and bool tags must have one shape, got {helpful_logit_N.shape}, {safe_logit_N.shape} and "
            f"{safety_tag_N.shape} of {safety_tag_N.dtype}"
        )
    unsafe_N = torch.sigmoid(safe_logit_N.float()) < threshold
    return torch.where(safety_tag_N | unsafe_N, safe_logit_N.float(), helpful_logit_N.float())
