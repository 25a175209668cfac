"""The model folder: round trips, chains of adapters, and what is said of damaged ones."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from arriero.artifacts import Artifact, Machine
from arriero.containers import safetensors
from arriero.errors import ArtifactError
from arriero.model import (
    LoraConfig,
    Transformer,
    add_lora,
    exporting,
    load_model,
    load_weights,
    lora_parameters,
    merge_lora,
    save_model,
)
from arriero.model.checkpoint import stored_model
from stages import artifact, digests, model_artifact

TOKENS = torch.arange(12)[None]


@pytest.fixture
def base(tmp_path: Path) -> Artifact:
    return model_artifact(tmp_path, "base")


def adapted(base: Artifact, id: str, seed: int) -> tuple[Artifact, Transformer]:
    """An artifact that holds adapters on `base`, and the model that was saved."""
    model = add_lora(load_weights(base), LoraConfig(rank=2, alpha=4), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter.normal_(0.0, 0.1, generator=generator)
    made = artifact(base.store.root, id)
    save_model(made.path, model, source=base.path, base=base)
    return made, model


def test_whole_weights_come_back_and_are_cast(base: Artifact, tmp_path: Path) -> None:
    loaded = load_model(base, Machine())
    whole = loaded.model.state_dict()
    copy = artifact(tmp_path / "other", "copy")
    save_model(copy.path, loaded.model, source=base.path, base=None)
    again = load_model(copy, Machine(), dtype=torch.bfloat16)
    assert all(torch.equal(tensor.bfloat16(), again.model.state_dict()[name]) for name, tensor in whole.items())
    assert again.chat_format.name == "llama2"
    assert again.tokenizer.encode("import json") == loaded.tokenizer.encode("import json")
    base_files, copied = digests(base.path), digests(copy.path)
    del base_files["manifest.json"], copied["manifest.json"]
    assert base_files == copied, "the same model must give the same bytes"


def test_a_chain_of_adapters_is_merged_down_to_whole_weights(base: Artifact) -> None:
    first, first_model = adapted(base, "first", 1)
    second, second_model = adapted(first, "second", 2)
    assert not (second.path / "weights.safetensors").exists()
    torch.testing.assert_close(load_weights(first)(TOKENS), first_model(TOKENS), atol=1e-5, rtol=1e-5)
    loaded = load_weights(second)
    torch.testing.assert_close(loaded(TOKENS), second_model(TOKENS), atol=1e-5, rtol=1e-5)
    assert (loaded(TOKENS) - load_weights(first)(TOKENS)).abs().max() > 1e-3
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert torch.equal(loaded(TOKENS), load_weights(second)(TOKENS))


def test_stored_adapters_are_merged_to_the_same_bits_as_those_of_a_model(base: Artifact) -> None:
    made, model = adapted(base, "made", 1)
    merged = merge_lora(model).state_dict()
    stored = stored_model(made)[1]
    assert stored.keys() == merged.keys()
    assert all(torch.equal(tensor.read(), merged[name]) for name, tensor in stored.items())


def test_adapters_need_a_base_to_be_saved(base: Artifact, tmp_path: Path) -> None:
    model = add_lora(load_weights(base), LoraConfig(rank=2), 0)
    with pytest.raises(ValueError, match="base"):
        save_model(tmp_path / "out", model, source=base.path, base=None)
    assert not (tmp_path / "out").exists()


def test_a_missing_base_is_named(base: Artifact) -> None:
    first, _ = adapted(base, "first", 1)
    shutil.rmtree(base.path)
    with pytest.raises(ArtifactError, match="no artifact base"):
        load_weights(first)


def test_tensors_that_do_not_fit_are_named(base: Artifact) -> None:
    path = base.path / "weights.safetensors"
    weights = {name: tensor.clone() for name, tensor in safetensors.load(path).items()}
    for change, said in [
        ({"norm.weight": None}, "no tensor 'norm.weight'"),
        ({"extra.weight": torch.zeros(2)}, "a tensor 'extra.weight'"),
        ({"norm.weight": torch.zeros(7)}, r"'norm.weight' has shape \(7,\).*calls for \(32,\)"),
    ]:
        wrong = {name: tensor for name, tensor in (weights | change).items() if tensor is not None}
        safetensors.save(path, wrong)
        with pytest.raises(ArtifactError, match=said):
            load_weights(base)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "holds no readable model"),
        ("{", "holds no readable model"),
        ('{"format": 99}', "not a model of format 1"),
        ("[]", "not a model of format 1"),
    ],
)
def test_a_damaged_description_is_named(base: Artifact, content: str | None, said: str) -> None:
    path = base.path / "model.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(ArtifactError, match=said):
        load_weights(base)


def test_a_wrong_config_is_named(base: Artifact) -> None:
    path = base.path / "model.json"
    description = json.loads(path.read_text())
    description["config"]["n_layers"] = "many"
    path.write_text(json.dumps(description))
    with pytest.raises(ArtifactError, match=r"model.json has a wrong config"):
        load_weights(base)


KILLED = """
import os, signal, sys
from pathlib import Path
from arriero.artifacts import Store
from arriero.model.exporting import export_huggingface
def watch(weights):
    return {name: tensor.watched(lambda: os.kill(os.getpid(), signal.SIGKILL)) if name == "norm.weight" else tensor
            for name, tensor in weights.items()}
export_huggingface(Store(Path(sys.argv[1])).artifact("base"), Path(sys.argv[2]), watch=watch)
"""


def test_what_a_killed_export_leaves_goes_with_the_next_one(base: Artifact, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(base.store.root), str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert os.listdir(out.parent) == [".out.partial"]
    exporting.export_huggingface(base, out)
    assert os.listdir(out.parent) == ["out"]
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE((tmp_path / "new").stat().st_mode), "open as folders are"


def test_an_export_is_whole_or_absent(base: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "new" / "out"
    with monkeypatch.context() as patched:
        patched.setattr(exporting, "export_huggingface_tokenizer", full)
        with pytest.raises(OSError, match="No space left"):
            exporting.export_huggingface(base, out)
    assert os.listdir(out.parent) == []
    out.mkdir()
    exporting.export_huggingface(base, out)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(os.listdir(out))
    assert os.listdir(out.parent) == ["out"]
