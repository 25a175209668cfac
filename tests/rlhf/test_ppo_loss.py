import math

import pytest
import torch

from arriero.rlhf.ppo_loss import clipped, policy_loss, value_loss


def one(value):
    return torch.tensor([[value]], dtype=torch.float64)


YES = torch.tensor([[True]])


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "binds"),
    [
        # Closed form: -min(ratio * A, clip(ratio) * A); slope is d loss / d logprob = -ratio * A unless the clip binds.
        (1.0, 2.0, -2.0, -2.0, False),
        (1.1, 2.0, -2.2, -2.2, False),
        (1.5, 2.0, -2.4, 0.0, True),  # better than the clip allows: no more gain
        (0.5, 2.0, -1.0, -1.0, False),  # a good token made rarer: full pull back
        (0.5, -2.0, 1.6, 0.0, True),
        (1.5, -2.0, 3.0, 3.0, False),  # a bad token made likelier: full push away
    ],
)
def test_policy_loss_and_its_slope(ratio, advantage, loss, slope, binds):
    logprobs = one(math.log(ratio) - 3.0).requires_grad_()
    got = policy_loss(logprobs, one(-3.0), one(advantage), YES, 0.2)
    got.sum().backward()
    assert float(got.detach()) == pytest.approx(loss)
    assert float(logprobs.grad) == pytest.approx(slope)
    assert bool(clipped(logprobs.detach(), one(-3.0), one(advantage), YES, 0.2)) is binds


def test_at_the_old_policy_the_gradient_is_the_policy_gradient():
    generator = torch.Generator().manual_seed(0)
    advantages = torch.randn(3, 4, generator=generator)
    old = torch.randn(3, 4, generator=generator)
    logprobs = old.clone().requires_grad_()
    mask = torch.arange(4)[None] < torch.tensor([4, 2, 1])[:, None]
    policy_loss(logprobs, old, advantages, mask, 0.2).sum().backward()
    torch.testing.assert_close(logprobs.grad, torch.where(mask, -advantages, 0.0))


def test_what_does_not_count_gives_neither_loss_nor_gradient_even_where_it_is_not_finite():
    mask = torch.tensor([[True, False]])
    logprobs = torch.tensor([[-1.0, 500.0]], requires_grad=True)
    loss = policy_loss(logprobs, torch.tensor([[-1.0, -500.0]]), torch.ones(1, 2), mask, 0.2)
    loss.sum().backward()
    assert loss.tolist() == [[-1.0, 0.0]]
    assert logprobs.grad.tolist() == [[-1.0, 0.0]]
    assert clipped(logprobs.detach(), torch.full((1, 2), -1.5), torch.ones(1, 2), mask, 0.2).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("value", "old", "target", "loss"),
    [
        (1.0, 1.0, 3.0, 2.0),
        (2.0, 1.0, 3.0, 0.5 * 1.8**2),  # moved far towards the target: judged as if at 1.2
        (0.0, 1.0, 3.0, 0.5 * 3.0**2),  # moved away: the true, larger error
        (1.1, 1.0, 3.0, 0.5 * 1.9**2),
    ],
)
def test_value_loss_takes_the_larger_error(value, old, target, loss):
    assert float(value_loss(one(value), one(old), one(target), YES, 0.2)) == pytest.approx(loss)
    assert float(value_loss(one(value), one(old), one(target), ~YES, 0.2)) == 0.0
