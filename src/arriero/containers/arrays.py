"""Numpy's arrays in safetensors files, without torch: importing it takes over a second in each worker process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arriero.artifacts.files import replacing
from arriero.containers.safetensors_header import Entry, checked_header, damaged, header, ordered
from arriero.errors import ArtifactError, InputError

Array = NDArray[Any]
_DTYPES = {
    name: np.dtype(code)
    for name, code in (
        *(("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2"), ("I64", "<i8"), ("I32", "<i4"), ("I16", "<i2")),
        *(("I8", "i1"), ("U8", "u1"), ("BOOL", "?")),
    )
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def save(path: Path, arrays: Mapping[str, Array]) -> None:
    """Whole or absent; equal arrays give equal bytes, which are those of `safetensors.save`."""
    entries = [Entry(name, _NAMES[array.dtype], array.shape) for name, array in arrays.items()]
    with replacing(path) as file:
        file.write(header(entries))
        for entry in ordered(entries):
            file.write(np.ascontiguousarray(arrays[entry.name]).data)


def open_stored(path: Path) -> dict[str, Array]:
    """The arrays of a file of ours by name, as views of the mapped file: processes share it.

    Raises ArtifactError if the file is missing or damaged.
    """
    if not path.exists():
        raise ArtifactError(f"There is no file {path}; the folder is not a whole artifact. Make it again.")
    try:
        entries, start = checked_header(path)
        return {name: _mapped(path, name, entry, start) for name, entry in sorted(entries.items())}
    except InputError as error:
        raise ArtifactError(f"{error} If it is an artifact's, delete its folder and make it again.") from None


def _mapped(path: Path, name: str, entry: Mapping[str, Any], start: int) -> Array:
    shape, dtype = tuple(entry["shape"]), _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise damaged(path, f"tensor {name!r} is of type {entry['dtype']}, which numpy has not")
    if 0 in shape:  # which cannot be mapped
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start + entry["data_offsets"][0], shape).view(np.ndarray)
