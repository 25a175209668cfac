"""GGUF, the file format of llama.cpp: metadata and tensors, read and written one tensor at a time.

Every count, length and offset of a header is held against the file's size and against what models need before
anything is allocated, so that a damaged or crafted file ends in an InputError and not in a hang or a killed process.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from arriero.artifacts.files import replacing
from arriero.containers.lazy import LazyTensor
from arriero.containers.quantization import TENSOR_TYPES, TensorType, decoded, encoded
from arriero.errors import InputError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32
# Above what models have: 260,000 tokens with scores, types or merges are 900,000 items in 12 MB; 70B has 723 tensors.
_MAX_HEADER_BYTES = 32 << 20
_MAX_ITEMS = 1 << 20  # in all arrays together
_MAX_TENSORS = _MAX_ENTRIES = 1 << 13

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

    def tensor(self, name: str) -> LazyTensor:
        """The tensor in its own dtype, a quantised one in float32. Raises InputError if there is none of that name."""
        info = self.tensors.get(name)
        if info is None:
            raise InputError(f"{self.path} holds no tensor {name!r}; it holds {len(self.tensors)} others.")
        return LazyTensor(info.shape, info.kind.dtype, partial(_read_tensor, self.path, info))

    def value(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """The metadata value of a required key. Raises InputError if it is missing or not of `kind`."""
        if key not in self.metadata:
            raise InputError(f"{self.path} has no metadata {key!r}, which is needed to use it.")
        found = self.metadata[key]
        if not isinstance(found, kind):
            raise InputError(f"{self.path}: metadata {key!r} has the unexpected type {type(found).__name__}.")
        return found


def _read_tensor(path: Path, info: TensorInfo) -> Tensor:
    """Maps this tensor alone, copy on write, so that torch may take it for writable. It starts at a multiple of 8."""
    try:
        data = np.memmap(path, np.uint8, "c", info.offset, (info.byte_count,))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: tensor {info.name!r} cannot be read ({error}). Did the file change?") from None
    return decoded(np.asarray(data), info.kind).reshape(info.shape)


def read_gguf(path: Path) -> GgufFile:
    """Reads and checks the header. Raises InputError saying what is wrong with the file."""
    try:
        with path.open("rb") as file:
            header, size = file.read(_MAX_HEADER_BYTES), path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if len(header) < len(_MAGIC) + 4 + 8 + 8:
        raise InputError(f"{path} is not a GGUF file: it has only {len(header)} bytes.")
    cursor = _Cursor(path, header, size)
    if cursor.take(4) != _MAGIC:
        raise InputError(f"{path} is not a GGUF file: it does not start with 'GGUF'.")
    version = cursor.number("<I")
    if version not in _VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
        found = "big-endian" if swapped else f"version {version}"
        raise InputError(f"{path} is a {found} GGUF file; only little-endian version 2 and 3 are read. Convert it.")
    tensor_count = cursor.count(_SMALLEST_TENSOR, "tensors", _MAX_TENSORS)
    entry_count = cursor.count(_SMALLEST_ENTRY, "metadata entries", _MAX_ENTRIES)
    metadata: dict[str, Any] = {}
    for _ in range(entry_count):
        key = cursor.text()
        if key in metadata:
            raise cursor.damaged(f"the metadata key {key!r} occurs twice")
        metadata[key] = cursor.value()
    headers = [cursor.tensor_header() for _ in range(tensor_count)]
    alignment = _alignment(path, metadata)
    return GgufFile(path, version, metadata, _place(path, size, headers, cursor.position, alignment))


class _Cursor:
    """Reads forward through the header: never past its end, nor more items than a model needs."""

    def __init__(self, path: Path, header: bytes, size: int) -> None:
        """`header`: the file's first bytes, where its header must end; `size`: of the whole file."""
        self.path = path
        self.position = 0
        self._header = header
        self._size = size
        self._items_left = _MAX_ITEMS

    def damaged(self, what: str) -> InputError:
        return InputError(
            f"{self.path} is damaged: {what} (at byte {self.position} of {self._size}). Fetch the file again."
        )

    def take(self, length: int) -> bytes:
        left = len(self._header) - self.position
        if length > left and len(self._header) < self._size:
            raise self.damaged(f"its header does not end within {_MAX_HEADER_BYTES} bytes, the most that is read here")
        if length > left:
            raise self.damaged(f"{length} more bytes are announced than there are left")
        taken = self._header[self.position : self.position + length]
        self.position += length
        return taken

    def number(self, layout: str) -> int:
        unpacked: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return unpacked

    def count(self, smallest: int, what: str, most: int) -> int:
        """A 64-bit count of at most `most` things that each take at least `smallest` bytes."""
        announced = self.number("<Q")
        if announced > (self._size - self.position) // smallest:
            raise self.damaged(f"{announced} {what} are announced, which is more than the file can hold")
        if announced > most:
            raise self.damaged(f"{announced} {what} are announced; {most} are the most that is read here")
        return announced

    def text(self) -> str:
        try:
            return self.take(self.count(1, "bytes of text", _MAX_HEADER_BYTES)).decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged("a text is not UTF-8") from None

    def value(self) -> Any:
        kind = self.number("<I")
        if kind == _ARRAY:
            return self._array()
        return self.text() if kind == _STRING else self._numbers(kind, 1)[0]

    def _numbers(self, kind: int, length: int) -> list[Any]:
        if kind not in _SCALARS:
            raise self.damaged(f"the value type {kind} is unknown")
        layout = np.dtype(_SCALARS[kind])
        numbers: list[Any] = np.frombuffer(self.take(length * layout.itemsize), dtype=layout).tolist()
        return numbers

    def _array(self) -> list[Any]:
        kind = self.number("<I")
        if kind == _ARRAY:  # which the format allows, and llama.cpp does not
            raise self.damaged("an array holds arrays")
        return (
            self._texts(self._items(8, "texts")) if kind == _STRING else self._numbers(kind, self._items(1, "numbers"))
        )

    def _items(self, smallest: int, what: str) -> int:
        """The length of an array, taken off what the file may still have."""
        length = self.count(smallest, what, self._items_left)
        self._items_left -= length
        return length

    def _texts(self, length: int) -> list[str]:
        """As `text`, so many times: a vocabulary has hundreds of thousands, which must not take seconds."""
        header, at, end = self._header, self.position, len(self._header)
        found = []
        for _ in range(length):
            start = at + 8
            at = start + int.from_bytes(header[at:start], "little")
            if at > end:
                self.position = start - 8
                self.text()  # names what is wrong
            try:
                found.append(header[start:at].decode("utf-8"))
            except UnicodeDecodeError:
                self.position = start
                raise self.damaged("a text is not UTF-8") from None
        self.position = at
        return found

    def tensor_header(self) -> tuple[str, tuple[int, ...], int, int]:
        """(name, shape in numpy's order, type number, offset from the start of the data)."""
        name = self.text()
        dimensions = self.number("<I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise self.damaged(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self.number("<Q") for _ in range(dimensions))[::-1]
        return name, shape, self.number("<I"), self.number("<Q")


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _alignment(path: Path, metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
        raise InputError(
            f"{path} is damaged: its alignment {alignment!r} is not a power of two from 8 on. Fetch the file again."
        )
    return alignment


def _place(
    path: Path, size: int, headers: list[tuple[str, tuple[int, ...], int, int]], header_end: int, alignment: int
) -> dict[str, TensorInfo]:
    """Checks each tensor's type, shape and place, and that no two share a name or a byte."""
    start = _align(header_end, alignment)

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
        byte_count = kind.n_bytes(math.prod(shape))
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


def write_gguf(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, tuple[LazyTensor, TensorType]]) -> None:
    """Writes the file whole or not at all, each tensor read when its turn comes. Equal content gives equal bytes.

    metadata: bool, int (as uint32), float (as float32) and str, and lists of int (as int32), of float or of str
    tensors: each with the type to write it in; a row must be a whole number of the type's blocks
    Raises InputError if a tensor holds a number that its type has no room for, OSError when the disk is full.
    """
    headers, offset = b"", 0
    for name, (tensor, kind) in tensors.items():
        headers += _text(name) + struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape[::-1])
        headers += struct.pack("<IQ", kind.number, offset)
        offset += _align(kind.n_bytes(math.prod(tensor.shape)), _DEFAULT_ALIGNMENT)
    with replacing(path) as file:
        file.write(_MAGIC + struct.pack("<IQQ", _VERSIONS[-1], len(tensors), len(metadata)))
        for key, value in metadata.items():
            file.write(_text(key) + _value(value))
        file.write(headers)
        for name, (tensor, kind) in tensors.items():
            file.write(bytes(-file.tell() % _DEFAULT_ALIGNMENT))
            _write_tensor(file, name, tensor, kind)
        file.write(bytes(-file.tell() % _DEFAULT_ALIGNMENT))


def _write_tensor(file: BinaryIO, name: str, tensor: LazyTensor, kind: TensorType) -> None:
    """Apart, so that one tensor is let go before the next is read."""
    read = tensor.read()
    assert tuple(read.shape) == tensor.shape, f"{name}: {tuple(read.shape)} read, {tensor.shape} announced"
    try:
        for part in encoded(read, kind):
            file.write(part.data)
    except ValueError as error:
        raise InputError(
            f"The tensor {name!r} cannot be written as {kind.name}: {error}. Choose the type f32."
        ) from None


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    """A value with its type's number. Raises TypeError or struct.error on what the format is not written with here."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    head = struct.Struct("<IIQ")
    if all(isinstance(item, str) for item in value):
        return head.pack(_ARRAY, _STRING, len(value)) + b"".join(map(_text, value))
    if all(isinstance(item, float) for item in value):
        return head.pack(_ARRAY, 6, len(value)) + struct.pack(f"<{len(value)}f", *value)
    return head.pack(_ARRAY, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)
