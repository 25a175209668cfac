"""Llama: token embeddings, pre-norm blocks of attention and feed-forward, a final norm, an output layer.

Source: Llama 2 (arXiv:2307.09288) section 2.2. Parameter names are Meta's, so that its weights load without a map.
Shapes: B rows, T new tokens, S keys attended to, D = dim, V = vocab_size.
The residual stream is float32 whatever the weights are: in bfloat16 its rounding doubles the distance (KL) of the
predictions from the float32 model's, and float32 costs no time.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arriero.model.attention import Attention, Cache
from arriero.model.config import LoraConfig, ModelConfig
from arriero.model.feed_forward import FeedForward
from arriero.model.linear import Linear
from arriero.model.rope import rope_angles


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, over the last dimension: in float32, returned in the weight's dtype."""

    weight: nn.Parameter

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        normed = F.rms_norm(x, self.weight.shape, self.weight.float(), self.eps)
        return normed.to(self.weight.dtype)


class Block(nn.Module):
    """One layer: each half reads the normed residual stream and adds to it."""

    attention: Attention
    feed_forward: FeedForward
    attention_norm: RMSNorm
    ffn_norm: RMSNorm

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention = Attention(config, layer)
        self.feed_forward = FeedForward(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(self, x_BTD: Tensor, angles: tuple[Tensor, Tensor], cache: Cache | None, bias: Tensor | None) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), angles, cache, bias)
        return x_BTD + self.feed_forward(self.ffn_norm(x_BTD))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A decoder. Weights are zero (norms one) until `init_weights` or a loader fills them."""

    tok_embeddings: nn.Embedding
    layers: nn.ModuleList
    norm: RMSNorm
    output: Linear | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.lora: LoraConfig | None = None
        self.tok_embeddings = nn.Embedding(
            config.vocab_size, config.dim, _weight=torch.zeros(config.vocab_size, config.dim)
        )
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = None if config.tied_embeddings else Linear(config.dim, config.vocab_size)

    @property
    def dtype(self) -> torch.dtype:
        return self.tok_embeddings.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.tok_embeddings.weight.device

    def hidden(self, tokens_BT: Tensor, *, cache: Cache | None = None, attention_mask: Tensor | None = None) -> Tensor:
        """(B, T, D) after the final norm.

        `attention_mask` is bool, (B or 1, 1, T, S), True where a token may attend; None means causal among the T
        tokens given. Rows of unequal length are padded at the right: causal attention then needs no mask.
        """
        positions = torch.arange(tokens_BT.shape[1], device=tokens_BT.device) if cache is None else cache.positions
        angles = rope_angles(positions, self.config)
        x_BTD = self.tok_embeddings(tokens_BT).float()
        bias = None
        if attention_mask is not None:
            bias = torch.zeros(attention_mask.shape, dtype=self.dtype, device=x_BTD.device)
            bias = bias.masked_fill(~attention_mask, float("-inf"))
        for block in self.layers:
            x_BTD = block(x_BTD, angles, cache, bias)
        return self.norm(x_BTD)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) of (..., D). Apart from `hidden` so that losses compute logits only where they need them."""
        weight = self.tok_embeddings.weight if self.output is None else self.output.weight
        return F.linear(hidden, weight)

    def forward(self, tokens_BT: Tensor, *, attention_mask: Tensor | None = None) -> Tensor:
        """(B, T, V) logits."""
        return self.logits(self.hidden(tokens_BT, attention_mask=attention_mask))
