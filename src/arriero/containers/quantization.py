"""GGUF's tensor types and their exact float32 values.

A quantised row is a sequence of blocks; each block holds its scale(s) and packed integers. The arithmetic (float32,
in this order) is llama.cpp's, so the values are bit for bit those of the `gguf` package.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_CHUNK_BYTES = 1 << 22  # dequantise so much at once: the intermediates stay small and in cache


@dataclass(frozen=True)
class TensorType:
    """`block_bytes` bytes hold `block_size` numbers; `dequantize`: (blocks, block_bytes) -> (blocks, block_size)."""

    name: str
    block_size: int
    block_bytes: int
    dequantize: Callable[[Bytes], Floats]


def _half(blocks: Bytes, start: int) -> Floats:
    """The float16 at byte `start` of each block, as (blocks, 1) float32."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view(np.float16).astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """(blocks, n) bytes -> (blocks, 2n): all low halves, then all high halves."""
    return np.concatenate([packed & np.uint8(0x0F), packed >> np.uint8(4)], axis=1)


def _f32(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view(np.float32)


def _f16(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view(np.float16).astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    return (np.ascontiguousarray(blocks).view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def _q4_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.int8) - np.int8(8)).astype(np.float32)


def _q4_1(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8).astype(np.float32)


def _q6_k(blocks: Bytes) -> Floats:
    """Low four bits (128 bytes), high two bits (64), sixteen int8 scales, one float16 scale of the scales."""
    n = len(blocks)
    scale = _half(blocks, 208) * np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    low = blocks[:, :128].reshape(n, 2, 1, 64) >> np.array([0, 4], np.uint8).reshape(1, 1, 2, 1)
    high = blocks[:, 128:192].reshape(n, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    bits = (low & np.uint8(0x0F)).reshape(n, 256) | ((high & np.uint8(0x03)) << np.uint8(4)).reshape(n, 256)
    values = (bits.astype(np.int8) - np.int8(32)).astype(np.float32)
    return (scale.reshape(n, 16, 1) * values.reshape(n, 16, 16)).reshape(n, 256)


# Indexed by GGUF's type number.
TENSOR_TYPES = {
    0: TensorType("F32", 1, 4, _f32),
    1: TensorType("F16", 1, 2, _f16),
    2: TensorType("Q4_0", 32, 18, _q4_0),
    3: TensorType("Q4_1", 32, 20, _q4_1),
    8: TensorType("Q8_0", 32, 34, _q8_0),
    14: TensorType("Q6_K", 256, 210, _q6_k),
    30: TensorType("BF16", 1, 2, _bf16),
}


def dequantize(data: Bytes, kind: TensorType) -> Floats:
    """The float32 numbers, flat, in a new array. `data`: one-dimensional, a whole number of blocks."""
    assert data.ndim == 1
    assert len(data) % kind.block_bytes == 0
    blocks = data.reshape(-1, kind.block_bytes)
    out = np.empty((len(blocks), kind.block_size), dtype=np.float32)
    step = max(1, _CHUNK_BYTES // kind.block_bytes)
    for start in range(0, len(blocks), step):
        out[start : start + step] = kind.dequantize(blocks[start : start + step])
    return out.reshape(-1)
