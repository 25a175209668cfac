"""Exports by format: each is read back to the same weights; what does not fit is refused; a stop leaves nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from arriero.artifacts import Artifact
from arriero.errors import InputError, Stopped
from arriero.model import LoraConfig, add_lora, load_weights, save_model
from arriero.pipeline.export import TARGETS, WEIGHT_TYPES, export_model
from stages import artifact, model_artifact, read_model, stop_after


def of_kind(artifact: Artifact, kind: str) -> Artifact:
    return replace(artifact, manifest=replace(artifact.manifest, kind=kind))


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    return of_kind(model_artifact(tmp_path, "model"), "model")


@pytest.mark.parametrize("given", [{"to": "hf"}, {"to": "gguf"}, {"to": "meta", "parts": 2}], ids=lambda g: g["to"])
def test_every_format_reads_back_to_the_same_weights(model: Artifact, tmp_path: Path, given: dict[str, Any]) -> None:
    export_model(model, tmp_path / "out", **given)
    again, _ = read_model(tmp_path / "out")
    expected = load_weights(model).state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())


def test_every_format_has_its_types() -> None:
    assert tuple(WEIGHT_TYPES) == TARGETS


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("corpus", {"to": "hf"}, "is of kind corpus"),
        ("reward_model", {"to": "gguf"}, "A reward model is written as a Hugging Face folder"),
        ("reward_model", {"to": "hf", "weight_type": "bf16"}, "in f32"),
        ("model", {"to": "hf", "weight_type": "q8_0"}, "choose one of f32, bf16, f16"),
        ("model", {"to": "gguf", "weight_type": "bf16"}, "choose one of f32, f16, q8_0, q4_0"),
        ("model", {"to": "meta", "weight_type": "f32"}, "leave --type out"),
        ("model", {"to": "hf", "parts": 2}, "use it with --to meta"),
        ("model", {"to": "meta", "parts": 9}, "1 to 8"),
        ("model", {"to": "meta", "parts": 0}, "1 to 8"),
        ("model", {"to": "hf", "base": "x"}, "use it with --to peft"),
        ("model", {"to": "peft"}, "has no adapters"),
    ],
)
def test_what_does_not_fit_is_refused(
    model: Artifact, tmp_path: Path, kind: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        export_model(of_kind(model, kind), tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["hf", "gguf", "meta", "peft"])
def test_a_stop_leaves_nothing(model: Artifact, tmp_path: Path, to: Any) -> None:
    folder = tmp_path / "there"
    if to == "peft":
        made = artifact(tmp_path, "adapters")
        save_model(made.path, add_lora(load_weights(model), LoraConfig(rank=2), 0), source=model.path, base=model)
        model = of_kind(made, "model")
    folder.mkdir()
    with pytest.raises(Stopped):
        export_model(model, folder / "out", to=to, stop_requested=stop_after(5))
    assert list(folder.iterdir()) == []
