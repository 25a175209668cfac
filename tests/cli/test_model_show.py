"""`arriero model show`: presets, files, folders, artifacts, and names that are none of these."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from arriero.artifacts import Manifest
from arriero.artifacts.files import write_json
from arriero.cli.main import main
from arriero.model import PRESETS
from arriero.model.exporting import export_huggingface
from arriero.model.statistics import statistics
from stages import TINY, model_artifact


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["model", "show", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_preset_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "show", "llama2-70b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "parameters       68,976,648,192; 68,452,352,000 without embeddings and output" in lines
    assert "KV cache, bf16   320 KiB a token (2.5 MiB without grouping, 8 x)" in lines
    assert "heads            64 query, 8 key/value, of 128: grouped-query attention" in lines
    assert len({line.index(line[17:]) for line in lines}) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_as_json(capsys: pytest.CaptureFixture[str], name: str) -> None:
    found = shown(capsys, name)
    assert found["config"] == PRESETS[name].to_json()
    assert found["statistics"] == asdict(statistics(PRESETS[name]))
    assert found["stored_bytes"] is None


def test_an_artifact_and_its_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The weights have the size that they have on disk, to the byte; the file's header comes on top."""
    made = model_artifact(tmp_path / "store", "0123456789abcdef")
    size = (made.path / "weights.safetensors").stat().st_size
    files = {file: {"bytes": (made.path / file).stat().st_size} for file in ("model.json", "weights.safetensors")}
    write_json(made.path / "manifest.json", asdict(Manifest(made.id, "t", "model", {}, {}, "", {}, {}, files)))
    found = shown(capsys, "0123", "--runs", tmp_path)
    assert found["config"] == TINY.to_json()
    assert (found["stored_bytes"], found["chat_format"]) == (size, "llama2")
    export_huggingface(made, tmp_path / "folder")
    folder = shown(capsys, tmp_path / "folder")
    assert folder["config"] == TINY.to_json()
    assert folder["source"] == f"Hugging Face folder {tmp_path / 'folder'}"
    assert folder["stored_bytes"] == 4 * TINY.n_parameters
    assert 0 < size - folder["stored_bytes"] < 10_000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("llama2-7", ["no model 'llama2-7'", "Did you mean 'llama2-7b'?", "no artifact in"]),
        ("quickstart:sft", ["There is no run 'quickstart'"]),
        (".", ["no model that is read here", "config.json"]),
        ("abc", ["not a model"]),
    ],
)
def test_a_name_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, said: list[str]
) -> None:
    folder = tmp_path / "store" / "objects" / "abc"
    folder.mkdir(parents=True)
    write_json(folder / "manifest.json", asdict(Manifest("abc", "t", "corpus", {}, {}, "", {}, {})))
    monkeypatch.chdir(tmp_path)
    assert main(["model", "show", name, "--runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in said)
