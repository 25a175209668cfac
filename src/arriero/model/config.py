"""The shape of a Llama, in Llama's own names, and of its adapters."""

from typing import Any, Literal

from arriero.config import config, resolved, setting
from arriero.errors import ConfigError


@config
class ModelConfig:
    """A decoder of Llama 2's kind (arXiv:2307.09288, section 2.2): RMSNorm, SwiGLU, RoPE, grouped-query attention."""

    dim: int = setting(..., "width of the residual stream", ge=2)
    n_layers: int = setting(..., "number of blocks", ge=1)
    n_heads: int = setting(..., "query heads", ge=1)
    n_kv_heads: int = setting(..., "key and value heads; as many as query heads means no grouping", ge=1)
    vocab_size: int = setting(..., "entries of the vocabulary", unit="tokens", ge=1)
    ffn_dim: int = setting(..., "width of the feed-forward's hidden layer", ge=1)
    norm_eps: float = setting(1e-5, "added to the mean square in RMSNorm", gt=0)
    rope_theta: float = setting(10000.0, "base of the rotary embedding's wavelengths", gt=0)
    max_seq_len: int = setting(4096, "longest sequence", unit="tokens", ge=1)
    tied_embeddings: bool = setting(False, "whether the output layer is the embedding matrix")

    def __post_init__(self) -> None:
        if self.dim % self.n_heads or (self.dim // self.n_heads) % 2:
            raise ConfigError(
                f"dim ({self.dim}) must be an even multiple of n_heads ({self.n_heads}), for heads of even width."
            )
        if self.n_heads % self.n_kv_heads:
            raise ConfigError(f"n_heads ({self.n_heads}) must be a multiple of n_kv_heads ({self.n_kv_heads}).")

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    @property
    def n_parameters(self) -> int:
        """Weights of the model, norms included; a tied output layer counts once."""
        attention = 2 * self.dim * self.head_dim * (self.n_heads + self.n_kv_heads)
        block = attention + 3 * self.dim * self.ffn_dim + 2 * self.dim
        return self.n_layers * block + self.dim + self.vocab_size * self.dim * (1 if self.tied_embeddings else 2)

    def to_json(self) -> dict[str, Any]:
        return resolved(self)


LORA_TARGETS = ("wq", "wk", "wv", "wo", "w1", "w2", "w3")


@config
class LoraConfig:
    """Low-rank adapters on the chosen linear layers of every block. Not in the paper, which tunes all weights."""

    rank: int = setting(16, "rank of each adapter", ge=1)
    alpha: float = setting(32.0, "an adapter's output is scaled by alpha / rank", gt=0)
    targets: tuple[Literal["wq", "wk", "wv", "wo", "w1", "w2", "w3"], ...] = setting(
        LORA_TARGETS, "the linear layers that get an adapter"
    )
