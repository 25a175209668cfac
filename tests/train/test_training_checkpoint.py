"""Checkpoints are the old one or the new one, never a mixture, and never a pickle; the series follows them."""

import json
from pathlib import Path

import pytest
import torch

from arriero.errors import ArtifactError
from arriero.train.checkpoint import load_checkpoint, save_checkpoint
from arriero.train.tracking import SeriesWriter, final_mean, read_series


def test_round_trip_keeps_bits_and_replaces(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none") is None
    for step in (3, 12):
        tensors = {"a/b.c": torch.randn(3, 4), "step/b": torch.tensor(7.0), "d": torch.randn(2).double()}
        save_checkpoint(tmp_path, tensors, {"step": step, "note": "x"})
        found = load_checkpoint(tmp_path)
        assert found is not None
        assert found[1] == {"step": step, "note": "x"}
        assert found[0].keys() == tensors.keys()
        assert all(torch.equal(found[0][name], tensor) for name, tensor in tensors.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "step-00000012.safetensors"]


def test_a_crash_before_the_last_rename_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, {"a": torch.ones(2)}, {"step": 1})

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("arriero.train.checkpoint.write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, {"a": torch.zeros(2)}, {"step": 2})
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert (found[0]["a"].tolist(), found[1]) == ([1.0, 1.0], {"step": 1})


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "not json", "no digest"])
def test_damage_is_named(tmp_path: Path, harm: str) -> None:
    save_checkpoint(tmp_path, {"a": torch.ones(100)}, {"step": 1})
    tensors, state = tmp_path / "step-00000001.safetensors", tmp_path / "state.json"
    data = bytearray(tensors.read_bytes())
    if harm == "flip":
        data[-1] ^= 1
        tensors.write_bytes(data)
    elif harm == "cut":
        tensors.write_bytes(data[:-4])
    elif harm == "remove":
        tensors.unlink()
    elif harm == "not json":
        state.write_text("{")
    else:
        state.write_text(json.dumps({"tensors": tensors.name}))
    with pytest.raises(ArtifactError, match=r"damaged .* Delete that folder"):
        load_checkpoint(tmp_path)


def test_series_is_cut_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "series.jsonl"
    with SeriesWriter(path) as series:
        for step in range(5):
            series.write({"step": step, "loss": step / 3})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"step": 5, "lo')  # torn by a kill
    with SeriesWriter(path, keep=3) as series:
        for step in (3, 4):
            series.write({"step": step, "loss": step / 3})
    assert path.read_bytes() == whole
    assert read_series(path)[4] == {"step": 4, "loss": 4 / 3}
    with pytest.raises(ArtifactError, match="holds 5 rows, but the checkpoint was taken after 6"):
        SeriesWriter(path, keep=6)
    path.write_bytes(whole[:-3])
    with pytest.raises(ArtifactError, match="delete it and run again"):
        SeriesWriter(path, keep=5)


def test_final_mean_is_over_the_last_tenth() -> None:
    assert final_mean([{"loss": float(n)} for n in range(40)], "loss") == (36 + 37 + 38 + 39) / 4
    assert final_mean([{"loss": 1.0}, {"loss": 5.0}], "loss") == 5.0
