"""The training loop: steps, series, checkpoints; killed at any moment it goes on to the same bytes.

What a step computes depends on the step's number alone (batches, learning rate; no global random state is used), so a
checkpoint needs only the trained parameters, the optimizer's moments and the number of steps done.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import nn

from arriero.artifacts import StageContext
from arriero.errors import Stopped
from arriero.model.transformer import Block
from arriero.train.checkpoint import (
    CHECKPOINT_FOLDER,
    load_checkpoint,
    restore_training_state,
    save_checkpoint,
    training_state,
)
from arriero.train.optimizer import OptimizerConfig, build_optimizer
from arriero.train.schedule import lr_at
from arriero.train.step import LossSum, train_step
from arriero.train.tracking import SeriesWriter

Batch = TypeVar("Batch")

# Saving may take this share of the time at most: a long save puts the next one off.
CHECKPOINT_SHARE = 0.05


class CheckpointClock:
    """Says when the next checkpoint is due: every `interval` seconds, less often where saving itself is slow."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._due = time.monotonic() + interval

    def due(self) -> bool:
        return time.monotonic() >= self._due

    def saved(self, seconds: float) -> None:
        """Tells that a checkpoint was just saved, and how long that took."""
        self._due = time.monotonic() + max(self._interval, seconds / CHECKPOINT_SHARE)


def compile_blocks(module: nn.Module) -> None:
    """Compiles each transformer block's forward, once for all blocks, with fixed shapes."""
    for part in module.modules():
        if isinstance(part, Block):
            part.compile(dynamic=False)


def fit(
    module: nn.Module,
    *,
    steps: int,
    micro_batches: Callable[[int], Sequence[Batch]],
    loss: Callable[[Batch], LossSum],
    optimizer: OptimizerConfig,
    context: StageContext,
    checkpoint_interval: float,
) -> None:
    """Trains what requires a gradient in `module` (several modules: an nn.ModuleDict) for `steps` steps, in place.

    `micro_batches(step)` and `loss(batch)` must depend on their arguments and the parameters alone. Writes one row a
    step to `out/series.jsonl` (step, loss, lr, grad_norm, count, the loss's metrics) and checkpoints to
    `scratch/checkpoint`, from which it goes on if there is one. Raises Stopped, after saving, once the user asks to
    stop; ArtifactError if the checkpoint is damaged; ArrieroError if training diverges.
    """
    adamw = build_optimizer(module.parameters(), optimizer)
    folder = context.scratch / CHECKPOINT_FOLDER
    start = 0
    if (found := load_checkpoint(folder)) is not None:
        restore_training_state(module, adamw, found[0])
        start = int(found[1]["step"])
    if context.machine.compile:
        compile_blocks(module)
    module.train()
    clock = CheckpointClock(checkpoint_interval)
    started, tokens = time.perf_counter(), 0
    with (
        SeriesWriter(context.out / "series.jsonl", keep=start) as series,
        context.progress(steps, "steps", start) as bar,
    ):

        def save(done: int) -> None:
            began = time.monotonic()
            series.sync()
            save_checkpoint(folder, training_state(module, adamw), {"step": done})
            clock.saved(time.monotonic() - began)

        for step in range(start, steps):
            lr = lr_at(step, steps, optimizer)
            result = train_step(adamw, micro_batches(step), loss, lr=lr, clip=optimizer.clip, machine=context.machine)
            row = {"step": step, "loss": result.loss, "lr": lr, "grad_norm": result.grad_norm, "count": result.count}
            series.write(row | result.metrics)
            tokens += result.tokens
            bar.advance(1, loss=result.loss)
            try:
                context.check_stop()
            except Stopped:
                save(step + 1)
                raise
            if clock.due():
                save(step + 1)
    if tokens:
        context.timing("tokens_per_second", tokens / (time.perf_counter() - started))
