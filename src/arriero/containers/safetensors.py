"""Safetensors files that are whole or absent: written under a temporary name, synced, renamed; read memory-mapped.

Tensors are written one after the other as they are read, so that a file may be larger than memory.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from arriero.artifacts.files import replacing
from arriero.containers.lazy import LazyTensor
from arriero.containers.safetensors_header import Entry, checked_header, damaged, header, ordered
from arriero.errors import ArtifactError, InputError

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
    entries = [Entry(name, _NAMES[tensor.dtype], tensor.shape) for name, tensor in lazy.items()]
    with replacing(path) as file:
        file.write(header(entries, metadata))
        for entry in ordered(entries):
            file.write(lazy[entry.name].buffer(entry.name))


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
    entries, _ = checked_header(path)
    try:
        file = safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise damaged(path, str(error)) from None
    return {
        name: LazyTensor(tuple(entry["shape"]), _DTYPES[entry["dtype"]], partial(file.get_tensor, name))
        for name, entry in sorted(entries.items())
    }
