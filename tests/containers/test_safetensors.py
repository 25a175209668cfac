"""Safetensors: whole or absent, the same bytes for the same tensors, clear errors on damage."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from arriero.containers import safetensors
from arriero.containers.lazy import LazyTensor
from arriero.errors import ArtifactError

TENSORS = {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor(3)}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "w.safetensors"
    safetensors.save(path, TENSORS, {"z": 'a "quoted"\nline', "a": "é"})
    loaded = safetensors.load(path)
    assert loaded.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"z": 'a "quoted"\nline', "a": "é"}
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def test_bytes_are_the_same_in_every_process(tmp_path: Path) -> None:
    # The library itself writes the metadata in the order of a randomly seeded hash map.
    code = (
        "import sys, torch; from pathlib import Path; from arriero.containers.safetensors import save;"
        "[save(Path(sys.argv[1]) / f'{i}', {'w': torch.ones(2)}, {k: k for k in 'abcdefgh'}) for i in range(3)]"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    safetensors.save(tmp_path / "here", {"w": torch.ones(2)}, {k: k for k in "hgfedcba"})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_the_bytes_are_the_libraries_own(tmp_path: Path) -> None:
    safetensors.save(tmp_path / "ours", TENSORS)
    save_file({name: tensor.contiguous() for name, tensor in TENSORS.items()}, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.save(path, {"w": torch.ones(2)})

    def full() -> torch.Tensor:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        safetensors.save(path, {"a": torch.zeros(2), "w": LazyTensor((2,), torch.float32, full)})
    assert torch.equal(safetensors.load(path)["w"], torch.ones(2))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("cut", [0, 7, 40, -1])
def test_damage_is_an_artifact_error(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.save(path, TENSORS)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ArtifactError, match="damaged"):
        safetensors.load(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no file"):
        safetensors.load(tmp_path / "absent.safetensors")
