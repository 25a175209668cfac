"""Hostile safetensors files: a clean error or a sound file, in under a second and in bounded memory."""

import json
import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arriero.containers import safetensors
from arriero.containers.safetensors_header import MAX_HEADER_BYTES
from arriero.errors import InputError
from contained import fuzz

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(5, dtype=torch.bfloat16), "n": torch.zeros(0, 4)}


def opened(path: Path) -> dict[str, torch.Tensor] | None:
    """The tensors, or None where the file is refused. Fails where that takes long or much memory."""
    began = time.process_time()
    found = outcome(path)
    took = time.process_time() - began
    tracemalloc.start()
    outcome(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 1, f"{took} s"
    assert peak < (1 << 20) + 40 * path.stat().st_size, f"{peak} bytes"
    return found


def outcome(path: Path) -> dict[str, torch.Tensor] | None:
    try:
        return {name: tensor.read() for name, tensor in safetensors.open_lazy(path).items()}
    except InputError:
        return None


def hostile(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


@fuzz()
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6), st.integers(-40, 40))
def test_mutated_files_are_refused_or_sound(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], growth: int
) -> None:
    path = tmp_path_factory.mktemp("mutated") / "w.safetensors"
    safetensors.save(path, TENSORS, {"format": "pt"})
    data = bytearray(path.read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    path.write_bytes(bytes(data[: len(data) + growth]) + bytes(max(0, growth)))
    found = opened(path)
    if found is not None:
        header = 8 + int.from_bytes(data[:8], "little")
        assert sum(tensor.nbytes for tensor in found.values()) == path.stat().st_size - header


NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 3, 4, 8, -1, 1 << 31, 1 << 62, 1 << 63, 10**40, True, False, 1.0, 4.0, None, "4"]),
)
ENTRIES = st.one_of(
    NUMBERS,
    st.fixed_dictionaries(
        {"dtype": st.sampled_from(["F32", "U8", "BF16", "I64", "F8_E4M3", "f32", 4, None])},
        optional={
            "shape": st.one_of(NUMBERS, st.lists(NUMBERS, max_size=10)),
            "data_offsets": st.one_of(NUMBERS, st.lists(NUMBERS, max_size=3)),
            "more": NUMBERS,
        },
    ),
)


@fuzz()
@given(st.dictionaries(st.sampled_from(["a", "b", "", "__metadata__"]), ENTRIES, max_size=3), st.integers(0, 16))
def test_headers_of_any_form_are_refused_or_sound(
    tmp_path_factory: pytest.TempPathFactory, header: dict[str, Any], size: int
) -> None:
    found = opened(hostile(tmp_path_factory.mktemp("header") / "w", header, bytes(size)))
    if found is not None:
        assert sum(tensor.nbytes for tensor in found.values()) == size


def entry(shape: list[Any], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"a": entry([2], 0, 4)}, "is not 4 bytes long"),
        ({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, "overlap or leave a gap at byte 0"),
        ({"a": entry([1], 0, 4), "b": entry([1], 2, 6)}, "overlap or leave a gap at byte 2"),
        ({"a": entry([1], 4, 8)}, "overlap or leave a gap at byte 0"),
        ({"a": entry([1], 0, 4)}, "overlap or leave a gap at byte 4"),
        ({"a": entry([3], 0, 12)}, "overlap or leave a gap at byte 8"),
        ({"a": entry([1 << 62, 4], 0, 0)}, "is not 0 bytes long"),
        ({"a": entry([-1, -2], 0, 8)}, "no count"),
        ({"a": entry([True, 2], 0, 8)}, "no count"),
        ({"a": entry([2.0], 0, 8)}, "no count"),
        ({"a": entry([1 << 63, 0], 0, 0)}, "no count"),
        ({"a": entry([1] * 9, 0, 4)}, "9 dimensions"),
        ({"a": entry([1], 0, 8, "F4_SPECIAL")}, "unknown dtype 'F4_SPECIAL'"),
        (b'{"a":%b,"a":%b}' % ((json.dumps(entry([2], 0, 8)).encode(),) * 2), "a name occurs twice"),
        (b"[]", "no JSON object"),
        (b"{" * 100_000, "not in order"),
        (b'{"a":' + b"[" * 100_000, "RecursionError"),
        (b'{"a":' + b"9" * 100_000 + b"}", "not in order"),
        (b"\xff\xfe", "not in order"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, header: Any, said: str) -> None:
    path = hostile(tmp_path / "w.safetensors", header, bytes(8))
    assert opened(path) is None
    with pytest.raises(InputError, match=said):
        safetensors.open_lazy(path)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":' + b"[]," * 10 + b"[]}",
        b'{"a":{"dtype":"U8","data_offsets":[0,0],"shape":[' + b"4611686018427387904," * 100_000 + b"0]}}",
        b'{"a":[' + b"{}," * 690_000 + b"{}]}",
        b'{"__metadata__":{' + b",".join(b'"%d":""' % i for i in range(150_000)) + b'},"a":0}',
    ],
)
def test_a_header_of_the_largest_size_is_refused_quickly(tmp_path: Path, text: bytes) -> None:
    assert len(text) <= MAX_HEADER_BYTES
    assert opened(hostile(tmp_path / "w", text.ljust(MAX_HEADER_BYTES), bytes(8))) is None


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 16 << 20, 1 << 62, (1 << 64) - 1])
def test_a_header_that_announces_too_much_is_not_read(tmp_path: Path, length: int) -> None:
    path = hostile(tmp_path / "w", b"{}", length=length)
    os.truncate(path, 32 << 20)  # sparse: the bytes are there, and are not read
    tracemalloc.start()
    with pytest.raises(InputError, match="announces"):
        safetensors.open_lazy(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_tensors_without_an_element_are_legal(tmp_path: Path) -> None:
    header = {"a": entry([0, 1 << 62], 4, 4), "b": entry([], 0, 4), "c": entry([3, 0, 2], 0, 0)}
    found = opened(hostile(tmp_path / "w", header, bytes(4)))
    assert found is not None
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "a": (0, 1 << 62),
        "b": (),
        "c": (3, 0, 2),
    }


def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "absent"):
        with pytest.raises(InputError, match="There is no file"):
            safetensors.open_lazy(path)
