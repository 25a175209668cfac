"""The decoder: closed forms, invariances, and its fast paths against the plain ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from arriero.errors import ConfigError
from arriero.model import ModelConfig, ScalarHead, Transformer, new_model
from arriero.model import attention as attention_module
from arriero.model.attention import attend_causal, attend_masked
from arriero.model.rope import apply_rope, rope_angles

TINY = ModelConfig(dim=32, n_layers=3, n_heads=4, n_kv_heads=2, vocab_size=50, ffn_dim=48, max_seq_len=64)


def spread(model: Transformer, seed: int = 1) -> Transformer:
    """Larger random weights than at the start of training, so that every part matters to the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.2, generator=generator)
    return model


def plain_forward(model: Transformer, tokens: list[int]) -> np.ndarray:
    """Logits of one row, written out in numpy, float64, one head and one position at a time."""
    config = model.config
    w = {name: tensor.detach().double().numpy() for name, tensor in model.state_dict().items()}
    T, D, group = len(tokens), config.head_dim, config.n_heads // config.n_kv_heads

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_eps) * weight

    def rotate(x: np.ndarray, position: int) -> np.ndarray:
        out = np.empty_like(x)
        for i in range(D // 2):
            angle = position * config.rope_theta ** (-2 * i / D)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            out[2 * i : 2 * i + 2] = turn @ x[2 * i : 2 * i + 2]
        return out

    x = w["tok_embeddings.weight"][tokens]
    for layer in range(config.n_layers):
        p = f"layers.{layer}."
        h = norm(x, w[p + "attention_norm.weight"])
        q, k, v = (h @ w[f"{p}attention.{name}.weight"].T for name in ("wq", "wk", "wv"))
        mixed = np.zeros((T, config.n_heads * D))
        for head in range(config.n_heads):
            mine, shared = slice(head * D, (head + 1) * D), slice(head // group * D, (head // group + 1) * D)
            for t in range(T):
                scores = np.array([rotate(q[t, mine], t) @ rotate(k[s, shared], s) for s in range(t + 1)]) / np.sqrt(D)
                weights = np.exp(scores - scores.max())
                mixed[t, mine] = weights / weights.sum() @ v[: t + 1, shared]
        x = x + mixed @ w[p + "attention.wo.weight"].T
        h = norm(x, w[p + "ffn_norm.weight"])
        gate = h @ w[p + "feed_forward.w1.weight"].T
        x = (
            x
            + (gate / (1 + np.exp(-gate)) * (h @ w[p + "feed_forward.w3.weight"].T)) @ w[p + "feed_forward.w2.weight"].T
        )
    return norm(x, w["norm.weight"]) @ w.get("output.weight", w["tok_embeddings.weight"]).T


@pytest.mark.parametrize("tied", [False, True])
def test_equals_the_formulas_written_out(tied: bool) -> None:
    config = ModelConfig(**TINY.to_json() | {"tied_embeddings": tied, "rope_theta": 100.0})
    model = spread(Transformer(config))
    tokens = [3, 7, 7, 49, 0, 12, 31]
    logits = model(torch.tensor([tokens]))[0].detach().numpy()
    np.testing.assert_allclose(logits, plain_forward(model, tokens), atol=2e-4, rtol=2e-4)


def test_a_token_sees_nothing_after_it_and_padding_changes_nothing() -> None:
    model = spread(Transformer(TINY))
    row = torch.arange(1, 11)[None]
    changed = torch.cat((row[:, :6], torch.tensor([[40, 41, 42, 43]]), torch.zeros(1, 22, dtype=torch.long)), dim=1)
    torch.testing.assert_close(model(changed)[:, :6], model(row)[:, :6])
    assert not torch.allclose(model(changed)[:, 6], model(row)[:, 6], atol=1e-2)


def test_an_attention_mask_restricts_what_a_token_sees() -> None:
    """Two texts in one row, each blind to the other: both as if alone, since only distances enter the rotation."""
    model = spread(Transformer(TINY))
    first, second = torch.tensor([[5, 6, 7]]), torch.tensor([[8, 9, 10, 11]])
    mask = torch.zeros(1, 1, 7, 7, dtype=torch.bool)
    mask[..., :3, :3] = torch.ones(3, 3).tril().bool()
    mask[..., 3:, 3:] = torch.ones(4, 4).tril().bool()
    packed = model(torch.cat((first, second), dim=1), attention_mask=mask)
    torch.testing.assert_close(packed[:, :3], model(first), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed[:, 3:], model(second), atol=1e-4, rtol=1e-4)


HEADS_OF_16 = ModelConfig(dim=32, n_layers=1, n_heads=2, n_kv_heads=1, vocab_size=8)


@given(st.integers(0, 4000), st.integers(0, 4000), st.integers(0, 90))
def test_rotation_depends_on_distance_only_and_keeps_length(m: int, n: int, shift: int) -> None:
    generator = torch.Generator().manual_seed(m * 4001 + n)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=generator)

    def product(a: int, b: int) -> Tensor:
        rotated = (apply_rope(x, rope_angles(torch.tensor([at]), HEADS_OF_16)) for x, at in ((q, a), (k, b)))
        return torch.linalg.vecdot(*rotated)

    torch.testing.assert_close(product(m, n), product(m + shift, n + shift), atol=6e-3, rtol=0)
    rotated = apply_rope(q, rope_angles(torch.tensor([m]), HEADS_OF_16))
    torch.testing.assert_close(rotated.norm(), q.norm())


def test_the_form_of_the_rotation_that_is_compiled_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, angles = torch.randn(2, 9, 3, 8), rope_angles(torch.arange(9), replace(HEADS_OF_16, head_dim=8, rope_theta=50.0))
    eager = apply_rope(x, angles)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(apply_rope(x, angles), eager)


@given(st.sampled_from([(1, 1), (4, 4), (6, 2), (3, 1)]), st.integers(1, 12), st.integers(1, 3))
def test_both_kinds_of_attention_agree(heads: tuple[int, int], T: int, B: int) -> None:
    generator = torch.Generator().manual_seed(T)
    q = torch.randn(B, T, heads[0], 8, generator=generator)
    k, v = torch.randn(2, B, T, heads[1], 8, generator=generator)
    bias = torch.full((T, T), float("-inf")).triu(1)[None, None]
    masked = attend_masked(q, k.transpose(1, 2), v.transpose(1, 2), bias)
    torch.testing.assert_close(masked, attend_causal(q, k, v), atol=1e-5, rtol=1e-5)


def test_short_texts_in_bfloat16_take_the_plain_path_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (torch.randn(2, 20, heads, 8).bfloat16() for heads in (6, 2, 2))
    plain = attend_causal(q, k, v)
    monkeypatch.setattr(attention_module, "PLAIN_UP_TO", 0)
    fused = attend_causal(q, k, v)
    assert not torch.equal(plain, fused), "expected two different ways of computing"
    torch.testing.assert_close(plain, fused, atol=3e-2, rtol=3e-2)


def test_bfloat16_weights_keep_a_float32_residual_stream() -> None:
    model = spread(Transformer(TINY))
    tokens = torch.arange(20)[None]
    exact = model(tokens)
    seen: list[torch.dtype] = []
    low = spread(Transformer(TINY)).bfloat16()
    low.layers[1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    rounded = low(tokens)
    assert seen == [torch.float32]
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().mean() < 0.02 * exact.abs().mean()


# Table in RECIPE.md, section 1 (from the paper and Meta's configs): parameters in billions.
@pytest.mark.parametrize(
    ("dim", "n_layers", "n_heads", "n_kv_heads", "ffn_dim", "billions"),
    [
        (4096, 32, 32, 32, 11008, 6.738),
        (5120, 40, 40, 40, 13824, 13.016),
        (8192, 48, 64, 8, 22016, 33.74),
        (8192, 80, 64, 8, 28672, 68.98),
    ],
)
def test_parameter_counts_of_llama_2(
    dim: int, n_layers: int, n_heads: int, n_kv_heads: int, ffn_dim: int, billions: float
) -> None:
    config = ModelConfig(
        dim=dim, n_layers=n_layers, n_heads=n_heads, n_kv_heads=n_kv_heads, vocab_size=32000, ffn_dim=ffn_dim
    )
    assert config.n_parameters / 1e9 == pytest.approx(billions, abs=0.005)


@pytest.mark.parametrize("tied", [False, True])
def test_the_counted_parameters_are_the_model_s(tied: bool) -> None:
    config = ModelConfig(**TINY.to_json() | {"tied_embeddings": tied})
    assert config.n_parameters == sum(parameter.numel() for parameter in Transformer(config).parameters())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_heads": 3}, "multiple of n_heads"),
        ({"n_kv_heads": 3}, "multiple of n_kv_heads"),
        ({"dim": 36, "n_heads": 12, "n_kv_heads": 12}, "must be even"),
    ],
)
def test_shapes_that_cannot_be_are_refused(wrong: dict[str, int], said: str) -> None:
    given = {name: value for name, value in TINY.to_json().items() if name != "head_dim"}
    with pytest.raises(ConfigError, match=said):
        ModelConfig(**given | wrong)


def test_initial_weights_follow_the_seed_and_the_scale() -> None:
    config = ModelConfig(dim=64, n_layers=8, n_heads=4, n_kv_heads=2, vocab_size=500, ffn_dim=128)
    state, again, other = (new_model(config, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(state[name], again[name]) for name in state)
    for name, tensor in state.items():
        if tensor.dim() == 1:
            assert torch.equal(tensor, torch.ones_like(tensor))
            continue
        assert not torch.equal(tensor, other[name])
        expected = 0.02 / 4 if name.endswith(("wo.weight", "w2.weight")) else 0.02
        assert tensor.std().item() == pytest.approx(expected, rel=0.08), name


def test_an_untrained_model_knows_nothing() -> None:
    """Cross entropy of a fresh model is that of a uniform guess."""
    model = new_model(TINY, 0)
    tokens = torch.randint(0, 50, (8, 32), generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(np.log(50), abs=0.05)


def test_a_scalar_head_starts_at_zero_and_stays_in_float32() -> None:
    head = ScalarHead(16, bias=True)
    hidden = torch.randn(2, 5, 16)
    assert torch.equal(head(hidden), torch.zeros(2, 5))
    with torch.no_grad():
        head.weight.copy_(torch.arange(16.0))
        assert head.bias is not None
        head.bias.fill_(3.0)
    expected = hidden @ torch.arange(16.0) + 3.0
    torch.testing.assert_close(head(hidden), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(hidden), head(hidden).float())
        torch.testing.assert_close(head(hidden), expected)
