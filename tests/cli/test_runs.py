"""Verbs that succeed, on a run of one small stage: runs, report, gc, and a stage alone."""

import io
import json
import sys
from pathlib import Path

import pytest
import torch

from arriero.cli.chat import _lines
from arriero.cli.main import main
from arriero.cli.stage_verb import labelled
from arriero.errors import Stopped
from arriero.pipeline.runs import Runs

RECIPE = """
name = "r"
machine = { dtype = "float32", threads = 1 }
[files]
stage = "data.text_files"
folder = "text"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe that is run, in a folder of its own."""
    (tmp_path / "own" / "text").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "own" / "text" / f"{number}.txt").write_text(f"Page {number}. " + "The tide lifts boats. " * 80)
    (tmp_path / "own" / "recipe.toml").write_text(RECIPE)
    assert call(tmp_path, "run", tmp_path / "own" / "recipe.toml") == 0
    return tmp_path


def call(folder: Path, *arguments: object) -> int:
    code = main([*map(str, arguments), "--runs", str(folder / "runs")])
    torch.set_num_threads(1)
    return code


def test_list_show_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, id = folder / "runs" / "r" / "report.html", Runs(folder / "runs").load("r").stages["files"]
    capsys.readouterr()
    assert call(folder, "runs", "list") == 0
    assert capsys.readouterr().out == "r\t1 of 1 stages made\n"
    assert call(folder, "runs", "show", "r") == 0
    assert capsys.readouterr().out.startswith(f"files\t{id}\tdata.text_files\t")
    assert call(folder, "runs", "show", "r:files") == 0
    assert json.loads(capsys.readouterr().out)["id"] == id
    first = report.read_bytes()
    report.unlink()
    assert call(folder, "report", "r") == 0
    assert capsys.readouterr().out == f"{report}\n"
    assert report.read_bytes() == first


def test_a_report_of_another_plan_does_not_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Stopped

    report = folder / "runs" / "r" / "report.html"
    monkeypatch.setattr("arriero.pipeline.runner.run_plan", stopped)
    for setting, stays in (("name=r", True), ("files.heldout_share=0.2", False)):
        assert call(folder, "run", folder / "own" / "recipe.toml", "--set", setting) == 143
        assert report.is_file() == stays


def test_a_stage_alone_and_gc(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Runs(folder / "runs").store
    (folder / "own" / "files.toml").write_text('folder = "text"\nheldout_share = 0.3\n')
    machine = ("--set", "machine.dtype=float32", "--set", "machine.threads=1")
    capsys.readouterr()
    assert call(folder, "data", "files", "--config", folder / "own" / "files.toml", *machine) == 0
    id = capsys.readouterr().out.strip()
    assert store.artifact(id).manifest.config["heldout_share"] == 0.3
    monkeypatch.chdir(folder / "own")  # what is typed starts here; and the recipe's own stage is reused
    assert call(folder, "data", "files", "--set", "folder=text", "--set", "seed=1", *machine) == 0
    assert capsys.readouterr().out.strip() == Runs(folder / "runs").load("r").stages["files"]
    assert call(folder, "runs", "gc") == 0
    assert store.complete(id), "what was made alone is kept"
    (store.kept / id).unlink()
    assert call(folder, "runs", "gc", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [id, "1 artifacts that no run names: would be deleted"]
    with store.in_use():
        assert call(folder, "runs", "gc") == 2
    assert store.has(id)
    assert call(folder, "runs", "gc") == 0
    assert store.ids() == list(Runs(folder / "runs").load("r").stages.values())


def test_chat_takes_the_model_made_before_until_the_new_one_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, id = folder / "runs" / "r" / "run.json", Runs(folder / "runs").load("r").stages["files"]
    before = {"recipe": {"model": "files"}, "stages": [["files", id]]}
    path.write_text(json.dumps({"recipe": {"model": "files"}, "stages": [["files", "absent"]], "before": before}))
    capsys.readouterr()
    assert call(folder, "chat", "r") == 2
    said = capsys.readouterr().err
    assert "r:files is not made yet as it was last planned; this is the one made before." in said
    assert f"{id} is of kind crawl" in said


def test_two_versions_of_one_label_both_count() -> None:
    assert labelled(["a:sft", "a:v1", "b:sft", "0123"]) == {
        "a:sft": "a:sft",
        "v1": "a:v1",
        "b:sft": "b:sft",
        "0123": "0123",
    }


def test_a_run_without_stages_has_no_lineage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    (tmp_path / "runs" / "empty" / "run.json").write_text('{"recipe": {"name": "empty"}, "stages": []}')
    assert call(tmp_path, "runs", "lineage", "empty") == 2
    assert "'empty' has no stages" in capsys.readouterr().err


def test_what_is_typed_need_not_be_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = io.TextIOWrapper(io.BytesIO(b"caf\xe9?\nHi\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", typed)
    assert list(_lines()) == ["caf\ufffd?", "Hi"]
