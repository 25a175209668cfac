"""One training step: sum the gradients of the micro-batches, divide by what was counted, clip, update.

The loss of a micro-batch is a sum, and the division by the global count comes last, so that the split into
micro-batches changes nothing but the rounding. Pretraining, SFT, reward models and PPO all step through here.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from arriero.artifacts import Machine
from arriero.errors import ArrieroError, ConfigError

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class LossSum:
    """The loss of one micro-batch, summed over what it counts (tokens or pairs)."""

    total: Tensor  # scalar, with a graph
    count: float  # tokens or pairs that `total` sums over
    metrics: Mapping[str, Tensor | float] = field(
        default_factory=dict
    )  # sums too; the step reports them over the count
    tokens: int = 0  # tokens that went through the model: for the speed only


@dataclass(frozen=True)
class StepResult:
    """Means over the step's global count; `grad_norm` is the mean loss's, before clipping."""

    loss: float
    grad_norm: float
    count: float
    metrics: dict[str, float]
    tokens: int


def check_batch_sizes(global_batch_size: int, micro_batch_size: int) -> None:
    """Raises ConfigError unless a global batch is a whole number of micro-batches."""
    if global_batch_size % micro_batch_size:
        raise ConfigError(
            f"global_batch_size ({global_batch_size}) must be a multiple of micro_batch_size ({micro_batch_size})."
        )


def autocast(machine: Machine) -> torch.autocast:
    """The context in which losses are computed: parameters stay fp32, matrix products run in the machine's dtype."""
    dtype: torch.dtype = getattr(torch, machine.dtype)
    return torch.autocast(machine.device.split(":")[0], dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


@contextmanager
def reproducible(machine: Machine) -> Iterator[None]:
    """Inside, a GPU adds in a fixed order, so that a resumed run ends in the same bytes; a CPU does so anyway.

    Above all the backward pass of attention: its kernels add as their blocks happen to finish.
    """
    if machine.device == "cpu":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it torch refuses products in this mode
    debugging: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), debugging.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    debugging.fill_uninitialized_memory = False  # it would write every new tensor twice
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        debugging.fill_uninitialized_memory = before[1]


def optimizer_step(optimizer: torch.optim.Optimizer, *, count: float, lr: float, clip: float) -> float:
    """Divides the summed gradients by `count`, clips their norm to `clip`, updates with `lr` and clears the gradients.

    Returns the norm after the division, before clipping. Raises ValueError unless `count` > 0, and ArrieroError, before
    anything is updated, if the norm is not finite.
    """
    if count <= 0:
        raise ValueError(f"a step must count something, got {count} tokens or pairs")
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(grads)) / count
    if not math.isfinite(norm):
        raise ArrieroError(
            f"Training has diverged: the gradient's norm is {norm} at learning rate {lr:.3g}. Lower optimizer.lr, "
            f'lengthen the warm-up, or set machine.dtype = "float32".'
        )
    scale = min(1.0, clip / (norm + 1e-6)) / count
    torch._foreach_mul_(grads, scale)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def train_step(
    optimizer: torch.optim.Optimizer,
    micro_batches: Iterable[Batch],
    loss: Callable[[Batch], LossSum],
    *,
    lr: float,
    clip: float,
    machine: Machine,
) -> StepResult:
    """One update from the micro-batches of one global batch. Raises as `optimizer_step`."""
    total, count, tokens = 0.0, 0.0, 0
    sums: dict[str, float] = {}
    for batch in micro_batches:
        with reproducible(machine):
            with autocast(machine):
                part = loss(batch)
            part.total.backward()  # type: ignore[no-untyped-call]
        total += float(part.total.detach())
        count += part.count
        tokens += part.tokens
        for name, value in part.metrics.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    norm = optimizer_step(optimizer, count=count, lr=lr, clip=clip)
    return StepResult(total / count, norm, count, {name: value / count for name, value in sums.items()}, tokens)
