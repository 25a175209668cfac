"""Files that `torch.save` writes (`.pth`): a zip of one pickle, which describes the tensors, and their bytes.

The only pickle that is read here, with torch's own restricted reader (`weights_only`), and after bounds of our own: the
zip's directory, that nothing in it is compressed or overlaps, and that the pickle is short and holds nothing but what
describes tensors. Tensors are read memory-mapped, and written one after the other as they are read.
Format: `torch/serialization.py`, `caffe2/serialize/inline_container.cc` (entries start at multiples of 64 bytes).
"""

import io
import pickle
import pickletools
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arriero.artifacts.files import replacing
from arriero.containers.lazy import LazyTensor
from arriero.errors import InputError

# Of a part of the largest Llama (405B, 1,138 tensors): a directory of 0.2 MB, a pickle of 0.2 MB and 38,000 steps.
MAX_DIRECTORY_BYTES = 1 << 20
MAX_PICKLE_BYTES = 1 << 20
MAX_PICKLE_STEPS = 150_000

_ALIGNMENT = 64
_FOLDER = "archive"
_STORAGES = {
    torch.float64: torch.DoubleStorage,
    torch.float32: torch.FloatStorage,
    torch.float16: torch.HalfStorage,
    torch.bfloat16: torch.BFloat16Storage,
    torch.int64: torch.LongStorage,
    torch.int32: torch.IntStorage,
    torch.int16: torch.ShortStorage,
    torch.int8: torch.CharStorage,
    torch.uint8: torch.ByteStorage,
    torch.bool: torch.BoolStorage,
}
# What the pickle of a dict of tensors names. Others that torch lets pass could ask for memory without end.
_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {storage.__name__}" for storage in _STORAGES.values()),
}
# A zip's end record, and what lies before it where 64 bits are needed (APPNOTE.TXT 4.3.14 to 4.3.16).
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_STEPS = re.compile(
    r"PROTO|STOP|MARK|GLOBAL|REDUCE|BUILD|BINPERSID|SETITEMS?|(LONG_)?BIN(PUT|GET)|EMPTY_(DICT|TUPLE)|TUPLE[123]?"
    r"|BINUNICODE|BININT[12]?|LONG1|NONE|NEW(FALSE|TRUE)"
)


def open_lazy(path: Path) -> dict[str, LazyTensor]:
    """The tensors by name, unread. Raises InputError saying what is wrong with the file; nothing in it is executed."""
    _check_archive(path)
    try:
        loaded = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # whatever a damaged file does to the library
        raise _damaged(path, f"torch cannot read it ({type(error).__name__}: {error!s:.200})") from error
    if not isinstance(loaded, dict):
        raise _damaged(path, "it holds no dict of tensors")
    return {name: _checked(path, name, tensor) for name, tensor in loaded.items()}


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged or no file of weights: {what}. Fetch it again.")


def _checked(path: Path, name: Any, tensor: Any) -> LazyTensor:
    if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout is not torch.strided:
        raise _damaged(path, f"its entry {name!r:.80} is no tensor with a name")
    # Strides of zero would let a few bytes stand for any number of them.
    if tensor.device.type != "cpu" or tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise _damaged(path, f"its tensor {name!r} of shape {tuple(tensor.shape)} has fewer bytes than it needs")
    return LazyTensor.of(tensor)


class _Bounded(io.FileIO):
    """A file of which the zip reader gets a bounded piece at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        most = MAX_DIRECTORY_BYTES
        data = super().read(most + 1 if size is None or size < 0 else min(size, most + 1))
        if len(data) > most:
            raise zipfile.BadZipFile(f"its directory is longer than {most} bytes, the most that are read here")
        return data


def _check_archive(path: Path) -> None:
    """Raises InputError unless the zip is one that torch wrote and its pickle only describes tensors."""
    try:
        with _Bounded(path) as file:
            if file.read(4) != b"PK\3\4":
                raise InputError(
                    f"{path} is no zip, which torch.save has written since version 1.6. If an older one wrote it, "
                    "convert it: load it with torch.load(..., weights_only=True) and save it again."
                )
            with zipfile.ZipFile(file) as archive:
                _check_directory(path, file, archive)
                _check_entries(path, archive.infolist(), archive.start_dir)
                _check_pickle(path, archive)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except InputError:
        raise
    except Exception as error:  # zipfile and pickletools raise what their input makes them
        raise _damaged(path, f"{error!s:.200} ({type(error).__name__})") from error


def _check_directory(path: Path, file: io.FileIO, archive: zipfile.ZipFile) -> None:
    """The directory that zipfile has read is the only one, at the place that the file's end says.

    zipfile finds it by its length, torch's reader (miniz) by its stored place, with 64 bits where a locator lies before
    the end record: a file with two of them would show one to these checks and another to torch.
    """
    at = path.stat().st_size - _END.size
    file.seek(at)
    end = _END.unpack(file.read(_END.size))
    entries, length, start = end[4:7]
    sound = end[:3] == (b"PK\5\6", 0, 0) and end[3] == entries and end[7] == 0
    if at >= _END64.size + _LOCATOR.size:
        file.seek(at - _END64.size - _LOCATOR.size)
        end64, locator = _END64.unpack(file.read(_END64.size)), _LOCATOR.unpack(file.read(_LOCATOR.size))
        if locator[0] == b"PK\6\7":
            at -= _END64.size + _LOCATOR.size
            sound = sound and locator[1:] == (0, at, 1) and end64[:2] == (b"PK\6\6", _END64.size - 12)
            sound = sound and end64[4:6] == (0, 0) and end64[6] == end64[7]
            entries, length, start = end64[7:10]
    if not sound or (entries, start, start + length) != (len(archive.infolist()), archive.start_dir, at):
        raise _damaged(path, "its zip's directory is not the one that its end names, or something lies behind it")


def _check_entries(path: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    """One folder of stored entries that lie within the file's first `size` bytes, each in a place of its own."""
    # As stored: zipfile may take another name from an extra field. torch's reader knows no upper case.
    names = [entry.orig_filename for entry in entries]
    folder = names[0].partition("/")[0] if names else ""
    if len({name.lower() for name in names}) != len(names) or f"{folder}/data.pkl" not in names:
        raise _damaged(path, "its zip names an entry twice, or has no data.pkl")
    for entry in entries:
        known = re.fullmatch(re.escape(folder) + r"(/\.?\w+)+(\.pkl)?", entry.orig_filename, re.ASCII)
        if known is None or entry.filename != entry.orig_filename:
            raise _damaged(path, f"its zip has an entry {entry.orig_filename!r:.80}, which torch does not write")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
            raise _damaged(path, f"its entry {entry.filename!r:.80} is compressed, which torch does not do")
    spans = sorted((e.header_offset, e.header_offset + 30 + len(e.filename) + e.file_size) for e in entries)
    if spans[0][0] != 0 or any(before[1] > after[0] for before, after in pairwise([*spans, (size, size)])):
        raise _damaged(path, f"entries of its zip overlap, or do not lie in the file's first {size} bytes")


def _check_pickle(path: Path, archive: zipfile.ZipFile) -> None:
    """Walks through the pickle without executing it."""
    folder = archive.namelist()[0].partition("/")[0]
    info = archive.getinfo(f"{folder}/data.pkl")
    if info.file_size > MAX_PICKLE_BYTES:
        raise _damaged(path, f"its data.pkl has {info.file_size} bytes; {MAX_PICKLE_BYTES} are the most read here")
    for count, (step, argument, _) in enumerate(pickletools.genops(archive.read(info))):
        if count >= MAX_PICKLE_STEPS:
            raise _damaged(path, f"its data.pkl has more than {MAX_PICKLE_STEPS} steps")
        if not _STEPS.fullmatch(step.name) or (step.name == "GLOBAL" and argument not in _GLOBALS):
            shown = str(argument).replace(" ", ".") if step.name == "GLOBAL" else step.name
            raise InputError(
                f"{path}: its data.pkl calls for {shown!r:.80}, which no file of plain tensors does. It may be an "
                "attack, or a checkpoint with more than weights: use a file that holds a dict of tensors."
            )
    byteorder = f"{folder}/byteorder"
    if byteorder in archive.namelist() and archive.read(byteorder) != b"little":
        raise InputError(f"{path} is of a big-endian machine; only little-endian files are read. Convert it.")


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class _Described:
    """A tensor that pickles as torch pickles it, without its bytes."""

    storage: _Storage
    shape: tuple[int, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        stride = torch.empty(self.shape, device="meta").stride()
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, self.shape, stride, False, OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Storage):
            return ("storage", _STORAGES[obj.dtype], obj.key, "cpu", obj.count)
        return None


def save(path: Path, tensors: Mapping[str, LazyTensor]) -> None:
    """Writes the tensors, each read when its turn comes, as a file that plain `torch.load` reads. Whole or absent.

    Equal tensors in equal order give equal bytes. Raises OSError when the disk is full or refuses.
    """
    described = {
        name: _Described(_Storage(str(key), tensor.dtype, tensor.n_bytes // tensor.dtype.itemsize), tensor.shape)
        for key, (name, tensor) in enumerate(tensors.items())
    }
    pickled = io.BytesIO()
    _Pickler(pickled, protocol=2).dump(described)
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _write(archive, "data.pkl", pickled.getbuffer())
        _write(archive, "byteorder", b"little")
        for key, (name, tensor) in enumerate(tensors.items()):
            _write(archive, f"data/{key}", tensor.buffer(name))
        _write(archive, "version", b"3\n")


def _write(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """One entry, whose bytes start at a multiple of 64 in the file, which is what an extra field is for."""
    assert archive.fp is not None
    entry = zipfile.ZipInfo(f"{_FOLDER}/{name}")  # of 1980: no time of writing in the file
    header = 30 + len(entry.filename) + 4 + 20  # with the extra fields for the padding and for 64-bit sizes
    padding = -(archive.fp.tell() + header) % _ALIGNMENT
    entry.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    with archive.open(entry, "w", force_zip64=True) as out:
        out.write(data)
