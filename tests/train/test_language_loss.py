"""The chunked loss against torch's plain cross-entropy, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from arriero.model import ModelConfig, new_model
from arriero.train.loss import CHUNK, cross_entropy_sum, language_model_loss
from arriero.train.packing import TokenBatch


def inputs(n: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    hidden = torch.randn(n, 6, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(11, 6, generator=generator, dtype=dtype).requires_grad_()
    return hidden, weight, torch.randint(0, 11, (n,), generator=generator)


@pytest.mark.parametrize("n", [0, 1, CHUNK["cpu"], CHUNK["cpu"] + 1, 2 * CHUNK["cpu"] + 7])
def test_equals_plain_cross_entropy(n: int) -> None:
    hidden, weight, targets = inputs(n)
    plain = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    expected = torch.autograd.grad(3 * plain, (hidden, weight))
    found = cross_entropy_sum(hidden, weight, targets)
    gradients = torch.autograd.grad(3 * found, (hidden, weight))
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_a_frozen_weight_gets_no_gradient() -> None:
    hidden, weight, targets = inputs(5)
    cross_entropy_sum(hidden, weight.detach(), targets).backward()
    expected = torch.autograd.grad(F.cross_entropy(hidden @ weight.T, targets, reduction="sum"), hidden)[0]
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad, expected, rtol=1e-10, atol=1e-12)
    assert weight.grad is None


def test_under_autocast_the_sum_stays_in_float32() -> None:
    """Only the products are rounded: logits err by 2^-8 of themselves, and the sum of 2000 is not rounded."""
    hidden, weight, targets = inputs(2000, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cross_entropy_sum(hidden, weight, targets)
    found.backward()
    plain = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    expected = torch.autograd.grad(plain, (hidden, weight))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(plain.item(), rel=2e-3)
    for parameter, gradient in zip((hidden, weight), expected, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert torch.linalg.norm(parameter.grad - gradient) < 0.01 * torch.linalg.norm(gradient)


def test_shapes_are_checked() -> None:
    hidden, weight, targets = inputs(4)
    with pytest.raises(ValueError, match="expected hidden"):
        cross_entropy_sum(hidden, weight, targets[:, None])


@pytest.mark.parametrize("tied", [True, False])
def test_the_model_loss_counts_masked_targets_only(tied: bool) -> None:
    config = ModelConfig(
        dim=8, n_layers=2, n_heads=2, n_kv_heads=1, vocab_size=13, ffn_dim=12, tied_embeddings=tied, max_seq_len=16
    )
    model = new_model(config, 0).double()
    generator = torch.Generator().manual_seed(1)
    tokens, targets = torch.randint(0, 13, (2, 3, 9), generator=generator).unbind()
    mask = torch.rand(3, 9, generator=generator) < 0.4
    found = language_model_loss(model, TokenBatch(tokens, targets, mask, trained_tokens=27))
    plain = F.cross_entropy(model(tokens).flatten(0, 1), targets.masked_fill(~mask, -100).flatten(), reduction="sum")
    assert found.count == int(mask.sum())
    ours = torch.autograd.grad(found.total, list(model.parameters()))
    theirs = torch.autograd.grad(plain, list(model.parameters()))
    torch.testing.assert_close(found.total, plain, rtol=1e-10, atol=0)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)
