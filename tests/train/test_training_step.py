"""Gradient accumulation changes nothing, clipping is exact, divergence is stopped before it does harm."""

import pytest
import torch
from torch import Tensor, nn

from arriero.artifacts import Machine
from arriero.errors import ArrieroError, ConfigError
from arriero.train.optimizer import OptimizerConfig, build_optimizer
from arriero.train.step import LossSum, StepResult, autocast, check_batch_sizes, optimizer_step, train_step


def small_model(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype)


def rows(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Eight rows whose losses count for 1 to 8 tokens each: uneven, as after packing."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(8, 5, generator=generator, dtype=dtype), torch.randn(8, 3, generator=generator, dtype=dtype)
    return x, y, torch.arange(1, 9, dtype=dtype)


def one_step(dtype: torch.dtype, micro_batch_size: int) -> tuple[StepResult, list[Tensor]]:
    model, (x, y, weights) = small_model(dtype), rows(dtype)
    optimizer = build_optimizer(model.parameters(), OptimizerConfig(lr=0.1))

    def loss(index: Tensor) -> LossSum:
        errors = (model(x[index]) - y[index]).pow(2).sum(1)
        count = float(weights[index].sum())
        return LossSum((errors * weights[index]).sum(), count, {"error": errors.detach().sum()}, tokens=len(index))

    parts = torch.arange(8).split(micro_batch_size)
    result = train_step(optimizer, parts, loss, lr=0.1, clip=1.0, machine=Machine())
    return result, [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
@pytest.mark.parametrize("micro_batch_size", [1, 2, 3, 4])
def test_accumulation_changes_nothing(dtype: torch.dtype, tolerance: float, micro_batch_size: int) -> None:
    whole, parameters = one_step(dtype, 8)
    split, same = one_step(dtype, micro_batch_size)
    assert (split.count, split.tokens) == (whole.count, whole.tokens) == (36.0, 8)
    assert split.loss == pytest.approx(whole.loss, rel=tolerance)
    assert split.grad_norm == pytest.approx(whole.grad_norm, rel=tolerance)
    assert split.metrics["error"] == pytest.approx(whole.metrics["error"], rel=tolerance)
    for ours, theirs in zip(same, parameters, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=10 * tolerance, atol=10 * tolerance)


def test_loss_and_norm_are_those_of_the_mean() -> None:
    result, _ = one_step(torch.float64, 2)
    model, (x, y, weights) = small_model(torch.float64), rows(torch.float64)
    mean = ((model(x) - y).pow(2).sum(1) * weights).sum() / weights.sum()
    gradients = torch.autograd.grad(mean, list(model.parameters()))
    assert result.loss == pytest.approx(mean.item(), rel=1e-12)
    assert result.grad_norm == pytest.approx(torch.cat([g.flatten() for g in gradients]).norm().item(), rel=1e-12)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_gradient_is_clipped_to_its_norm(scale: float) -> None:
    parameter = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    parameter.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.float64) * scale * 10
    norm = optimizer_step(optimizer, count=10, lr=1.0, clip=1.0)
    assert norm == pytest.approx(5 * scale, rel=1e-12)
    assert parameter.detach().norm().item() == pytest.approx(min(1.0, 5 * scale), rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_divergence_stops_before_the_update(value: float) -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = build_optimizer([parameter], OptimizerConfig(lr=0.1))
    parameter.grad = torch.tensor([0.0, value, 0.0])
    with pytest.raises(ArrieroError, match="diverged"):
        optimizer_step(optimizer, count=1, lr=0.1, clip=1.0)
    assert parameter.tolist() == [1.0, 1.0, 1.0]


def test_a_step_must_count_something() -> None:
    parameter = nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match="must count something"):
        optimizer_step(build_optimizer([parameter], OptimizerConfig(lr=0.1)), count=0, lr=0.1, clip=1.0)


def test_a_global_batch_is_whole_micro_batches() -> None:
    check_batch_sizes(12, 4)
    with pytest.raises(ConfigError, match=r"\(12\) must be a multiple of micro_batch_size \(5\)"):
        check_batch_sizes(12, 5)


def test_products_run_in_the_machines_dtype_and_parameters_stay_fp32() -> None:
    layer = nn.Linear(4, 4)
    seen = {}
    for dtype in ("float32", "bfloat16"):
        with autocast(Machine(dtype=dtype)):
            y = layer(torch.ones(1, 4))
        y.sum().backward()
        assert layer.weight.grad is not None
        seen[dtype] = (y.dtype, layer.weight.grad.dtype)
    assert seen == {"float32": (torch.float32, torch.float32), "bfloat16": (torch.bfloat16, torch.float32)}
