"""Reads llama2.c's model files (`.bin`): a header of seven numbers, then all weights as float32, memory-mapped.

The header says how long the file must be, to the byte, before anything is read.
Source: `export.py` (legacy_export, version1_export) and `run.c` of https://github.com/karpathy/llama2.c.
"""

import struct
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from arriero.containers.lazy import LazyTensor
from arriero.errors import InputError

_MAGIC = 0x616B3432  # "ak42"
_LEGACY_HEADER, _VERSION_1_HEADER = 28, 256
_ROTARY = "rotary tables"
_MAX_LAYERS = 1 << 12

_NORMS = ("attention_norm", "ffn_norm")
_ATTENTION = ("attention.wq", "attention.wk", "attention.wv", "attention.wo")
_FEED_FORWARD = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
_IN_BLOCK = {*_NORMS, *_ATTENTION, *_FEED_FORWARD}
# What follows the header, in order; a part of a block comes for all blocks before the next.
_ORDER = {
    0: ("tok_embeddings", "attention_norm", *_ATTENTION, "ffn_norm", *_FEED_FORWARD, "norm", _ROTARY, "output"),
    1: (*_NORMS, "norm", "tok_embeddings", *_ATTENTION, *_FEED_FORWARD, "output"),
}


@dataclass(frozen=True)
class Llama2cFile:
    """`tensors`: by Llama's names ("layers.0.attention.wq.weight"); with `tied` there is no output layer."""

    dim: int
    ffn_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    max_seq_len: int
    tied: bool
    tensors: dict[str, LazyTensor]


def open_llama2c(path: Path) -> Llama2cFile:
    """Raises InputError if the file is not in llama2.c's format, or damaged."""
    version, numbers, tied = _header(path)
    dim, ffn_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len = numbers
    if min(numbers) < 1 or n_layers > _MAX_LAYERS or dim % n_heads:
        raise InputError(f"{path} is no model of llama2.c, or damaged: its header says {numbers}. Fetch it again.")
    shapes = _shapes(dim, ffn_dim, n_heads, n_kv_heads, vocab_size, max_seq_len)
    order = [part for part in _ORDER[version] if part != "output" or not tied]
    start = _VERSION_1_HEADER if version else _LEGACY_HEADER
    whole = start + 4 * sum(prod(shapes[part]) * (n_layers if part in _IN_BLOCK else 1) for part in order)
    if path.stat().st_size != whole:
        raise InputError(
            f"{path} is no model of llama2.c, or damaged: its header asks for {whole} bytes, it has "
            f"{path.stat().st_size}. Fetch it again."
        )
    tensors: dict[str, LazyTensor] = {}
    position = start
    for part in order:
        shape = shapes[part]
        for layer in range(n_layers if part in _IN_BLOCK else 1):
            name = f"layers.{layer}.{part}.weight" if part in _IN_BLOCK else f"{part}.weight"
            if part != _ROTARY:
                tensors[name] = LazyTensor(shape, torch.float32, partial(_read, path, position, shape))
            position += 4 * prod(shape)
    return Llama2cFile(dim, ffn_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len, tied, tensors)


def _header(path: Path) -> tuple[int, tuple[int, ...], bool]:
    """(version, the seven numbers in the order of `Llama2cFile`, whether the output layer is the embedding)."""
    try:
        with path.open("rb") as file:
            head = file.read(37)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if len(head) < 37:
        raise InputError(f"{path} is no model of llama2.c: it has only {len(head)} bytes.")
    magic, version = struct.unpack_from("<Ii", head)
    if magic != _MAGIC:  # legacy: the sign of the vocabulary's size says whether there is an output layer
        *numbers, vocab_size, max_seq_len = struct.unpack_from("<7i", head)
        return 0, (*numbers, abs(vocab_size), max_seq_len), vocab_size > 0
    if version != 1:
        raise InputError(
            f"{path} is a llama2.c file of version {version}; only float32 ones (legacy and version 1) are read. "
            "Export the model with --version 1."
        )
    return 1, struct.unpack_from("<7i", head, 8), bool(head[36])


def _shapes(
    dim: int, ffn_dim: int, n_heads: int, n_kv_heads: int, vocab_size: int, max_seq_len: int
) -> dict[str, tuple[int, ...]]:
    head_dim = dim // n_heads
    return {
        "tok_embeddings": (vocab_size, dim),
        "attention_norm": (dim,),
        "ffn_norm": (dim,),
        "norm": (dim,),
        "attention.wq": (dim, dim),
        "attention.wk": (n_kv_heads * head_dim, dim),
        "attention.wv": (n_kv_heads * head_dim, dim),
        "attention.wo": (dim, dim),
        "feed_forward.w1": (ffn_dim, dim),
        "feed_forward.w2": (dim, ffn_dim),
        "feed_forward.w3": (ffn_dim, dim),
        _ROTARY: (2, max_seq_len, head_dim // 2),
        "output": (vocab_size, dim),
    }


def _read(path: Path, position: int, shape: tuple[int, ...]) -> Tensor:
    # Copy on write: torch warns of memory that it may not write to.
    return torch.from_numpy(np.memmap(path, dtype="<f4", mode="c", offset=position, shape=shape))
