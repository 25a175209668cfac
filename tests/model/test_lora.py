"""Adapters: nothing at first, nothing when off, and the same when merged."""

import itertools

import pytest
import torch

from arriero.errors import ConfigError
from arriero.generation import inference_copy
from arriero.model import (
    LoraConfig,
    ModelConfig,
    Transformer,
    adapters_off,
    add_lora,
    linear,
    lora_parameters,
    merge_lora,
    new_model,
)

TINY = ModelConfig(dim=32, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=50, ffn_dim=48, max_seq_len=64)
TOKENS = torch.randint(0, 50, (3, 12), generator=torch.Generator().manual_seed(0))


def trained(lora: LoraConfig) -> Transformer:
    """A model whose adapters took a few steps."""
    model = add_lora(new_model(TINY, 0), lora, seed=1)
    optimizer = torch.optim.SGD(lora_parameters(model), lr=5.0)
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def test_new_adapters_change_nothing_and_alone_are_trained() -> None:
    base = new_model(TINY, 0)
    before = base(TOKENS)
    weights = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    model = trained(LoraConfig(rank=4, alpha=8))
    fresh = add_lora(new_model(TINY, 0), LoraConfig(rank=4), seed=1)
    assert torch.equal(fresh(TOKENS), before)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in weights.items())
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in lora_parameters(model)}
    assert len(lora_parameters(model)) == 2 * 7 * TINY.n_layers
    assert (model(TOKENS) - before).abs().max() > 0.01


def test_off_is_exactly_the_base_and_on_again_after_an_error() -> None:
    model, base = trained(LoraConfig(rank=4)), new_model(TINY, 0)
    adapted = model(TOKENS)
    with adapters_off(model):
        assert torch.equal(model(TOKENS), base(TOKENS))
        with adapters_off(model):
            pass
        assert torch.equal(model(TOKENS), base(TOKENS))
    assert torch.equal(model(TOKENS), adapted)
    with pytest.raises(ZeroDivisionError), adapters_off(model):
        1 / 0  # noqa: B018
    assert torch.equal(model(TOKENS), adapted)


@pytest.mark.parametrize("targets", [("wq", "wv"), ("w1", "w2", "w3", "wo", "wk")])
def test_merging_keeps_the_output(targets: tuple[str, ...]) -> None:
    model = trained(LoraConfig(rank=3, alpha=6, targets=targets))  # type: ignore[arg-type]
    expected = model(TOKENS)
    names = set(new_model(TINY, 0).state_dict())
    copied = inference_copy(model, torch.float32)
    torch.testing.assert_close(copied(TOKENS), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(model(TOKENS), expected), "the copy must leave the original alone"
    merge_lora(model)
    torch.testing.assert_close(model(TOKENS), expected, atol=1e-5, rtol=1e-5)
    assert set(model.state_dict()) == set(copied.state_dict()) == names
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad for p in copied.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_takes_one_copy_of_the_weight(dtype: torch.dtype) -> None:
    """The result is the formula's, the weight stays, and no other matrix of its size is made on the way."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2050, 500, generator=generator).to(dtype)
    lora_a, lora_b = torch.randn(4, 500, generator=generator), torch.randn(2050, 4, generator=generator)
    before = weight.clone()
    merged = linear.adapted(weight, lora_a, lora_b, 0.3)
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged, before.float() + 0.3 * (lora_b @ lora_a), atol=1e-5, rtol=1e-5)
    assert torch.equal(weight, before)
    with torch.profiler.profile(profile_memory=True) as profile:
        linear.adapted(weight, lora_a, lora_b, 0.3)
    changes = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert changes
    assert max(itertools.accumulate(changes)) < 4.2 * weight.numel()


def test_a_copy_shares_no_memory_with_its_source() -> None:
    model = new_model(TINY, 0)
    copied = inference_copy(model, torch.float32)
    before = copied(TOKENS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert torch.equal(copied(TOKENS), before)


def test_seed_and_scale_of_new_adapters() -> None:
    first, again, other = (
        [p.detach() for p in lora_parameters(add_lora(new_model(TINY, 0), LoraConfig(rank=8), seed))]
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.cat([p.flatten() for p in first[::2] if p.shape[1] == 32]).std().item() == pytest.approx(
        32**-0.5, rel=0.1
    )
    assert all(not p.any() for p in first[1::2])


def test_adapters_on_adapters_and_on_nothing_are_refused() -> None:
    model = add_lora(new_model(TINY, 0), LoraConfig(rank=2), seed=0)
    with pytest.raises(ConfigError, match="merge them"):
        add_lora(model, LoraConfig(rank=2), seed=0)
    with pytest.raises(ConfigError, match="at least one"):
        add_lora(new_model(TINY, 0), LoraConfig(targets=()), seed=0)
