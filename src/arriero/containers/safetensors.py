"""Safetensors files that are whole or absent: written under a temporary name, synced, renamed; read memory-mapped.

Tensors are written one after the other as they are read, so that a file may be larger than memory. The header is held
against the file's size before any parser sees it.
Format: https://github.com/huggingface/safetensors#format
"""

import json
import os
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from arriero.artifacts.files import replacing
from arriero.containers.lazy import LazyTensor
from arriero.errors import ArtifactError, InputError

# A header takes some 130 bytes a tensor; a Llama of 405B parameters has 1,136 tensors. Python's JSON parser can need
# 25 times a hostile header's length in memory, and a second for 5 MB.
MAX_HEADER_BYTES = 2 << 20
_MAX_DIMENSIONS = 8
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def save(path: Path, tensors: Mapping[str, Tensor | LazyTensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes the tensors, each read when its turn comes. Tensors that share memory must be given once.

    Equal tensors and metadata give equal bytes. Raises OSError when the disk is full or refuses.
    """
    lazy = {name: t if isinstance(t, LazyTensor) else LazyTensor.of(t) for name, t in tensors.items()}
    # The widest type first, so that each tensor starts at a multiple of its width.
    ordered = sorted(lazy.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    with replacing(path) as file:
        file.write(_header(ordered, metadata))
        for name, tensor in ordered:
            file.write(tensor.buffer(name))


def _header(ordered: list[tuple[str, LazyTensor]], metadata: Mapping[str, str] | None) -> bytes:
    entries: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.n_bytes
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text.ljust(-(-len(text) // 8) * 8)
    return len(padded).to_bytes(8, "little") + padded


def load(path: Path) -> dict[str, Tensor]:
    """All tensors of a file of ours, as views of the mapped file, which is read as it is used.

    Raises ArtifactError if the file is missing or damaged.
    """
    return {name: tensor.read() for name, tensor in open_stored(path).items()}


def open_stored(path: Path) -> dict[str, LazyTensor]:
    """The tensors of a file of ours by name, unread. Raises ArtifactError if the file is missing or damaged."""
    if not path.exists():
        raise ArtifactError(f"There is no file {path}; the folder is not a whole artifact. Make it again.")
    try:
        return open_lazy(path)
    except InputError as error:
        raise ArtifactError(f"{error} If it is an artifact's, delete its folder and make it again.") from None


def open_lazy(path: Path) -> dict[str, LazyTensor]:
    """The tensors of anyone's file by name, unread. Raises InputError saying what is wrong with the file."""
    entries = _checked_header(path)
    try:
        file = safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise _damaged(path, str(error)) from None
    return {
        name: LazyTensor(tuple(entry["shape"]), _DTYPES[entry["dtype"]], partial(file.get_tensor, name))
        for name, entry in sorted(entries.items())
    }


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged or no safetensors file: {what}. Fetch it again.")


def _checked_header(path: Path) -> dict[str, Any]:
    """The header's entries; each tensor's bytes lie where it says, and every byte belongs to one tensor."""
    if not path.is_file():  # or a pipe, which would never end
        raise InputError(f"There is no file {path}.")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise _damaged(path, f"its {size} bytes are fewer than its header announces")
            if length > MAX_HEADER_BYTES:
                raise _damaged(path, f"its header announces {length} bytes; {MAX_HEADER_BYTES} are the most read here")
            text = file.read(length)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        entries = json.loads(text, object_pairs_hook=_unique)
        if not isinstance(entries, dict):
            raise ValueError("it is no JSON object")
        entries.pop("__metadata__", None)
        spans = sorted(_span(name, entry) for name, entry in entries.items())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"its header is not in order ({type(error).__name__}: {error!s:.200})") from None
    ends = [(0, 0), *spans, (size - 8 - length, size - 8 - length)]
    for before, after in pairwise(ends):
        if before[1] != after[0]:
            raise _damaged(path, f"its tensors overlap or leave a gap at byte {min(before[1], after[0])}")
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _span(name: str, entry: Mapping[str, Any]) -> tuple[int, int]:
    """Where a tensor's bytes lie. Raises ValueError if they are not as many as its shape and dtype call for."""
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"tensor {name!r} has the unknown dtype {entry['dtype']!r}")
    if len(shape) > _MAX_DIMENSIONS:  # before they are multiplied
        raise ValueError(f"tensor {name!r} has {len(shape)} dimensions")
    numbers = [*shape, start, end]
    if any(type(number) is not int or not 0 <= number < 1 << 63 for number in numbers):
        raise ValueError(f"tensor {name!r} has a shape or a place that is no count")
    if end - start != prod(shape) * _DTYPES[entry["dtype"]].itemsize:
        raise ValueError(f"tensor {name!r} of shape {shape} is not {end - start} bytes long")
    return start, end
