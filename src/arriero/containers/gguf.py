"""Reads GGUF, the file format of llama.cpp: metadata, and tensors that are dequantised one at a time.

Every count, length and offset of the header is held against the file's size before anything is allocated, so that
a damaged or crafted file ends in an InputError and not in a hang or a killed process.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arriero.containers.quantization import TENSOR_TYPES, Bytes, TensorType, dequantize
from arriero.errors import InputError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_ARRAY_DEPTH = 4
_MAX_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32

# Value type number -> numpy's little-endian type. 8 is a string, 9 an array.
_SCALARS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
_STRING, _ARRAY = 8, 9
_SMALLEST_ENTRY = 8 + 4 + 1  # key length, value type, one byte of value
_SMALLEST_TENSOR = 8 + 4 + 8 + 4 + 8  # name length, dimensions, one dimension, type, offset


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies. `shape` is in numpy's order: the last dimension is contiguous. `offset` is the file's."""

    name: str
    shape: tuple[int, ...]
    kind: TensorType
    offset: int
    byte_count: int


@dataclass(frozen=True)
class GgufFile:
    """A checked GGUF file. `metadata` holds plain Python values; the tensors' data stays on disk, memory-mapped."""

    path: Path
    version: int
    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    _data: Bytes

    def tensor(self, name: str) -> NDArray[np.float32]:
        """The tensor as float32 in a new array of its shape. Raises InputError if the file has none of that name."""
        info = self.tensors.get(name)
        if info is None:
            raise InputError(f"{self.path} holds no tensor {name!r}; it holds {len(self.tensors)} others.")
        return dequantize(self._data[info.offset : info.offset + info.byte_count], info.kind).reshape(info.shape)

    def value(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """The metadata value of a required key. Raises InputError if it is missing or not of `kind`."""
        if key not in self.metadata:
            raise InputError(f"{self.path} has no metadata {key!r}, which is needed to use it.")
        found = self.metadata[key]
        if not isinstance(found, kind):
            raise InputError(f"{self.path}: metadata {key!r} has the unexpected type {type(found).__name__}.")
        return found


def read_gguf(path: Path) -> GgufFile:
    """Reads and checks the header. Raises InputError saying what is wrong with the file."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if path.stat().st_size < len(_MAGIC) + 4 + 8 + 8:
        raise InputError(f"{path} is not a GGUF file: it has only {path.stat().st_size} bytes.")
    data: Bytes = np.memmap(path, dtype=np.uint8, mode="r")
    cursor = _Cursor(path, data)
    if cursor.take(4) != _MAGIC:
        raise InputError(f"{path} is not a GGUF file: it does not start with 'GGUF'.")
    version = cursor.number("<I")
    if version not in _VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
        found = "big-endian" if swapped else f"version {version}"
        raise InputError(f"{path} is a {found} GGUF file; only little-endian version 2 and 3 are read. Convert it.")
    tensor_count = cursor.count(_SMALLEST_TENSOR, "tensors")
    entry_count = cursor.count(_SMALLEST_ENTRY, "metadata entries")
    metadata: dict[str, Any] = {}
    for _ in range(entry_count):
        key = cursor.string()
        if key in metadata:
            raise cursor.damaged(f"the metadata key {key!r} occurs twice")
        metadata[key] = cursor.value()
    headers = [cursor.tensor_header() for _ in range(tensor_count)]
    start = _align(cursor.position, _alignment(path, metadata))
    return GgufFile(path, version, metadata, _place(path, headers, start, metadata), data)


class _Cursor:
    """Reads forward through the header; never past the end of the file."""

    def __init__(self, path: Path, data: Bytes) -> None:
        self.path = path
        self.position = 0
        self._data = data
        self._size = len(data)

    def damaged(self, what: str) -> InputError:
        return InputError(
            f"{self.path} is damaged: {what} (at byte {self.position} of {self._size}). Fetch the file again."
        )

    def take(self, length: int) -> bytes:
        if length > self._size - self.position:
            raise self.damaged(f"{length} more bytes are announced than there are left")
        taken = self._data[self.position : self.position + length].tobytes()
        self.position += length
        return taken

    def number(self, layout: str) -> int:
        unpacked: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return unpacked

    def count(self, smallest: int, what: str) -> int:
        """A 64-bit count of items that each take at least `smallest` bytes."""
        announced = self.number("<Q")
        if announced > (self._size - self.position) // smallest:
            raise self.damaged(f"{announced} {what} are announced, which is more than the file can hold")
        return announced

    def string(self) -> str:
        try:
            return self.take(self.count(1, "bytes of text")).decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged("a text is not UTF-8") from None

    def value(self) -> Any:
        kind = self.number("<I")
        return self._array(1) if kind == _ARRAY else self._scalar(kind)

    def _scalar(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        return self._numbers(kind, 1)[0]

    def _numbers(self, kind: int, length: int) -> list[Any]:
        if kind not in _SCALARS:
            raise self.damaged(f"the value type {kind} is unknown")
        layout = np.dtype(_SCALARS[kind])
        numbers: list[Any] = np.frombuffer(self.take(length * layout.itemsize), dtype=layout).tolist()
        return numbers

    def _array(self, depth: int) -> list[Any]:
        if depth > _MAX_ARRAY_DEPTH:
            raise self.damaged(f"arrays are nested more than {_MAX_ARRAY_DEPTH} deep")
        kind = self.number("<I")
        if kind == _ARRAY:
            return [self._array(depth + 1) for _ in range(self.count(4 + 8, "arrays"))]
        if kind == _STRING:
            return [self.string() for _ in range(self.count(8, "texts"))]
        return self._numbers(kind, self.count(1, "numbers"))

    def tensor_header(self) -> tuple[str, tuple[int, ...], int, int]:
        """(name, shape in numpy's order, type number, offset from the start of the data)."""
        name = self.string()
        dimensions = self.number("<I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise self.damaged(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self.number("<Q") for _ in range(dimensions))[::-1]
        return name, shape, self.number("<I"), self.number("<Q")


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _alignment(path: Path, metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise InputError(f"{path} is damaged: its alignment {alignment!r} is not a power of two. Fetch the file again.")
    return alignment


def _place(
    path: Path, headers: list[tuple[str, tuple[int, ...], int, int]], start: int, metadata: dict[str, Any]
) -> dict[str, TensorInfo]:
    """Checks each tensor's type, shape and place, and that no two share a name or a byte."""
    size, alignment = path.stat().st_size, _alignment(path, metadata)

    def wrong(name: str, what: str) -> InputError:
        return InputError(f"{path} is damaged: tensor {name!r} {what}. Fetch the file again.")

    tensors: dict[str, TensorInfo] = {}
    for name, shape, number, offset in headers:
        if name in tensors:
            raise wrong(name, "occurs twice")
        if number not in TENSOR_TYPES:
            known = ", ".join(kind.name for kind in TENSOR_TYPES.values())
            raise InputError(f"{path}: tensor {name!r} has the type number {number}; those read here are {known}.")
        kind = TENSOR_TYPES[number]
        if min(shape) < 1 or shape[-1] % kind.block_size:
            raise wrong(name, f"has the shape {shape}, which {kind.name} cannot hold")
        byte_count = math.prod(shape) // kind.block_size * kind.block_bytes
        if offset % alignment:
            raise wrong(name, f"starts at {offset}, which is not a multiple of {alignment}")
        if start + offset + byte_count > size:
            raise wrong(name, f"ends at byte {start + offset + byte_count}, after the file's end at {size}")
        tensors[name] = TensorInfo(name, shape, kind, start + offset, byte_count)
    ordered = sorted(tensors.values(), key=lambda info: info.offset)
    for before, after in pairwise(ordered):
        if before.offset + before.byte_count > after.offset:
            raise wrong(after.name, f"overlaps {before.name!r}")
    return tensors
