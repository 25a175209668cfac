"""AdamW as the paper sets it: decoupled weight decay on matrices only.

Source: Llama 2 (arXiv:2307.09288) section 2.2 (beta 0.9 and 0.95, eps 1e-5, weight decay 0.1, clipping at 1.0).
The paper does not say which parameters decay: gains of norms and other vectors do not, which is common practice.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch.nn import Parameter

from arriero.config import config, setting


@config
class OptimizerConfig:
    """AdamW, gradient clipping and the learning rate's schedule."""

    lr: float = setting(
        ...,
        "peak learning rate (paper, at 7B: 3e-4 pretraining, 2e-5 SFT, 1e-5 reward models, 1e-6 PPO)",
        unit="1/step",
        gt=0,
    )
    betas: tuple[float, float] = setting((0.9, 0.95), "decay of the first and second moments' averages")
    eps: float = setting(1e-5, "added to the root of the second moment", gt=0)
    weight_decay: float = setting(0.1, "decoupled decay of matrices (vectors do not decay)", ge=0)
    clip: float = setting(1.0, "largest norm of the gradient", gt=0)
    schedule: Literal["cosine", "constant"] = setting("cosine", "shape after warm-up")
    final_lr_fraction: float = setting(0.1, "the cosine's last learning rate, of the peak", ge=0, le=1)
    warmup_steps: int = setting(0, "steps of linear warm-up, at least", unit="steps", ge=0)
    warmup_fraction: float = setting(0.0, "steps of linear warm-up, at least, as a share of all steps", ge=0, le=1)


def build_optimizer(params: Iterable[Parameter], cfg: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over those of `params` that require a gradient. The learning rate is set at each step, by the schedule.

    Raises ValueError if nothing requires a gradient.
    """
    trained = [param for param in params if param.requires_grad]
    if not trained:
        raise ValueError("no parameter requires a gradient: there is nothing to train")
    groups = [
        {"params": [param for param in trained if param.ndim >= 2], "weight_decay": cfg.weight_decay},
        {"params": [param for param in trained if param.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], cfg.lr, cfg.betas, cfg.eps, fused=True)
