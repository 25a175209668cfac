"""Choosing the next token: greedy, by temperature, or from the nucleus (arXiv:1904.09751).

Every row draws its own numbers, from (seed, index of its prompt, position), so a result depends on no other row.
Shapes: B rows, V vocabulary.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from arriero.config import config, setting

# Entries whose weights are added before the search goes inside them.
BLOCK = 256
# Rows whose probabilities are held at once: 64 rows of 49,152 in float32 would be fresh memory at every step, and its
# page faults took ten times as long as the softmax itself.
ROWS = 16
# The likeliest tokens among which a nucleus is looked for, before all are sorted.
CANDIDATES = (64, 1024)


@config
class SamplingConfig:
    """How answers are drawn. Llama 2's own defaults for chat are temperature 0.6 and top-p 0.9."""

    temperature: float = setting(1.0, "divides the logits; 0 takes the likeliest token", ge=0)
    top_p: float = setting(1.0, "keep the fewest likeliest tokens whose probabilities add up to this", gt=0, le=1)
    max_new_tokens: int = setting(64, "longest answer", unit="tokens", ge=1)


def row_uniforms(seed: int, index: int, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1), a pure function of (seed, index): number t serves the row's token t."""
    key = np.array([seed % 2**64, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def choose(logits_BV: Tensor, uniforms_B: Tensor, sampling: SamplingConfig) -> Tensor:
    """The next token of each row, (B,) long. `uniforms_B` is float64 in [0, 1); unused at temperature 0."""
    parts = zip(torch.split(logits_BV, ROWS), torch.split(uniforms_B, ROWS), strict=True)
    return torch.cat([_choose(logits.float(), uniforms, sampling) for logits, uniforms in parts])


def _choose(logits_BV: Tensor, uniforms_B: Tensor, sampling: SamplingConfig) -> Tensor:
    if sampling.temperature == 0:
        return logits_BV.argmax(dim=-1)
    probabilities_BV = torch.softmax(logits_BV / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        weights, tokens = nucleus(probabilities_BV, sampling.top_p)
        return tokens.gather(1, draw(weights, uniforms_B)[:, None])[:, 0]
    return draw(probabilities_BV, uniforms_B)


def nucleus(probabilities_BV: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """(weights, tokens), likeliest first: the fewest tokens that reach `top_p`; those beyond them have weight zero."""
    V = probabilities_BV.shape[1]
    for candidates in CANDIDATES:
        weights, tokens = probabilities_BV.topk(min(candidates, V), dim=-1)
        if bool((weights.sum(-1, dtype=torch.float64) >= top_p).all()):
            break
    else:
        weights, tokens = probabilities_BV.sort(dim=-1, descending=True, stable=True)
    before = weights.double().cumsum(-1) - weights
    return weights.masked_fill(before >= top_p, 0.0), tokens


def draw(weights_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """The entry at which the running sum of a row's weights passes `uniform` of their total, (B,) long.

    Weights need not add up to one. First the block is found, then the entry in it: a running sum over the whole
    vocabulary would take longer than the softmax.
    """
    V = weights_BV.shape[1]
    blocks_BNK = F.pad(weights_BV, (0, -V % BLOCK)).view(len(weights_BV), -1, BLOCK)
    sums_BN = blocks_BNK.sum(-1).double().cumsum(-1)
    target_B1 = uniforms_B[:, None] * sums_BN[:, -1:]
    block_B1 = _passed(sums_BN, target_B1)
    before_B1 = torch.where(block_B1 > 0, sums_BN.gather(1, (block_B1 - 1).clamp(min=0)), 0.0)
    inside_BK = blocks_BNK.gather(1, block_B1[:, :, None].expand(-1, -1, BLOCK))[:, 0].double().cumsum(-1)
    return (block_B1 * BLOCK + _passed(inside_BK, target_B1 - before_B1))[:, 0]


def _passed(sums_BN: Tensor, target_B1: Tensor) -> Tensor:
    """First entry whose running sum is above the target; at most the last one with weight, whatever rounding did."""
    last_B1 = (sums_BN < sums_BN[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum((sums_BN <= target_B1).sum(-1, keepdim=True), last_B1)
