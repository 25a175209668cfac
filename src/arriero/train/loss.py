"""The language model's loss: minus the log-likelihood of the counted tokens, summed.

The logits of one chunk of tokens exist at a time, and of counted tokens only: with a vocabulary of 49k the logits of a
batch would outweigh all other activations. The gradient is therefore found in the forward pass, chunk by chunk.
(torch's own `linear_cross_entropy` with chunks was five times slower on the CPU, and sums a bfloat16 loss in bfloat16.)
Shapes: B batch, T time, N counted tokens, D dim, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from arriero.model import Transformer
from arriero.train.packing import TokenBatch
from arriero.train.step import LossSum

# Tokens whose logits exist at once: on a CPU 100 MB in fp32 for a vocabulary of 49k. A GPU adds to the whole weight's
# gradient at every chunk, which took a third of the time with chunks of 512.
CHUNK = {"cpu": 512, "cuda": 2048}


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        device = hidden_ND.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight_VD.dtype
        need_hidden, need_weight, _ = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden_ND) if need_hidden else None
        grad_weight = torch.zeros_like(weight_VD) if need_weight else None
        # At least fp32 for everything between the two matrix products.
        total = torch.zeros((), dtype=torch.promote_types(weight_VD.dtype, torch.float32), device=hidden_ND.device)
        with torch.autocast(device, enabled=False):
            weight = weight_VD.to(low)
            for start in range(0, len(hidden_ND), CHUNK[device]):
                part = slice(start, start + CHUNK[device])
                hidden, target = hidden_ND[part].to(low), targets_N[part, None]
                logprobs = torch.log_softmax((hidden @ weight.T).to(total.dtype), dim=1)
                total -= logprobs.gather(1, target).sum()
                if not (need_hidden or need_weight):
                    continue
                grad = logprobs.exp_()  # softmax minus one at the target, in place
                grad.scatter_add_(1, target, torch.full_like(target, -1, dtype=grad.dtype))
                low_grad = grad.to(low)
                if grad_hidden is not None:
                    grad_hidden[part] = low_grad @ weight
                if grad_weight is not None:
                    grad_weight += low_grad.T @ hidden
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, Tensor | None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grads[0]
        return (
            None if grad_hidden is None else grad_hidden * scale,
            None if grad_weight is None else grad_weight * scale,
            None,
        )


def cross_entropy_sum(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Sum over N of -log softmax(hidden weight^T)[target], in fp32 or better; matrix products in autocast's dtype.

    Equals `F.cross_entropy(F.linear(hidden, weight), targets, reduction="sum")` with one chunk of logits in memory.
    Differentiable once, in `hidden_ND` and `weight_VD`. Raises ValueError unless the shapes are as named.
    """
    if hidden_ND.ndim != 2 or targets_N.shape != hidden_ND.shape[:1] or weight_VD.shape[1:] != hidden_ND.shape[1:]:
        raise ValueError(
            f"expected hidden (N, D), weight (V, D) and targets (N,), got {tuple(hidden_ND.shape)}, "
            f"{tuple(weight_VD.shape)} and {tuple(targets_N.shape)}"
        )
    return _LinearCrossEntropy.apply(hidden_ND, weight_VD, targets_N)  # type: ignore[no-any-return,no-untyped-call]


def language_model_loss(model: Transformer, batch: TokenBatch) -> LossSum:
    """The loss of the batch's counted targets; logits are computed for those alone."""
    hidden_BTD = model.hidden(batch.tokens, attention_mask=batch.attention_mask)
    weight = model.tok_embeddings.weight if model.output is None else model.output.weight
    total = cross_entropy_sum(hidden_BTD[batch.loss_mask], weight, batch.targets[batch.loss_mask])
    return LossSum(total, int(batch.loss_mask.sum()), tokens=batch.trained_tokens)
