"""AdamW against its closed form, and the schedule against torch's."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arriero.train.optimizer import OptimizerConfig, build_optimizer
from arriero.train.schedule import lr_at, warmup_length
from arriero.train.step import optimizer_step


def test_three_steps_equal_the_closed_form() -> None:
    """theta <- theta (1 - lr wd) - lr m^ / (sqrt(v^) + eps), decay on matrices only."""
    cfg = OptimizerConfig(lr=0.1, clip=1e9)
    matrix = torch.nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
    vector = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = build_optimizer([matrix, vector], cfg)
    expected = [2.0, 2.0]
    m = v = 0.0
    for t, gradient in enumerate([0.5, -2.0, 3.0], 1):
        matrix.grad, vector.grad = torch.full_like(matrix, gradient * 4), torch.full_like(vector, gradient * 4)
        optimizer_step(optimizer, count=4, lr=0.1 / t, clip=cfg.clip)
        m, v = 0.9 * m + 0.1 * gradient, 0.95 * v + 0.05 * gradient**2
        update = 0.1 / t * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.95**t)) + 1e-5)
        expected = [expected[0] * (1 - 0.1 / t * 0.1) - update, expected[1] - update]
        assert matrix.item() == pytest.approx(expected[0], rel=1e-12)
        assert vector.item() == pytest.approx(expected[1], rel=1e-12)
        assert matrix.grad is None


def test_frozen_parameters_have_no_state() -> None:
    frozen, trained = torch.nn.Parameter(torch.ones(2, 2), requires_grad=False), torch.nn.Parameter(torch.ones(2))
    optimizer = build_optimizer([frozen, trained], OptimizerConfig(lr=1.0))
    assert [p is trained for group in optimizer.param_groups for p in group["params"]] == [True]
    with pytest.raises(ValueError, match="nothing to train"):
        build_optimizer([frozen], OptimizerConfig(lr=1.0))


@given(st.integers(2, 60), st.integers(1, 20), st.floats(0.01, 1.0))
def test_schedule_equals_torch(steps: int, warmup: int, fraction: float) -> None:
    warmup = min(warmup, steps - 1)
    cfg = OptimizerConfig(lr=0.5, warmup_steps=warmup, final_lr_fraction=fraction)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.5)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=max(1, warmup - 1))
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - 1 - warmup), 0.5 * fraction)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [warmup])
    for step in range(steps):
        assert lr_at(step, steps, cfg) == pytest.approx(both.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        both.step()


def test_schedule_ends() -> None:
    cfg = OptimizerConfig(lr=1.0, warmup_steps=2)
    assert [lr_at(step, 4, cfg) for step in (0, 1, 2, 3)] == pytest.approx([0.5, 1.0, 1.0, 0.1])
    assert lr_at(0, 1, OptimizerConfig(lr=1.0)) == 1.0
    constant = OptimizerConfig(lr=1.0, schedule="constant", warmup_steps=2)
    assert [lr_at(step, 4, constant) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match=r"\[0, 4\)"):
        lr_at(4, 4, cfg)


def test_reward_models_warm_up_three_percent_but_at_least_five_steps() -> None:
    cfg = OptimizerConfig(lr=1.0, warmup_steps=5, warmup_fraction=0.03)
    assert [warmup_length(steps, cfg) for steps in (10, 166, 167, 1000)] == [5, 5, 6, 30]
