"""Rotary position embedding on interleaved pairs, as in Llama (RoFormer, arXiv:2104.09864, section 3.2.2).

Shapes: B rows, T tokens, H heads, D width of a head. Hugging Face rotates halves instead of pairs: its query and key
weights are in another order (see `formats/huggingface.py`).
"""

import math

import torch
from torch import Tensor

from arriero.model.config import ModelConfig, RopeScaling


def rope_frequencies(config: ModelConfig, device: torch.device | None = None) -> Tensor:
    """(D / 2,) radians a token of each pair, in float32, scaled as the config says."""
    exponents = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32) / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "llama3":
        kept = _llama3_kept(frequencies, scaling)
    else:
        kept = _yarn_kept(config, scaling, frequencies.device)
    return kept * frequencies + (1 - kept) * frequencies / scaling.factor


def _llama3_kept(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """The share of each frequency that stays: 1 for short waves, 0 for long ones, a ramp between."""
    waves = scaling.original_max_seq_len * frequencies / (2 * math.pi)  # in the original context
    return ((waves - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)).clamp(0, 1)


def _yarn_kept(config: ModelConfig, scaling: RopeScaling, device: torch.device) -> Tensor:
    """The same by YaRN (arXiv:2309.00071, section 3.2): the ramp is linear in the pair's index."""

    def pair(turns: float) -> float:
        """The index of the pair that turns so often in the original context."""
        waves = scaling.original_max_seq_len / (2 * math.pi * turns)
        return config.head_dim * math.log(waves) / (2 * math.log(config.rope_theta))

    low, high = pair(scaling.beta_fast), pair(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.head_dim - 1)
    if low == high:
        high += 0.001  # as Hugging Face does: no division by zero
    pairs = torch.arange(config.head_dim // 2, dtype=torch.float32, device=device)
    return 1 - ((pairs - low) / (high - low)).clamp(0, 1)


def rope_angles(positions: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """(cos, sin) in float32, each (..., T, 1, D / 2), of `positions` (..., T): one angle a pair, for all heads.

    YaRN's attention factor is in both, so that queries and keys are multiplied by it as they are turned.
    """
    angles = positions.float()[..., None, None] * rope_frequencies(config, positions.device)
    factor = 1.0 if config.rope_scaling is None else config.rope_scaling.attention_factor
    return angles.cos() * factor, angles.sin() * factor


def apply_rope(x_BTHD: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates each pair (x[2i], x[2i+1]) by its angle. Computed in float32, returned in the dtype of `x`."""
    cos, sin = angles
    pairs = x_BTHD.float().reshape(*x_BTHD.shape[:-1], -1, 2)
    if torch.compiler.is_compiling():  # the compiler generates no code for complex numbers
        even, odd = pairs.unbind(-1)
        rotated = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    else:  # on a CPU three to ten times faster than the strided form above
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin))
    return rotated.flatten(-2).to(x_BTHD.dtype)
