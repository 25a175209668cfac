"""Rotary position embedding on interleaved pairs, as in Llama (RoFormer, arXiv:2104.09864, section 3.2.2).

Shapes: B rows, T tokens, H heads, D width of a head. Hugging Face rotates halves instead of pairs: its query and key
weights are in another order (see `formats/huggingface.py`).
"""

import torch
from torch import Tensor


def rope_angles(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """(cos, sin) in float32, each (..., T, 1, D / 2), of `positions` (..., T): one angle a pair, for all heads."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = positions.float()[..., None, None] / theta**exponents
    return angles.cos(), angles.sin()


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
