"""A linear layer without bias, and the same with a low-rank adapter on a frozen weight."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Module):
    """x @ weight.T. The weight starts at zero: `init_weights` or a loader fills it."""

    weight: nn.Parameter

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_features, in_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class LoraLinear(Linear):
    """Linear plus `scale` * B(A(x)) while `enabled` (LoRA, arXiv:2106.09685). A is (rank, in), B is (out, rank)."""

    lora_a: nn.Parameter
    lora_b: nn.Parameter

    def __init__(self, base: Linear, lora_a: Tensor, lora_b: Tensor, scale: float) -> None:
        nn.Module.__init__(self)
        self.weight = base.weight
        self.lora_a = nn.Parameter(lora_a)
        self.lora_b = nn.Parameter(lora_b)
        self.scale = scale
        self.enabled = True

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight)
        if not self.enabled:
            return y
        return y + F.linear(F.linear(x, self.lora_a), self.lora_b) * self.scale

    def merged(self) -> Tensor:
        """weight + scale * B A, computed in float32, in the weight's dtype."""
        merged = adapted(self.weight.detach(), self.lora_a.detach(), self.lora_b.detach(), self.scale)
        return merged.to(self.weight.dtype)


def adapted(weight: Tensor, lora_a: Tensor, lora_b: Tensor, scale: float) -> Tensor:
    """weight + scale * B A in float32, in place of a copy: no other matrix of the weight's size is in memory."""
    return weight.to(torch.float32, copy=True).addmm_(lora_b.float(), lora_a.float(), alpha=scale)
