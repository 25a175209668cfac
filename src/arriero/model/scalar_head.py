"""A head that gives one number a token: a reward, the logit of "safe", or a value.

Source: Llama 2 (arXiv:2307.09288) section 3.2.2: the language-model head gives way to a scalar head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ScalarHead(nn.Module):
    """hidden (B, T, D) -> scores (B, T), in float32. Starts at zero: every score is 0 before training.

    A value head has a bias, the mean return. A reward model's has none, as in `LlamaForSequenceClassification`: scores
    are compared, and what is constant cancels.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, dim: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(())) if bias else None

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        with torch.autocast(hidden_BTD.device.type, enabled=False):
            scores = F.linear(hidden_BTD.float(), self.weight.float()[None]).squeeze(-1)
            return scores if self.bias is None else scores + self.bias.float()
