"""The learning rate of a step: linear warm-up, then cosine down to a share of the peak, or constant.

Source: Llama 2 (arXiv:2307.09288) section 2.2: cosine, 2000 steps of warm-up, final learning rate 10% of the peak; for
reward models (A.3.2) warm-up is 3% of the steps, at least 5, which `warmup_steps=5, warmup_fraction=0.03` says.
"""

import math

from arriero.train.optimizer import OptimizerConfig


def warmup_length(steps: int, cfg: OptimizerConfig) -> int:
    """Steps of warm-up in a run of `steps`: the larger of the two settings."""
    return max(cfg.warmup_steps, math.ceil(cfg.warmup_fraction * steps))


def lr_at(step: int, steps: int, cfg: OptimizerConfig) -> float:
    """Learning rate of step `step` (from 0) of `steps`.

    Warm-up of W steps rises as (step + 1) / W, so it ends at the peak; the cosine starts at the peak in step W and
    reaches `final_lr_fraction` of it in the last step. A run no longer than its warm-up never passes the peak.
    """
    if not 0 <= step < steps:
        raise ValueError(f"step must be in [0, {steps}), got {step}")
    warmup = warmup_length(steps, cfg)
    if step < warmup:
        return cfg.lr * (step + 1) / warmup
    if cfg.schedule == "constant":
        return cfg.lr
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return cfg.lr * (cfg.final_lr_fraction + (1 - cfg.final_lr_fraction) * (1 + math.cos(math.pi * progress)) / 2)
