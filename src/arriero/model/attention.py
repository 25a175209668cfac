"""Grouped-query attention with rotary positions. The KV cache is an argument.

Shapes: B rows, T new tokens, S keys attended to, H query heads, K key/value heads, G = H / K, D width of a head,
M = dim (width of the residual stream).
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arriero.model.config import ModelConfig
from arriero.model.linear import Linear
from arriero.model.rope import apply_rope


class Cache(Protocol):
    """What a model asks of a KV cache; who owns it and how it is laid out is not the model's affair."""

    @property
    def positions(self) -> Tensor:
        """Position of each new token, (T,) or (B, T), long."""

    def append(self, layer: int, keys_BKTD: Tensor, values_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the new tokens' keys and values; returns all to attend to, (B, K, S, D) each."""


# On a CPU in bfloat16, torch's fused kernel loses to plain products over groups: T = 1 by a factor of ten, T = 96
# with gradients by three; at T = 256 they draw, and beyond it the T x T scores cost too much memory.
PLAIN_UP_TO = 256


def attend_causal(q_BTHD: Tensor, k_BTKD: Tensor, v_BTKD: Tensor) -> Tensor:
    """Every token sees itself and those before it. Returns (B, T, H, D)."""
    T = q_BTHD.shape[1]
    if q_BTHD.device.type == "cpu" and q_BTHD.dtype == torch.bfloat16 and T <= PLAIN_UP_TO:
        bias = torch.full((T, T), float("-inf"), dtype=q_BTHD.dtype).triu(1)
        return attend_masked(q_BTHD, k_BTKD.transpose(1, 2), v_BTKD.transpose(1, 2), bias[None, None])
    return _attend_fused(q_BTHD, k_BTKD.transpose(1, 2), v_BTKD.transpose(1, 2), None)


def attend_masked(q_BTHD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, bias: Tensor) -> Tensor:
    """Attention with an additive `bias` (B or 1, 1, T, S). Returns (B, T, H, D). Softmax is in float32."""
    B, T, H, D = q_BTHD.shape
    if q_BTHD.is_cuda and T > 1:
        return _attend_fused(q_BTHD, k_BKSD, v_BKSD, bias.to(q_BTHD.dtype))
    # Plain products over groups.
    K = k_BKSD.shape[1]
    q = (q_BTHD * (1 / math.sqrt(D))).view(B, T, K, H // K, D).permute(0, 2, 3, 1, 4).reshape(B, K, -1, D)
    scores = torch.matmul(q, k_BKSD.transpose(-1, -2)).view(B, K, H // K, T, -1)
    weights = torch.softmax(scores + bias[:, :, None], dim=-1, dtype=torch.float32).to(v_BKSD.dtype)
    mixed = torch.matmul(weights.view(B, K, (H // K) * T, -1), v_BKSD)
    return mixed.view(B, K, H // K, T, D).permute(0, 3, 1, 2, 4).reshape(B, T, H, D)


def _attend_fused(q_BTHD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, bias: Tensor | None) -> Tensor:
    """Attention by torch's fused kernels, causal without a `bias`. Returns (B, T, H, D)."""
    q, k, v = q_BTHD.transpose(1, 2), k_BKSD, v_BKSD
    groups = q.shape[1] // k.shape[1]
    if groups > 1 and q.is_cuda and (bias is not None or q.dtype == torch.float32):
        # Kernels for float32, and reproducible ones with a bias, know no groups: torch would hold all scores, 20 times
        # the memory at T = 2048.
        k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
        groups = 1
    causal = bias is None
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal, enable_gqa=groups > 1)
    return y.transpose(1, 2)


class Attention(nn.Module):
    """Queries from `wq`, grouped keys and values from `wk` and `wv`, output through `wo`."""

    wq: Linear
    wk: Linear
    wv: Linear
    wo: Linear

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads, self.n_kv_heads, self.head_dim = config.n_heads, config.n_kv_heads, config.head_dim
        self.wq = Linear(config.dim, config.n_heads * config.head_dim)
        self.wk = Linear(config.dim, config.n_kv_heads * config.head_dim)
        self.wv = Linear(config.dim, config.n_kv_heads * config.head_dim)
        self.wo = Linear(config.n_heads * config.head_dim, config.dim)

    def forward(
        self, x_BTM: Tensor, angles: tuple[Tensor, Tensor], cache: Cache | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """`bias` is added to the scores, (B or 1, 1, T, S); None means causal among the T tokens given."""
        heads = (*x_BTM.shape[:-1], -1, self.head_dim)
        q = apply_rope(self.wq(x_BTM).view(heads), angles)
        k = apply_rope(self.wk(x_BTM).view(heads), angles)
        v = self.wv(x_BTM).view(heads)
        keys, values = k.transpose(1, 2), v.transpose(1, 2)
        if cache is not None:
            keys, values = cache.append(self.layer, keys, values)
        if bias is None:
            y = attend_causal(q, k, v)
        else:
            y = attend_masked(q, keys, values, bias)
        return self.wo(y.flatten(-2))  # type: ignore[no-any-return]
