"""The loop: killed or stopped at any step, it goes on to the same bytes."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from arriero.artifacts import Machine, StageContext
from arriero.errors import Stopped
from arriero.model import LoraConfig, ModelConfig, Transformer, add_lora, lora_parameters, new_model
from arriero.train.loop import CheckpointClock, fit
from arriero.train.loss import language_model_loss
from arriero.train.optimizer import OptimizerConfig
from arriero.train.packing import TokenBatch
from arriero.train.step import LossSum
from stages import context as make_context

STEPS = 7
CONFIG = ModelConfig(dim=16, n_layers=2, n_heads=2, n_kv_heads=1, vocab_size=32, ffn_dim=24, max_seq_len=8)


class Killed(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


def model(lora: bool) -> Transformer:
    made = new_model(CONFIG, 0)
    return add_lora(made, LoraConfig(rank=2, alpha=4.0), 0) if lora else made


def micro_batches(step: int) -> list[TokenBatch]:
    windows = torch.randint(0, 32, (2, 4, 9), generator=torch.Generator().manual_seed(step))
    return [TokenBatch(w[:, :-1], w[:, 1:], torch.ones(4, 8, dtype=torch.bool), trained_tokens=32) for w in windows]


def train(
    module: Transformer, context: StageContext, interval: float = 1e9, kill_at: int | None = None, steps: int = STEPS
) -> None:
    calls = 0

    def loss(batch: TokenBatch) -> LossSum:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise Killed
        part = language_model_loss(module, batch)
        return replace(part, metrics={"sevens": (batch.tokens == 7).sum()})

    fit(
        module,
        steps=steps,
        micro_batches=micro_batches,
        loss=loss,
        optimizer=OptimizerConfig(lr=1e-2, warmup_steps=2),
        context=context,
        checkpoint_interval=interval,
    )


def outcome(module: nn.Module, context: StageContext) -> tuple[bytes, dict[str, Tensor]]:
    return (context.out / "series.jsonl").read_bytes(), module.state_dict()


def assert_same(found: tuple[bytes, dict[str, Tensor]], expected: tuple[bytes, dict[str, Tensor]]) -> None:
    assert found[0] == expected[0]
    assert all(torch.equal(found[1][name], tensor) for name, tensor in expected[1].items())


@pytest.fixture(scope="module", autouse=True)
def saving_costs_nothing() -> Iterator[None]:
    """So that an interval of zero saves at every step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arriero.train.loop.CHECKPOINT_SHARE", math.inf)
        yield


@pytest.fixture(scope="module", params=[False, True], ids=["full", "lora"])
def uninterrupted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bool, tuple[bytes, dict[str, Tensor]]]:
    context, module = make_context(tmp_path_factory.mktemp("whole")), model(request.param)
    train(module, context)
    return request.param, outcome(module, context)


@settings(max_examples=6)
@given(kills=st.lists(st.integers(1, 2 * STEPS), min_size=1, max_size=3))
def test_killed_anywhere_it_ends_in_the_same_bytes(uninterrupted, tmp_path_factory, kills: list[int]) -> None:
    lora, expected = uninterrupted
    context = make_context(tmp_path_factory.mktemp("killed"))
    for kill_at in kills:
        try:
            train(model(lora), context, interval=0.0, kill_at=kill_at)
        except Killed:
            continue
    resumed = model(lora)
    train(resumed, context, interval=0.0)
    assert_same(outcome(resumed, context), expected)


@pytest.mark.parametrize("stop_after", [1, 4, STEPS])
def test_stopped_it_saves_and_goes_on(uninterrupted, tmp_path: Path, stop_after: int) -> None:
    lora, expected = uninterrupted
    context = make_context(tmp_path)
    asked = iter([False] * (stop_after - 1) + [True])
    with pytest.raises(Stopped):
        train(model(lora), replace(context, stop_requested=lambda: next(asked)))
    steps = []
    resumed = model(lora)
    fit_context = replace(context, stop_requested=lambda: bool(steps.append(1)))
    train(resumed, fit_context)
    assert len(steps) == STEPS - stop_after
    assert_same(outcome(resumed, context), expected)


def test_rows_say_what_happened_and_no_time(uninterrupted, tmp_path: Path) -> None:
    context, module = make_context(tmp_path), model(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    train(module, context)
    rows = [json.loads(line) for line in (context.out / "series.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert all(list(row) == ["step", "loss", "lr", "grad_norm", "count", "sevens"] for row in rows)
    assert {row["count"] for row in rows} == {64}
    assert [row["lr"] for row in rows][:3] == [0.005, 0.01, 0.01]
    assert rows[3]["sevens"] == sum(int((batch.tokens == 7).sum()) for batch in micro_batches(3)) / 64
    assert context.timings.keys() == {"tokens_per_second"}
    assert not any(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_with_lora_only_the_adapters_move(tmp_path: Path) -> None:
    module, context = model(True), make_context(tmp_path)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    train(module, context, interval=0.0, steps=3)
    moved = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert len(moved) == len(lora_parameters(module)) > 0
    assert all("lora_" in name for name in moved)
    saved = (context.scratch / "checkpoint" / "step-00000003.safetensors").stat().st_size
    assert saved < 3 * 4 * sum(p.numel() for p in lora_parameters(module)) + 20_000


def test_it_learns(tmp_path: Path) -> None:
    """The windows of one step, again and again, are learnt by heart: the loss falls below a fifth of log(32)."""
    module, context = model(False), make_context(tmp_path)
    fit(
        module,
        steps=60,
        micro_batches=lambda _: micro_batches(0),
        loss=lambda batch: language_model_loss(module, batch),
        optimizer=OptimizerConfig(lr=2e-2, warmup_steps=5),
        context=context,
        checkpoint_interval=1e9,
    )
    last = (context.out / "series.jsonl").read_text().splitlines()[-1]
    assert float(last.split('"loss": ')[1].split(",")[0]) < 3.47 / 5


def test_several_modules_train_as_one(tmp_path: Path) -> None:
    parts = nn.ModuleDict({"model": nn.Linear(3, 3), "head": nn.Linear(3, 1)})
    context = make_context(tmp_path)
    before = [parameter.detach().clone() for parameter in parts.parameters()]

    def loss(x: Tensor) -> LossSum:
        return LossSum(parts["head"](parts["model"](x)).pow(2).sum(), len(x))

    fit(
        parts,
        steps=2,
        micro_batches=lambda step: [torch.full((2, 3), 1.0 + step)],
        loss=loss,
        optimizer=OptimizerConfig(lr=0.1),
        context=replace(context, machine=Machine(dtype="bfloat16")),
        checkpoint_interval=1e9,
    )
    assert not any(torch.equal(a, b) for a, b in zip(before, parts.parameters(), strict=True))
    assert context.timings == {}


def test_a_slow_save_puts_the_next_one_off(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("arriero.train.loop.CHECKPOINT_SHARE", 0.05)
    monkeypatch.setattr("arriero.train.loop.time.monotonic", lambda: now[0])
    clock = CheckpointClock(60.0)
    now[0] = 159.0
    assert not clock.due()
    now[0] = 160.0
    assert clock.due()
    clock.saved(10.0)  # 5% of 200 s
    now[0] = 359.0
    assert not clock.due()
    now[0] = 360.0
    assert clock.due()
