"""The SwiGLU feed-forward (arXiv:2002.05202): w2(silu(w1 x) * w3 x)."""

import torch.nn.functional as F
from torch import Tensor, nn

from arriero.model.config import ModelConfig
from arriero.model.linear import Linear


class FeedForward(nn.Module):
    """Gate `w1`, value `w3`, output `w2`."""

    w1: Linear
    w2: Linear
    w3: Linear

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = Linear(config.dim, config.ffn_dim)
        self.w2 = Linear(config.ffn_dim, config.dim)
        self.w3 = Linear(config.dim, config.ffn_dim)

    def forward(self, x_BTM: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x_BTM)) * self.w3(x_BTM))  # type: ignore[no-any-return]
