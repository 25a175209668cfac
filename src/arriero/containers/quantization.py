"""GGUF's tensor types: their exact values, and llama.cpp's own rounding for those that are written.

A quantised row is a sequence of blocks; each block holds its scale(s) and packed integers. The arithmetic (float32,
in this order) is llama.cpp's, so values and written bytes are bit for bit those of the `gguf` package.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_CHUNK_NUMBERS = 1 << 20  # converted at once: the intermediates stay small and in cache


@dataclass(frozen=True)
class TensorType:
    """`block_bytes` bytes hold `block_size` numbers of a row.

    dtype: of the tensor that is read
    dequantize: (blocks, block_bytes) -> (blocks, block_size); None where the bytes are the dtype's own
    quantize: the way back; None for a type that is only read
    """

    name: str
    number: int
    block_size: int
    block_bytes: int
    dtype: torch.dtype = torch.float32
    dequantize: Callable[[Bytes], Floats] | None = None
    quantize: Callable[[Floats], Bytes] | None = None

    def n_bytes(self, count: int) -> int:
        """Bytes of `count` numbers, a whole number of blocks."""
        assert count % self.block_size == 0
        return count // self.block_size * self.block_bytes


def _half(blocks: Bytes, start: int) -> Floats:
    """The float16 at byte `start` of each block, as (blocks, 1) float32."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view(np.float16).astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """(blocks, n) bytes -> (blocks, 2n): all low halves, then all high halves."""
    return np.concatenate([packed & np.uint8(0x0F), packed >> np.uint8(4)], axis=1)


def _fifth_bits(packed: Bytes) -> Bytes:
    """(blocks, 4) bytes -> (blocks, 32): each number's bit, the lowest first, at the place of bit 4."""
    return np.unpackbits(packed, axis=1, bitorder="little") << np.uint8(4)


def _q4_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.int8) - np.int8(8)).astype(np.float32)


def _q4_1(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Floats:
    bits = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])
    return _half(blocks, 0) * (bits.astype(np.int8) - np.int8(16)).astype(np.float32)


def _q5_1(blocks: Bytes) -> Floats:
    bits = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return _half(blocks, 0) * bits.astype(np.float32) + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8).astype(np.float32)


def _k_scales(blocks: Bytes) -> tuple[Floats, Floats]:
    """Scale and minimum of the eight groups of a Q4_K or Q5_K block, (blocks, 8, 1) each: six bits in bytes 4 to 16."""
    low, middle, high = (blocks[:, start : start + 4] for start in (4, 8, 12))
    scale = [low & np.uint8(0x3F), high & np.uint8(0x0F) | low >> np.uint8(2) & np.uint8(0x30)]
    least = [middle & np.uint8(0x3F), high >> np.uint8(4) | middle >> np.uint8(2) & np.uint8(0x30)]
    scales = _half(blocks, 0) * np.concatenate(scale, axis=1).astype(np.float32)
    minima = _half(blocks, 2) * np.concatenate(least, axis=1).astype(np.float32)
    return scales[:, :, None], minima[:, :, None]


def _k_nibbles(packed: Bytes) -> Bytes:
    """(blocks, 128) bytes -> (blocks, 8, 32): 32 bytes hold two groups, the low halves first."""
    pairs = packed.reshape(-1, 4, 1, 32) >> np.array([0, 4], np.uint8).reshape(1, 1, 2, 1)
    return (pairs & np.uint8(0x0F)).reshape(-1, 8, 32)


def _q4_k(blocks: Bytes) -> Floats:
    scale, least = _k_scales(blocks)
    return (scale * _k_nibbles(blocks[:, 16:]).astype(np.float32) - least).reshape(-1, 256)


def _q5_k(blocks: Bytes) -> Floats:
    """As Q4_K, with each number's fifth bit in the 32 bytes before: bit g of byte i is that of number i in group g."""
    scale, least = _k_scales(blocks)
    high = blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1) & np.uint8(1)
    bits = _k_nibbles(blocks[:, 48:]) | high << np.uint8(4)
    return (scale * bits.astype(np.float32) - least).reshape(-1, 256)


def _q6_k(blocks: Bytes) -> Floats:
    """Low four bits (128 bytes), high two bits (64), sixteen int8 scales, one float16 scale of the scales."""
    n = len(blocks)
    scale = _half(blocks, 208) * np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    low = blocks[:, :128].reshape(n, 2, 1, 64) >> np.array([0, 4], np.uint8).reshape(1, 1, 2, 1)
    high = blocks[:, 128:192].reshape(n, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    bits = (low & np.uint8(0x0F)).reshape(n, 256) | ((high & np.uint8(0x03)) << np.uint8(4)).reshape(n, 256)
    values = (bits.astype(np.int8) - np.int8(32)).astype(np.float32)
    return (scale.reshape(n, 16, 1) * values.reshape(n, 16, 16)).reshape(n, 256)


def _inverse(scale: Floats) -> Floats:
    """1 / scale, and 0 where that is no float32: such a block's scale is 0 in float16, and its numbers read as 0."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / scale
    return np.where(np.isfinite(inverse), inverse, np.float32(0))


def _scale_bytes(scale: Floats) -> Bytes:
    with np.errstate(over="ignore"):  # the caller checks
        return scale.astype(np.float16).view(np.uint8)


def _to_q8_0(blocks: Floats) -> Bytes:
    """The largest magnitude becomes 127; halves round away from zero, as C's roundf (numpy's round does not)."""
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    scaled = blocks * _inverse(scale)
    whole = np.floor(np.abs(scaled))
    rounded = np.copysign(whole + np.floor(2 * (np.abs(scaled) - whole)), scaled)
    return np.concatenate([_scale_bytes(scale), rounded.astype(np.int8).view(np.uint8)], axis=1)


def _to_q4_0(blocks: Floats) -> Bytes:
    """The first number of largest magnitude becomes -8, whatever its sign."""
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
    scale = extreme / np.float32(-8)
    bits = (blocks * _inverse(scale) + np.float32(8.5)).astype(np.uint8).clip(0, 15)
    return np.concatenate([_scale_bytes(scale), bits[:, :16] | bits[:, 16:] << np.uint8(4)], axis=1)


F32 = TensorType("F32", 0, 1, 4)
F16 = TensorType("F16", 1, 1, 2, dtype=torch.float16)
Q4_0 = TensorType("Q4_0", 2, 32, 18, dequantize=_q4_0, quantize=_to_q4_0)
Q8_0 = TensorType("Q8_0", 8, 32, 34, dequantize=_q8_0, quantize=_to_q8_0)
# By GGUF's type number.
TENSOR_TYPES = {
    kind.number: kind
    for kind in (
        F32,
        F16,
        Q4_0,
        TensorType("Q4_1", 3, 32, 20, dequantize=_q4_1),
        TensorType("Q5_0", 6, 32, 22, dequantize=_q5_0),
        TensorType("Q5_1", 7, 32, 24, dequantize=_q5_1),
        Q8_0,
        TensorType("Q4_K", 12, 256, 144, dequantize=_q4_k),
        TensorType("Q5_K", 13, 256, 176, dequantize=_q5_k),
        TensorType("Q6_K", 14, 256, 210, dequantize=_q6_k),
        TensorType("BF16", 30, 1, 2, dtype=torch.bfloat16),
    )
}


def decoded(data: Bytes, kind: TensorType) -> Tensor:
    """The numbers, flat, in the type's dtype: a view of `data` (writable, a whole number of blocks) or a new tensor."""
    assert data.ndim == 1
    assert len(data) % kind.block_bytes == 0
    if kind.dequantize is None:
        return torch.from_numpy(data).view(kind.dtype)
    blocks = data.reshape(-1, kind.block_bytes)
    out = np.empty((len(blocks), kind.block_size), dtype=np.float32)
    step = max(1, _CHUNK_NUMBERS // kind.block_size)
    for start in range(0, len(blocks), step):
        out[start : start + step] = kind.dequantize(blocks[start : start + step])
    return torch.from_numpy(out.reshape(-1))


def encoded(tensor: Tensor, kind: TensorType) -> Iterator[Bytes]:
    """The tensor's bytes in a type, some at a time. Raises ValueError on a number that the type has no room for.

    Rows must be a whole number of blocks. float32 takes every number, NaN included.
    """
    assert tensor.shape[-1] % kind.block_size == 0
    flat = tensor.contiguous().reshape(-1)
    for start in range(0, len(flat), _CHUNK_NUMBERS):
        numbers = flat[start : start + _CHUNK_NUMBERS]
        if kind is F32:
            yield numbers.float().view(torch.uint8).numpy()
        elif kind is F16:
            halves = numbers.to(torch.float16)
            if not halves.isfinite().all():
                raise ValueError("a number is not finite or beyond float16's 65504")
            yield halves.view(torch.uint8).numpy()
        else:
            assert kind.quantize is not None
            blocks = kind.quantize(_finite(numbers.float().numpy()).reshape(-1, kind.block_size))
            if not np.isfinite(_half(blocks, 0)).all():
                raise ValueError("a number is too large for the block's float16 scale")
            yield blocks.reshape(-1)


def _finite(numbers: Floats) -> Floats:
    if not np.isfinite(numbers).all():
        raise ValueError("a number is not finite")
    return numbers
