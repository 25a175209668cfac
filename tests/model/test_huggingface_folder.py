"""A Hugging Face folder's files: shards, types, and what is said of damaged and hostile ones."""

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arriero.artifacts import Artifact
from arriero.containers import safetensors
from arriero.errors import InputError
from arriero.model import ModelConfig, load_weights
from arriero.model.checkpoint import shapes_of, skeleton
from arriero.model.config import weight_shapes
from arriero.model.exporting import export_huggingface
from arriero.model.importing import open_release
from contained import fuzz
from stages import model_artifact, read_model

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return model_artifact(tmp_path_factory.mktemp("made"), "model")


@pytest.fixture
def sharded(made: Artifact, tmp_path: Path) -> Path:
    export_huggingface(made, tmp_path / "sharded", shard_bytes=40_000)
    return tmp_path / "sharded"


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(1, 3))
def test_weight_shapes_are_the_model_s(layers: int, kv: int, group: int, tied: bool, half: int) -> None:
    config = ModelConfig(
        dim=kv * group * 4, n_layers=layers, n_heads=kv * group, n_kv_heads=kv, vocab_size=7, ffn_dim=5,
        head_dim=2 * half, tied_embeddings=tied,
    )  # fmt: skip
    assert weight_shapes(config) == shapes_of(skeleton(config))


def test_shards_hold_each_tensor_once_and_read_back(made: Artifact, sharded: Path) -> None:
    files = sorted(sharded.glob("*.safetensors"))
    assert len(files) == 4
    assert files[1].name == "model-00002-of-00004.safetensors"
    tensors = [safetensors.open_lazy(file) for file in files]
    assert all(sum(t.n_bytes for t in shard.values()) <= 40_000 or len(shard) == 1 for shard in tensors)
    index = json.loads((sharded / INDEX).read_text())
    assert index["weight_map"] == {
        name: file.name for file, shard in zip(files, tensors, strict=True) for name in shard
    }
    assert index["metadata"]["total_size"] == sum(t.n_bytes for shard in tensors for t in shard.values())
    state, expected = read_model(sharded)[0].state_dict(), load_weights(made).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


@pytest.mark.parametrize(("dtype", "kind"), [("bf16", torch.bfloat16), ("f16", torch.float16)])
def test_weights_go_out_in_the_type_asked_for_and_come_in_as_they_are(
    made: Artifact, tmp_path: Path, dtype: Any, kind: torch.dtype
) -> None:
    export_huggingface(made, tmp_path / "out", weight_type=dtype)
    release = open_release(tmp_path / "out")
    expected = load_weights(made).state_dict()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == str(kind).removeprefix("torch.")
    for name, tensor in release.weights.items():
        assert tensor.dtype == tensor.read().dtype == kind
        assert torch.equal(tensor.read(), expected[name].to(kind))


def test_values_that_float16_cannot_hold_are_named(tmp_path: Path) -> None:
    made = model_artifact(tmp_path, "model")
    path = made.path / "weights.safetensors"
    weights = safetensors.load(path)
    safetensors.save(path, weights | {"norm.weight": torch.full((32,), 1e5)})
    with pytest.raises(InputError, match=r"'model.norm.weight' has values that float16 cannot hold"):
        export_huggingface(made, tmp_path / "out", weight_type="f16")
    assert not (tmp_path / "out").exists()


def test_tables_of_frequencies_in_old_checkpoints_are_skipped(made: Artifact, tmp_path: Path) -> None:
    export_huggingface(made, tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in safetensors.load(path).items()}
    safetensors.save(path, tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    assert open_release(tmp_path / "out").weights.keys() == load_weights(made).state_dict().keys()


def changed(path: Path, change: Callable[[Any], None]) -> None:
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


NORM, FIRST = "model.norm.weight", "model-00001-of-00004.safetensors"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index.pop("weight_map"), "KeyError: 'weight_map'"),
        (lambda index: index.update(weight_map=[]), "does not have the form"),
        (lambda index: index["weight_map"].update({NORM: 7}), "does not have the form"),
        (lambda index: index["weight_map"].update({NORM: ["x"]}), "does not have the form"),
        (lambda index: index["weight_map"].update({NORM: "../outside.safetensors"}), "a file outside itself"),
        (lambda index: index["weight_map"].update({NORM: "a/../../x"}), "a file outside itself"),
        (lambda index: index["weight_map"].update({NORM: "/etc/passwd"}), "a file outside itself"),
        (lambda index: index["weight_map"].update({NORM: ".."}), "a file outside itself"),
        (lambda index: index["weight_map"].update({NORM: "link.safetensors"}), "a file outside itself"),
        (lambda index: index["weight_map"].update({NORM: ""}), "There is no file"),
        (lambda index: index["weight_map"].update({NORM: "a\0b"}), "does not have the form"),
        (lambda index: index["weight_map"].update({NORM: "absent.safetensors"}), "There is no file .*absent"),
        (lambda index: index["weight_map"].update({NORM: FIRST}), f"the tensor '{NORM}'"),
        (lambda index: index["weight_map"].pop(NORM), f"holds, against the index, the tensor '{NORM}'"),
        (lambda index: index["weight_map"].update(extra=FIRST), f"{FIRST} lacks the tensor 'extra'"),
    ],
)
def test_an_index_that_lies_is_refused(sharded: Path, change: Callable[[Any], None], said: str) -> None:
    for name in ("outside.safetensors", "x"):
        (sharded.parent / name).write_bytes((sharded / FIRST).read_bytes())
    (sharded / "link.safetensors").symlink_to(sharded.parent / "outside.safetensors")
    changed(sharded / INDEX, change)
    with pytest.raises(InputError, match=said):
        open_release(sharded)


def test_links_within_the_folder_and_those_of_hugging_face_s_cache_are_followed(sharded: Path) -> None:
    cache = sharded.parent / "models--x"
    (cache / "snapshots").mkdir(parents=True)
    (cache / "blobs").mkdir()
    sharded = sharded.rename(cache / "snapshots" / "0123abcd")
    (sharded / FIRST).rename(sharded / "elsewhere")
    (sharded / FIRST).symlink_to("elsewhere")
    for number, file in enumerate(sorted(sharded.glob("model-0000[2-4]*"))):
        file.rename(cache / "blobs" / f"{number}")
        file.symlink_to(f"../../blobs/{number}")
    assert len(open_release(sharded).weights) == 21


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("config.json", b"[" * 500_000, "is not JSON"),
        ("config.json", b"[" * (2 << 20), "has 2097152 bytes; 1048576 are the most"),
        ("config.json", b'{"hidden_size": ' + b"9" * 9_999 + b"}", "is not JSON"),
        (INDEX, b" " * (5 << 20), "are the most"),
        (INDEX, b'{"weight_map": ' + b"[" * 500_000, "is not JSON"),
    ],
)
def test_hostile_json_is_refused_quickly(sharded: Path, file: str, data: bytes, said: str) -> None:
    (sharded / file).write_bytes(data)
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(InputError, match=said):
        open_release(sharded)
    assert time.process_time() - began < 1
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


HOSTILE = st.recursive(
    st.sampled_from(
        [0, 1, -1, 2, 3, 1 << 31, 1 << 63, 10**40, 1e308, 1e-320, float("nan"), float("inf"), True, "", "x"]
    )
    | st.none(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["rope_type", "type", "factor", "rope_theta", "mscale", "truncate"]), inner)
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["yarn", "llama3", "linear"]), "factor": inner, "mscale": inner}
        )
    ),
    max_leaves=6,
)


@settings(fuzz(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_config_of_any_values_is_refused_or_opened(sharded: Path, data: st.DataObject) -> None:
    path = sharded / "config.json"
    original = path.read_text()
    fields = json.loads(original)
    names = st.sampled_from([*sorted(fields), "sliding_window", "layer_types", "original_max_position_embeddings"])
    changes = data.draw(st.dictionaries(names, HOSTILE, min_size=1, max_size=3))
    path.write_text(json.dumps(fields | changes))
    began = time.process_time()
    with suppress(InputError):
        open_release(sharded)
    assert time.process_time() - began < 1
    path.write_text(original)


def test_layers_without_number_are_refused_quickly(made: Artifact, tmp_path: Path) -> None:
    """As many tensors as the header can name, and a config that calls for more layers than there are."""
    export_huggingface(made, tmp_path / "out")
    many = {f"model.layers.{i}.input_layernorm.weight": torch.zeros(1) for i in range(6_000)}
    safetensors.save(tmp_path / "out" / "model.safetensors", many)
    for layers in (6_000, 10**9):
        changed(tmp_path / "out" / "config.json", lambda config, n=layers: config.update(num_hidden_layers=n))
        began = time.process_time()
        with pytest.raises(InputError, match=f"announces {layers} blocks but holds only 6000 weights"):
            open_release(tmp_path / "out")
        assert time.process_time() - began < 1


def test_folders_without_usable_weights_are_explained(made: Artifact, tmp_path: Path) -> None:
    export_huggingface(made, tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in safetensors.load(path).items()}
    safetensors.save(path, tensors | {NORM: torch.ones(32, dtype=torch.int8)})
    with pytest.raises(InputError, match=r"'norm.weight' holds whole numbers \(torch.int8\)"):
        open_release(tmp_path / "out")
    path.unlink()
    with pytest.raises(InputError, match=f"neither model.safetensors nor {INDEX}"):
        open_release(tmp_path / "out")
    (tmp_path / "out" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(InputError, match="as pickles"):
        open_release(tmp_path / "out")
    os.mkfifo(path)
    with pytest.raises(InputError, match="There is no file"):
        open_release(tmp_path / "out")
