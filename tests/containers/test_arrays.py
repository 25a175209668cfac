"""Numpy's arrays in safetensors files: the library's own bytes, and clear errors on damage."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from arriero.containers import arrays, safetensors
from arriero.errors import ArtifactError

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "a": np.arange(3, dtype=np.int64),
    "c": np.array([True, False]),
    "none": np.zeros((0, 4), np.uint8),
    "one": np.array(3, np.int16),
}


def test_the_bytes_are_those_of_tensors_and_the_library_reads_them(tmp_path: Path) -> None:
    arrays.save(tmp_path / "arrays", ARRAYS)
    safetensors.save(tmp_path / "tensors", {name: torch.from_numpy(array) for name, array in ARRAYS.items()})
    assert (tmp_path / "arrays").read_bytes() == (tmp_path / "tensors").read_bytes()
    found, theirs = arrays.open_stored(tmp_path / "arrays"), load_file(tmp_path / "arrays")
    assert found.keys() == theirs.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        np.testing.assert_array_equal(theirs[name], array, strict=True)


@pytest.mark.parametrize("cut", [0, 7, 40, -1])
def test_damage_is_an_artifact_error(tmp_path: Path, cut: int) -> None:
    arrays.save(tmp_path / "a", ARRAYS)
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:cut])
    with pytest.raises(ArtifactError, match="damaged"):
        arrays.open_stored(tmp_path / "a")
    with pytest.raises(ArtifactError, match="no file"):
        arrays.open_stored(tmp_path / "absent")


def test_a_type_that_numpy_has_not_is_named(tmp_path: Path) -> None:
    safetensors.save(tmp_path / "a", {"w": torch.ones(2, dtype=torch.bfloat16)})
    with pytest.raises(ArtifactError, match="BF16"):
        arrays.open_stored(tmp_path / "a")


def test_workers_of_the_data_system_import_no_torch() -> None:
    code = "import sys, arriero.data.build; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
