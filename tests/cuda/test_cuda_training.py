"""Training on two devices: the same losses; resumed it ends in the same bytes, compiled it learns the same."""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from arriero.artifacts import Machine
from arriero.errors import Stopped
from arriero.model import LoraConfig, ModelConfig, add_lora, new_model
from arriero.train.loop import fit
from arriero.train.loss import language_model_loss
from arriero.train.optimizer import OptimizerConfig
from arriero.train.packing import TokenBatch
from arriero.train.step import autocast, reproducible
from arriero.train.tracking import read_series
from stages import context, stop_after

STEPS, LENGTH = 20, 384
CONFIG = ModelConfig(dim=128, n_layers=3, n_heads=4, n_kv_heads=2, vocab_size=500, ffn_dim=256, max_seq_len=LENGTH)


def micro_batches(step: int, *, device: str, masked: bool) -> list[TokenBatch]:
    """Two of two rows, from few words: something to learn. A third of the targets do not count."""
    generator = torch.Generator().manual_seed(step)
    batches = []
    for _ in range(2):
        words = torch.randint(0, 40, (2, LENGTH // 4 + 1, 1), generator=generator)
        windows = (words * 11 + torch.arange(4) * words).flatten(1)[:, : LENGTH + 1] % 500
        counted = torch.rand(2, LENGTH, generator=generator) > 0.33
        number = torch.arange(LENGTH) // 64
        mask = (number[:, None] == number) & torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
        mask = mask.expand(2, 1, -1, -1) if masked else None
        batches.append(TokenBatch(windows[:, :-1], windows[:, 1:], counted, mask, counted.numel()).to(device))
    return batches


def train(
    root: Path, machine: Machine, *, lora: bool = False, masked: bool = False, stops: Sequence[int] = ()
) -> tuple[list[float], dict[str, Tensor]]:
    """(losses, weights) of a run that was stopped after so many steps, each time begun anew from its checkpoint."""
    for stop in (*stops, STEPS + 1):
        module = new_model(CONFIG, 0)
        if lora:
            add_lora(module, LoraConfig(rank=8, alpha=16.0), 0)
        module = module.to(machine.device)
        run = replace(context(root, stop_after(stop - 1)), machine=machine)
        with contextlib.suppress(Stopped):
            fit(
                module,
                steps=STEPS,
                micro_batches=partial(micro_batches, device=machine.device, masked=masked),
                loss=partial(language_model_loss, module),
                optimizer=OptimizerConfig(lr=3e-3, warmup_steps=3),
                context=run,
                checkpoint_interval=1e9,
            )
    losses = [row["loss"] for row in read_series(root / "out" / "series.jsonl")]
    assert len(losses) == STEPS
    return losses, {name: tensor.cpu() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(("lora", "masked"), [(False, False), (False, True), (True, False)])
def test_the_losses_are_the_cpu_s(device: str, tmp_path: Path, lora: bool, masked: bool) -> None:
    """In float32 to its rounding, in bfloat16 nearly; the loss falls in both."""
    expected, _ = train(tmp_path / "cpu", Machine(), lora=lora, masked=masked)
    found, _ = train(tmp_path / "float32", Machine(device), lora=lora, masked=masked)
    low, _ = train(tmp_path / "bfloat16", Machine(device, "bfloat16"), lora=lora, masked=masked)
    assert found == pytest.approx(expected, rel=1e-4)
    assert low == pytest.approx(expected, rel=2e-2)
    assert low[-1] < (0.995 if lora else 0.85) * low[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_stopped_and_resumed_it_ends_in_the_same_bytes(device: str, tmp_path: Path, dtype: str, lora: bool) -> None:
    machine = Machine(device, dtype)
    losses, weights = train(tmp_path / "whole", machine, lora=lora)
    resumed, same = train(tmp_path / "stopped", machine, lora=lora, stops=(4, 9))
    assert resumed == losses
    assert all(torch.equal(same[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_it_learns_the_same(device: str, tmp_path: Path, dtype: str) -> None:
    if device == "cpu" and shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler")
    plain, _ = train(tmp_path / "plain", Machine(device, dtype))
    compiled, _ = train(tmp_path / "compiled", Machine(device, dtype, compile=True))
    assert compiled == pytest.approx(plain, rel=1e-4 if dtype == "float32" else 2e-2)
    assert compiled != plain, "nothing was compiled"


@pytest.mark.parametrize("masked", [False, True])
def test_long_sequences_give_equal_gradients_each_time(device: str, masked: bool) -> None:
    """The kernels of attention for long sequences add in an order of their own unless they are told not to."""
    length = 256 if device == "cpu" else 2048
    shape = ModelConfig(dim=256, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=500, ffn_dim=512, max_seq_len=length)
    model, machine = new_model(shape, 0).to(device), Machine(device, "bfloat16")
    windows = torch.randint(0, 500, (4, length + 1), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(length, length, dtype=torch.bool).tril().expand(4, 1, -1, -1) if masked else None
    counted = torch.ones(4, length, dtype=torch.bool)
    batch = TokenBatch(windows[:, :-1], windows[:, 1:], counted, mask).to(device)

    def gradients() -> list[Tensor]:
        with reproducible(machine):
            with autocast(machine):
                part = language_model_loss(model, batch)
            part.total.backward()
        found = [parameter.grad for parameter in model.parameters()]
        model.zero_grad(set_to_none=True)
        return found

    expected = gradients()
    for _ in range(4):
        assert all(torch.equal(a, b) for a, b in zip(gradients(), expected, strict=True))
