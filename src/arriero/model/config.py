"""The shape of a Llama, in Llama's own names, and of its adapters."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from arriero.config import config, resolved, setting
from arriero.errors import ConfigError


def llama_ffn_dim(dim: int, multiple_of: int, ffn_dim_multiplier: float) -> int:
    """Meta's rule for the feed-forward's width: two thirds of 4 dim, times the multiplier, rounded up."""
    hidden = int(ffn_dim_multiplier * int(8 * dim / 3))
    return -(-hidden // multiple_of) * multiple_of


@config
class RopeScaling:
    """How rotary positions reach beyond the context of pretraining; names and formulas as in Hugging Face configs.

    linear: every wavelength times `factor` (arXiv:2306.15595). llama3: only those of more than
    `original_max_seq_len / low_freq_factor` tokens, with a ramp up to `/ high_freq_factor` (Llama 3.1). yarn: only
    those that turn less than `beta_slow` times in the original context, with a ramp up to `beta_fast`, and queries and
    keys scaled by `attention_factor` (arXiv:2309.00071). Not in the paper, whose context is that of pretraining.
    """

    kind: Literal["linear", "llama3", "yarn"] = setting(..., "the formula")
    factor: float = setting(..., "by how much the context grows", ge=1)
    original_max_seq_len: int = setting(4096, "context of pretraining (llama3, yarn)", unit="tokens", ge=1)
    low_freq_factor: float = setting(1.0, "wavelengths from context / this on are scaled whole (llama3)", gt=0)
    high_freq_factor: float = setting(4.0, "wavelengths up to context / this stay (llama3)", gt=0)
    beta_fast: float = setting(32.0, "what turns more often in the original context stays (yarn)", gt=0)
    beta_slow: float = setting(1.0, "what turns less often in the original context is scaled whole (yarn)", gt=0)
    attention_factor: float = setting(
        lambda given: 0.1 * math.log(given["factor"]) + 1.0 if given["kind"] == "yarn" else 1.0,
        "what rotated queries and keys are multiplied by (yarn: 0.1 ln(factor) + 1)",
        gt=0,
    )
    truncate: bool = setting(True, "whether the ramp's ends are rounded to whole pairs (yarn)")

    def __post_init__(self) -> None:
        if self.kind == "llama3" and self.high_freq_factor <= self.low_freq_factor:
            raise ConfigError("rope_scaling: high_freq_factor must be larger than low_freq_factor.")


def _head_dim(given: Mapping[str, Any]) -> int:
    if given["dim"] % given["n_heads"]:
        raise ConfigError(f"dim ({given['dim']}) must be a multiple of n_heads ({given['n_heads']}), or set head_dim.")
    return int(given["dim"] // given["n_heads"])


@config
class ModelShape:
    """A decoder of Llama 2's kind (arXiv:2307.09288, section 2.2): RMSNorm, SwiGLU, RoPE, grouped-query attention."""

    dim: int = setting(..., "width of the residual stream", ge=2)
    n_layers: int = setting(..., "number of blocks", ge=1)
    n_heads: int = setting(..., "query heads", ge=1)
    n_kv_heads: int = setting(..., "key and value heads; as many as query heads means no grouping", ge=1)
    head_dim: int = setting(_head_dim, "width of a head (Llama: dim / n_heads)", ge=2)
    multiple_of: int = setting(256, "a derived ffn_dim is rounded up to a multiple of this", ge=1)
    ffn_dim_multiplier: float = setting(1.0, "a derived ffn_dim is 8/3 dim times this", gt=0)
    ffn_dim: int = setting(
        lambda given: llama_ffn_dim(given["dim"], given["multiple_of"], given["ffn_dim_multiplier"]),
        "width of the feed-forward's hidden layer",
        ge=1,
    )
    norm_eps: float = setting(1e-5, "added to the mean square in RMSNorm", gt=0)
    rope_theta: float = setting(10000.0, "base of the rotary embedding's wavelengths", gt=0)
    rope_scaling: RopeScaling | None = setting(None, "rotary positions beyond the context of pretraining")
    tied_embeddings: bool = setting(False, "whether the output layer is the embedding matrix (paper: no)")

    def __post_init__(self) -> None:
        if self.head_dim % 2:
            raise ConfigError(f"head_dim ({self.head_dim}) must be even: rotary positions turn pairs.")
        if self.n_heads % self.n_kv_heads:
            raise ConfigError(f"n_heads ({self.n_heads}) must be a multiple of n_kv_heads ({self.n_kv_heads}).")
        if self.rope_scaling is not None and self.rope_scaling.kind == "yarn" and self.rope_theta <= 1:
            raise ConfigError(f"rope_theta ({self.rope_theta}) must be larger than 1: yarn divides by its logarithm.")


@config
class ModelConfig(ModelShape):
    """A shape with the vocabulary and the context that a model of it has."""

    vocab_size: int = setting(..., "entries of the vocabulary", unit="tokens", ge=1)
    max_seq_len: int = setting(4096, "longest sequence", unit="tokens", ge=1)

    @property
    def n_parameters(self) -> int:
        """Weights of the model, norms included; a tied output layer counts once."""
        block, outer = block_shapes(self).values(), outer_shapes(self).values()
        return self.n_layers * sum(map(math.prod, block)) + sum(map(math.prod, outer))

    def to_json(self) -> dict[str, Any]:
        return resolved(self)


def block_shapes(config: ModelShape) -> dict[str, tuple[int, ...]]:
    """The shape of every weight of a block by its name, without the block's number and the ending `.weight`."""
    dim, ffn_dim = config.dim, config.ffn_dim
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    return {
        "attention_norm": (dim,),
        "attention.wq": (q, dim),
        "attention.wk": (kv, dim),
        "attention.wv": (kv, dim),
        "attention.wo": (dim, q),
        "ffn_norm": (dim,),
        "feed_forward.w1": (ffn_dim, dim),
        "feed_forward.w2": (dim, ffn_dim),
        "feed_forward.w3": (ffn_dim, dim),
    }


def outer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every weight outside the blocks."""
    embedding = (config.vocab_size, config.dim)
    output = {} if config.tied_embeddings else {"output.weight": embedding}
    return {"tok_embeddings.weight": embedding, "norm.weight": (config.dim,)} | output


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every weight of a model by its name, without a model."""
    block = block_shapes(config)
    layers = {
        f"layers.{layer}.{name}.weight": shape for layer in range(config.n_layers) for name, shape in block.items()
    }
    return outer_shapes(config) | layers


LORA_TARGETS = ("wq", "wk", "wv", "wo", "w1", "w2", "w3")


@config
class LoraConfig:
    """Low-rank adapters on the chosen linear layers of every block. Not in the paper, which tunes all weights."""

    rank: int = setting(16, "rank of each adapter", ge=1)
    alpha: float = setting(32.0, "an adapter's output is scaled by alpha / rank", gt=0)
    targets: tuple[Literal["wq", "wk", "wv", "wo", "w1", "w2", "w3"], ...] = setting(
        LORA_TARGETS, "the linear layers that get an adapter"
    )
