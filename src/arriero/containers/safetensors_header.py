"""The header of a safetensors file, held against the file's size before any parser sees it.

Format: https://github.com/huggingface/safetensors#format
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from arriero.errors import InputError

# A header takes some 130 bytes a tensor; a Llama of 405B parameters has 1,136 tensors. Python's JSON parser can need
# 25 times a hostile header's length in memory, and a second for 5 MB.
MAX_HEADER_BYTES = 2 << 20
MAX_DIMENSIONS = 8
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Entry:
    """A tensor's name, the name of its dtype, and its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return WIDTHS[self.dtype] * prod(self.shape)


def ordered(entries: Iterable[Entry]) -> list[Entry]:
    """The widest type first, so that each tensor starts at a multiple of its width."""
    return sorted(entries, key=lambda entry: (-WIDTHS[entry.dtype], entry.name))


def header(entries: Iterable[Entry], metadata: Mapping[str, str] | None = None) -> bytes:
    """What stands before the tensors, which follow one after the other as `ordered`."""
    found: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for entry in ordered(entries):
        start, end = end, end + entry.bytes
        found[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [start, end]}
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text.ljust(-(-len(text) // 8) * 8)
    return len(padded).to_bytes(8, "little") + padded


def damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged or no safetensors file: {what}. Fetch it again.")


def checked_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header's entries, and where in the file their offsets start.

    Each tensor's bytes lie where it says, and every byte belongs to one tensor. Raises InputError if that is not so.
    """
    if not path.is_file():  # or a pipe, which would never end
        raise InputError(f"There is no file {path}.")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise damaged(path, f"its {size} bytes are fewer than its header announces")
            if length > MAX_HEADER_BYTES:
                raise damaged(path, f"its header announces {length} bytes; {MAX_HEADER_BYTES} are the most read here")
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
        raise damaged(path, f"its header is not in order ({type(error).__name__}: {error!s:.200})") from None
    ends = [(0, 0), *spans, (size - 8 - length, size - 8 - length)]
    for before, after in pairwise(ends):
        if before[1] != after[0]:
            raise damaged(path, f"its tensors overlap or leave a gap at byte {min(before[1], after[0])}")
    return entries, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _span(name: str, entry: Mapping[str, Any]) -> tuple[int, int]:
    """Where a tensor's bytes lie. Raises ValueError if they are not as many as its shape and dtype call for."""
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    if entry["dtype"] not in WIDTHS:
        raise ValueError(f"tensor {name!r} has the unknown dtype {entry['dtype']!r}")
    if len(shape) > MAX_DIMENSIONS:  # before they are multiplied
        raise ValueError(f"tensor {name!r} has {len(shape)} dimensions")
    numbers = [*shape, start, end]
    if any(type(number) is not int or not 0 <= number < 1 << 63 for number in numbers):
        raise ValueError(f"tensor {name!r} has a shape or a place that is no count")
    if end - start != prod(shape) * WIDTHS[entry["dtype"]]:
        raise ValueError(f"tensor {name!r} of shape {shape} is not {end - start} bytes long")
    return start, end
