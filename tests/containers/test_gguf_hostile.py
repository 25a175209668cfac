"""A damaged or crafted GGUF file ends in an InputError that names it, or is read: in a second, in bounded memory."""

import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.containers.gguf import read_gguf
from arriero.errors import InputError
from contained import fuzz
from gguf_bytes import file_bytes, number_entry, tensor_header, text

SECONDS, MEGABYTES = 1.0, 128


def array(kind: int, length: int, items: bytes = b"") -> bytes:
    return struct.pack("<IIQ", 9, kind, length) + items


ONE = tensor_header("w", (4,), 0, 0)
HUGE = 1 << 62


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "only 0 bytes"),
        (b"GGUX" + bytes(60), "does not start with 'GGUF'"),
        (file_bytes([], [], version=1) + bytes(9), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(40), "big-endian"),
        (file_bytes([], [], tensor_count=HUGE), f"{HUGE} tensors"),
        (file_bytes([], [], entry_count=HUGE), f"{HUGE} metadata entries"),
        (file_bytes([struct.pack("<Q", HUGE) + bytes(8)], []), "bytes of text"),
        # What hangs the gguf package's reader: 2**62 nothings of one byte each, in an array of arrays.
        (file_bytes([text("k") + struct.pack("<IIQ", 9, 9, HUGE) + bytes(12)], []), "holds arrays"),
        (file_bytes([text("k") + struct.pack("<IIQ", 9, 8, HUGE)], []), "texts"),
        (file_bytes([text("k") + struct.pack("<IIQ", 9, 4, 40)], []), "announced"),
        (file_bytes([text("k") + struct.pack("<II", 13, 0)], []), "value type 13"),
        (file_bytes([number_entry("k", 1), number_entry("k", 2)], []), "'k' occurs twice"),
        (file_bytes([struct.pack("<Q", 1) + b"\xff" + struct.pack("<II", 4, 0)], []), "not UTF-8"),
        (file_bytes([number_entry("general.alignment", 48)], [ONE], bytes(16)), "alignment 48"),
        (file_bytes([number_entry("general.alignment", 0)], [ONE], bytes(16)), "alignment 0"),
        (file_bytes([number_entry("general.alignment", 4)], [ONE], bytes(16)), "alignment 4"),
        (file_bytes([text("general.alignment") + struct.pack("<IQ", 10, 1 << 40)], [ONE], bytes(16)), "after the file"),
        (file_bytes([text("general.alignment") + struct.pack("<IQ", 10, HUGE << 1)], [ONE], bytes(16)), "after the fi"),
        (file_bytes([text("general.alignment") + struct.pack("<Id", 12, 64.0)], [ONE], bytes(16)), "alignment 64.0"),
        (file_bytes([text("k") + array(8, 2, text("a") + struct.pack("<Q", 99))], []), "99 bytes of text"),
        (file_bytes([text("k") + array(8, 2, text("a") + struct.pack("<QB", 1, 255))], []), "not UTF-8"),
        (file_bytes([], [ONE, ONE], bytes(16)), "occurs twice"),
        (file_bytes([], [ONE], bytes(15)), "after the file's end"),
        (file_bytes([], [tensor_header("w", (HUGE, HUGE), 0, 0)], bytes(16)), "after the file's end"),
        (file_bytes([], [tensor_header("w", (4,), 0, 8)], bytes(64)), "not a multiple of 32"),
        (file_bytes([], [tensor_header("w", (0,), 0, 0)], bytes(64)), "cannot hold"),
        (file_bytes([], [tensor_header("w", (33,), 8, 0)], bytes(64)), "cannot hold"),
        (file_bytes([], [tensor_header("w", (), 0, 0)], bytes(64)), "0 dimensions"),
        (file_bytes([], [tensor_header("w", (4,), 99, 0)], bytes(64)), "type number 99"),
        (file_bytes([], [tensor_header("a", (9,), 0, 0), tensor_header("b", (4,), 0, 32)], bytes(64)), "overlaps 'a'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_damage_is_named(data: bytes, message: str, write: Callable[[bytes], Path]) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_gguf(write(data))
    assert "file.gguf" in str(caught.value)


WHOLE = file_bytes(
    [
        number_entry("general.alignment", 64),
        text("names") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("bytes") + struct.pack("<IIQ", 9, 0, 3) + bytes(3),
    ],
    [tensor_header("a", (32, 2), 8, 0), tensor_header("b", (4,), 0, 128)],
    bytes(192),
    alignment=64,
)


def test_the_undamaged_file_is_read(write: Callable[[bytes], Path]) -> None:
    file = read_gguf(write(WHOLE))
    assert file.metadata == {"general.alignment": 64, "names": ["a", "b"], "bytes": [0, 0, 0]}
    assert {name: info.shape for name, info in file.tensors.items()} == {"a": (2, 32), "b": (4,)}


def survives(path: Path) -> bool:
    """Reads the file, and a hundred tensors; True if it is in order. Fails beyond the bounds of time and memory."""
    start = time.process_time()
    error = _error(path)
    assert time.process_time() - start < SECONDS
    tracemalloc.start()
    _error(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEGABYTES << 20
    assert error is None or str(path) in error
    return error is None


def _error(path: Path) -> str | None:
    try:
        file = read_gguf(path)
        for info in list(file.tensors.values())[:100]:
            assert tuple(file.tensor(info.name).read().shape) == info.shape
    except InputError as error:
        return str(error)
    return None


LENGTHS = [0, 1, 2, 255, 1 << 20, (1 << 20) + 1, 1 << 28, 1 << 31, 1 << 32, HUGE, 1 << 63, (1 << 64) - 1]
CHANGES = st.one_of(
    st.tuples(st.just("byte"), st.integers(0, len(WHOLE) - 1), st.integers(0, 255)),
    st.tuples(st.just("length"), st.integers(0, len(WHOLE) - 8), st.sampled_from(LENGTHS)),
    st.tuples(st.just("insert"), st.integers(0, len(WHOLE)), st.sampled_from(LENGTHS)),
    st.tuples(st.just("cut"), st.integers(0, len(WHOLE)), st.just(0)),
)


@fuzz(300)
@given(st.lists(CHANGES, max_size=3))
def test_no_change_does_anything_but_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, int]]
) -> None:
    data = bytearray(WHOLE)
    for what, at, value in changes:
        if what == "byte" and at < len(data):
            data[at] = value
        elif what == "length":
            data[at : at + 8] = struct.pack("<Q", value)
        elif what == "insert":
            data[at:at] = struct.pack("<Q", value)
        elif what == "cut":
            del data[at:]
    path = tmp_path_factory.getbasetemp() / "changed.gguf"
    path.write_bytes(data)
    assert survives(path) or data != WHOLE


GIGABYTE = 1 << 30
ALIGNMENT_2_40 = text("general.alignment") + struct.pack("<IQ", 10, 1 << 40)
TINY_ENTRIES = [text(f"{i}") + struct.pack("<IB", 0, 0) for i in range(1 << 13)]
TINY_TENSORS = [tensor_header(f"{i}", (8,), 0, 32 * i) for i in range(1 << 13)]


@pytest.mark.parametrize(
    ("data", "size", "read"),
    [
        pytest.param(file_bytes([text("k") + array(0, 1 << 28)], []), GIGABYTE, False, id="a list of 2^28 bytes"),
        pytest.param(file_bytes([text("k") + array(8, 1 << 26)], []), GIGABYTE, False, id="2^26 empty texts"),
        pytest.param(
            file_bytes([text("k") + struct.pack("<IQ", 8, 1 << 29)], []), GIGABYTE, False, id="a text of 512 MB"
        ),
        pytest.param(file_bytes([struct.pack("<Q", 31 << 20)], []), GIGABYTE, True, id="a key of 31 MB"),
        pytest.param(file_bytes([], [], entry_count=1 << 24), GIGABYTE, False, id="2^24 entries"),
        pytest.param(file_bytes([], [], tensor_count=1 << 24), GIGABYTE, False, id="2^24 tensors"),
        pytest.param(file_bytes(TINY_ENTRIES, []), 0, True, id="as many entries as are read"),
        pytest.param(file_bytes([], TINY_TENSORS), 1 << 21, True, id="as many tensors as are read"),
        pytest.param(
            file_bytes([text("k") + array(8, 1 << 20, text("ab") * (1 << 20))], []), 0, True,
            id="as many texts as are read", marks=pytest.mark.full,
        ),
        pytest.param(
            file_bytes([text(f"{i}") + array(10, 1 << 19, bytes(8 << 19)) for i in range(3)], []),
            0,
            False,
            id="too many",
        ),
        pytest.param(
            file_bytes([], [tensor_header("w", (1 << 31, 1 << 31), 2, 0)]), GIGABYTE, False, id="2^62 numbers"
        ),
        pytest.param(file_bytes([ALIGNMENT_2_40], [ONE]), GIGABYTE, False, id="alignment 2^40"),
    ],
)  # fmt: skip
def test_what_is_large_is_refused_before_it_is_read(data: bytes, size: int, read: bool, tmp_path: Path) -> None:
    """`size`: the file goes on in zeros, which take no room on the disk."""
    path = tmp_path / "file.gguf"
    path.write_bytes(data)
    os.truncate(path, max(size, len(data)))
    assert survives(path) == read


def test_a_tensor_that_is_cut_off_after_the_header_was_read_is_named(write: Callable[[bytes], Path]) -> None:
    path = write(WHOLE)
    tensor = read_gguf(path).tensor("b")
    os.truncate(path, 100)
    with pytest.raises(InputError, match="'b' cannot be read"):
        tensor.read()
