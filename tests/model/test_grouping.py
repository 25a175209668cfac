"""MHA to GQA: what pooling keeps, and that it pools the heads that attention shares."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arriero.artifacts import Machine
from arriero.containers.lazy import LazyTensor
from arriero.errors import ConfigError
from arriero.model import ModelConfig, Transformer, load_model, new_model
from arriero.model.checkpoint import fill, skeleton, stated
from arriero.model.grouping import STAGE, GroupHeadsConfig, group_heads
from stages import TINY, context, inputs, model_artifact

TOKENS = torch.arange(14)[None]
POOLINGS = ("mean", "first", "random")
# Query heads, key/value heads, and how many are left of these.
SPLITS = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)).map(
    lambda of: (of[0] * of[1] * of[2], of[1] * of[2], of[2])
)


def shape(n_heads: int, n_kv_heads: int) -> ModelConfig:
    return replace(TINY, dim=24, n_heads=n_heads, n_kv_heads=n_kv_heads, head_dim=6, vocab_size=20)


def loud(config: ModelConfig) -> Transformer:
    """Weights large enough for attention to be far from uniform."""
    model = new_model(config, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20.0 if parameter.dim() > 1 else 1.0)
    return model


def built(config: ModelConfig, weights: dict[str, LazyTensor]) -> Transformer:
    model = skeleton(config)
    fill(model, {name: tensor.read() for name, tensor in weights.items()}, "the test's model")
    return model


def repeated(config: ModelConfig, weights: dict[str, LazyTensor], times: int) -> Transformer:
    """The same model with each key/value head `times` over: more heads, of which neighbours are equal."""

    def repeat(weight: torch.Tensor) -> torch.Tensor:
        return weight.view(-1, config.head_dim, config.dim).repeat_interleave(times, 0).reshape(-1, config.dim)

    rows = times * config.n_kv_heads * config.head_dim
    more = {
        name: weight.then(repeat, shape=(rows, config.dim)) if ".wk." in name or ".wv." in name else weight
        for name, weight in weights.items()
    }
    return built(replace(config, n_kv_heads=times * config.n_kv_heads), more)


@given(SPLITS, st.sampled_from(["mean", "first"]))
def test_equal_heads_in_a_group_change_nothing(split: tuple[int, int, int], pooling: Any) -> None:
    n_heads, before, after = split
    small = loud(shape(n_heads, after))
    model = repeated(small.config, stated(small), before // after)
    config, weights = group_heads(model.config, stated(model), after, pooling)
    assert config == small.config
    torch.testing.assert_close(built(config, weights)(TOKENS), model(TOKENS), rtol=0, atol=1e-4)


@given(SPLITS, st.sampled_from(POOLINGS))
def test_shapes_and_untouched_weights(split: tuple[int, int, int], pooling: Any) -> None:
    """Every weight has the shape it declares, and all but keys and values are the model's own."""
    n_heads, before, after = split
    model = loud(shape(n_heads, before))
    config, weights = group_heads(model.config, stated(model), after, pooling)
    assert built(config, weights).config == replace(model.config, n_kv_heads=after)
    for name, weight in weights.items():
        read = weight.read()
        assert (tuple(read.shape), read.dtype) == (weight.shape, weight.dtype)
        if ".wk." not in name and ".wv." not in name:
            assert torch.equal(read, model.state_dict()[name])


@given(SPLITS, st.sampled_from([torch.float32, torch.bfloat16]))
def test_keys_and_values_are_the_mean_in_head_space(split: tuple[int, int, int], dtype: torch.dtype) -> None:
    """What the new head makes of any input is the mean of what its group's heads made of it; `first`, the first's."""
    n_heads, before, after = split
    model = loud(shape(n_heads, before))
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = {name: tensor.to(dtype) for name, tensor in stated(model).items()}
    for pooling in ("mean", "first"):
        _, weights = group_heads(model.config, own, after, pooling)  # type: ignore[arg-type]
        for name in ("layers.0.attention.wk.weight", "layers.1.attention.wv.weight"):
            heads = (x @ own[name].read().double().T).view(5, before, 6)
            pooled = (x @ weights[name].read().double().T).view(5, after, 6)
            for group in range(after):
                members = heads[:, group * before // after : (group + 1) * before // after]
                expected = members.mean(1) if pooling == "mean" else members[:, 0]
                tolerance = 1e-5 if dtype == torch.float32 else 5e-2
                torch.testing.assert_close(pooled[:, group], expected, rtol=tolerance, atol=tolerance)


def test_drawn_heads_are_new_ones_that_the_seed_decides() -> None:
    model = new_model(replace(TINY, dim=64, n_heads=4, n_kv_heads=4, head_dim=64), 0)

    def drawn(seed: int) -> list[torch.Tensor]:
        _, weights = group_heads(model.config, stated(model), 2, "random", seed)
        return [weights[f"layers.{layer}.attention.{name}.weight"].read() for layer in (0, 1) for name in ("wk", "wv")]

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    for index, tensor in enumerate(one):
        assert 0.019 < tensor.std().item() < 0.021
        assert all(not torch.equal(tensor, another) for another in [*one[:index], *one[index + 1 :], *other])


def test_the_stage_writes_a_model_that_speaks(tmp_path: Path) -> None:
    base = model_artifact(tmp_path, "base")
    work = context(tmp_path / "work")
    metrics = STAGE.run(GroupHeadsConfig(n_kv_heads=1), inputs(base=base), work)
    loaded = load_model(replace(base, path=work.out), Machine())
    assert loaded.config == replace(TINY, n_kv_heads=1)
    assert metrics == {"kv_heads_before": 2, "kv_heads": 1, "parameters": loaded.config.n_parameters}
    assert loaded.tokenizer.digest() == load_model(base, Machine()).tokenizer.digest()


@pytest.mark.parametrize(("heads", "said"), [(3, "choose a divisor of 2"), (4, "a divisor of 2"), (2, "already")])
def test_heads_that_do_not_group(tmp_path: Path, heads: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        STAGE.run(GroupHeadsConfig(n_kv_heads=heads), inputs(base=model_artifact(tmp_path, "base")), context(tmp_path))
