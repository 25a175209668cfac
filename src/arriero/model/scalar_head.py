"""A head that gives one number a token: a reward, the logit of "safe", or a value.

Source: Llama 2 (arXiv:2307.09288) section 3.2.2: the language-model head gives way to a scalar head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ScalarHead(nn.Module):
    """hidden (B, T, D) -> scores (B, T), in float32. Starts at zero: every score is 0 before training."""

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        with torch.autocast(hidden_BTD.device.type, enabled=False):
            scores = F.linear(hidden_BTD.float(), self.weight.float()[None]).squeeze(-1)
            return scores + self.bias.float()
