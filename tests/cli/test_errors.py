"""A user's mistakes: one paragraph that names the place and the remedy, exit code 2, and nothing half-written."""

import json
from pathlib import Path
from typing import Any

import pytest

from arriero.cli.main import main

TEXT = "The tide comes in twice a day, and the boats that lie on the sand are lifted by it and float. " * 20
CHAT = {"messages": [{"role": "user", "content": "What lifts boats?"}, {"role": "assistant", "content": "The tide."}]}
ROW = {"prompt": "What lifts boats?", "chosen": "The tide.", "rejected": "The moon.", "rating": "better"}

FILES = '[files]\nstage = "data.text_files"\nfolder = "text"\n'
CORPUS = FILES + '[corpus]\nstage = "data.build"\ninputs = { crawl = "files" }\n'
CHATS = '[chats]\nstage = "data.chat_files"\nchats = "chats.jsonl"\n'
PEOPLE = '[people]\nstage = "preference.import"\nfile = "people.jsonl"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sound inputs; each test spoils one."""
    (tmp_path / "text").mkdir()
    for number in range(3):
        (tmp_path / "text" / f"{number}.txt").write_text(f"Page {number}. {TEXT}")
    rows(
        tmp_path / "chats.jsonl",
        [CHAT, {"messages": [{**CHAT["messages"][0], "content": "And?"}, CHAT["messages"][1]]}],
    )
    rows(tmp_path / "people.jsonl", [ROW])
    return tmp_path


def rows(path: Path, values: list[Any]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def complaint(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What standard error says of a wrong call, after checking that it is one paragraph and left no artifact."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--runs", str(folder / "runs")]) == 2
    out, err = capsys.readouterr()
    said = [line for line in err.splitlines() if line.startswith("arriero: ")]
    assert len(said) == 1
    assert err.rstrip("\n").endswith(said[0])
    assert "Traceback" not in err
    assert out == ""
    return said[0]


def wrong_run(folder: Path, capsys: pytest.CaptureFixture[str], recipe: str, *arguments: str) -> str:
    path = folder / "recipe.toml"
    path.write_text('name = "r"\nmachine = { dtype = "float32", threads = 1 }\n' + recipe)
    said = complaint(folder, capsys, "run", path, *arguments)
    made = [path.parent for path in folder.glob("runs/store/objects/*/manifest.json")]
    assert all(json.loads((path / "manifest.json").read_text())["kind"] == "crawl" for path in made)
    return said


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (FILES + "heldot_share = 0.1", ["Unknown key files.heldot_share", "Did you mean 'heldout_share'"]),
        (FILES.replace('"text"', '"txt"'), ["There is no folder", "txt"]),
        (CHATS.replace("chats.jsonl", "chat.jsonl"), ["There is no file or folder", "chat.jsonl"]),
        (CHATS.replace("chats.jsonl", "text"), ["text is a folder, expected a JSONL file"]),
        (FILES + 'heldout_share = "much"', ["files.heldout_share is wrong", "'much'"]),
        (FILES + "heldout_share = 2", ["files.heldout_share is wrong", "less than 1"]),
        (FILES.replace("text_files", "textfiles"), ["no stage 'data.textfiles'", "Did you mean 'data.text_files'"]),
        (FILES + "inputs = { crawl = 3 }", ["files.inputs.crawl", "label"]),
        (FILES + "inputs = { crawl = [3] }", ["files.inputs.crawl", "label"]),
        (FILES + "inputs = 'x'", ["files.inputs must be a table"]),
        (FILES + '[iteration]\nname = "v1"', ["[[iteration]]"]),
        ("iteration = [3]\n" + FILES, ["[[iteration]]"]),
        (
            FILES + '[[iteration]]\nname = "v1"\nchat = "c"\nbase = "b"\npolicy = "p"\nhelpfulness = 1\ntune = {}',
            ["iteration 1", "helpfulness must be a table"],
        ),
        ("files = 3", ["unknown key files"]),
        ("[files", ["recipe.toml is not valid TOML", "Mend"]),
        ('model = "final"\n' + FILES, ["model names 'final'", "Did you mean 'files'"]),
        ("ask = 3\n" + FILES, ["recipe.toml.ask is wrong"]),
    ],
)
def test_a_wrong_recipe(folder: Path, capsys: pytest.CaptureFixture[str], recipe: str, said: list[str]) -> None:
    message = wrong_run(folder, capsys, recipe)
    assert all(part in message for part in said), message
    assert not (folder / "runs" / "store" / "objects").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("files.heldout=1", "Unknown key files.heldout"),
        ("fils.heldout_share=1", "Did you mean 'files'"),
        ("files", "not of the form a.b=value"),
        ("files=3", "files"),
        ("name.x=3", "name is a plain value"),
        ("ask.7=3", "ask is a list"),
        ("ask.x.y=3", "ask is a list of 1"),
        ("ask.1.y=3", "no entry '1'"),
        ("machine.threads=0", "machine.threads is wrong"),
        ("machine.device=tpu", "machine.device is wrong"),
    ],
)
def test_a_wrong_setting(folder: Path, capsys: pytest.CaptureFixture[str], override: str, said: str) -> None:
    assert said in wrong_run(folder, capsys, 'ask = ["Hello?"]\n' + FILES, "--set", override)


def test_an_absent_device_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no CUDA device" in wrong_run(folder, capsys, FILES, "--set", "machine.device=cuda")


def test_an_empty_corpus(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (folder / "text").iterdir():
        path.write_text(" \n")
    assert "0 file(s) with text" in wrong_run(folder, capsys, CORPUS)
    for number, path in enumerate((folder / "text").iterdir()):
        path.write_text(f"{number} 00 11 ;; ?? ::\n" * 50)
    message = wrong_run(folder, capsys, CORPUS)
    assert "No document for training" in message
    assert "Give more or other text" in message


def test_a_text_that_is_not_utf8(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "text" / "1.txt").write_bytes(b"one\ntwo \xff\n")
    message = wrong_run(folder, capsys, CORPUS)
    assert f"{folder / 'text' / '1.txt'}:2: byte 8" in message
    assert "Convert the file to UTF-8" in message


def test_chats_that_are_not_utf8(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = json.dumps(CHAT).encode()
    (folder / "chats.jsonl").write_bytes(good + b"\n" + good.replace(b"tide", b"t\xefde") + b"\n")
    message = wrong_run(folder, capsys, CHATS)
    assert f"{folder / 'chats.jsonl'}:2: byte " in message
    assert "Convert the file to UTF-8" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rejected": "The tide."}, "people.jsonl:2:"),
        ({"rating": "much"}, "people.jsonl:2:"),
        ({"domain": "safety"}, "people.jsonl:2:"),
        ({"prompt": 7}, "people.jsonl:2:"),
        ({"chosen": None}, "people.jsonl:2:"),
        ({"extra": 1}, "people.jsonl:2:"),
    ],
)
def test_a_wrong_comparison(
    folder: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    rows(folder / "people.jsonl", [ROW, {**ROW, "prompt": "And?"} | change])
    message = wrong_run(folder, capsys, PEOPLE)
    assert said in message
    if "rejected" in change:
        assert "equal" in message or "same" in message or "identical" in message


@pytest.mark.parametrize("row", [3, [], {"messages": {}}, {"messages": [3]}, {"messages": [{"role": "user"}]}])
def test_a_wrong_chat(folder: Path, capsys: pytest.CaptureFixture[str], row: object) -> None:
    rows(folder / "chats.jsonl", [CHAT, row])
    assert f"{folder / 'chats.jsonl'}:2: " in wrong_run(folder, capsys, CHATS)


def test_wrong_names_of_runs_and_artifacts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = folder / "sound.toml"
    recipe.write_text('name = "r"\nmachine = { dtype = "float32", threads = 1 }\n' + FILES)
    assert main(["run", str(recipe), "--runs", str(folder / "runs")]) == 0
    for arguments, said in (
        (["chat", "r"], "names no model"),
        (["chat", "r:files"], "of kind crawl"),
        (["chat", "r:fils"], "Did you mean 'files'"),
        (["chat", "s:files"], "no run 's'"),
        (["chat", "abcdef"], "No artifact"),
        (["chat", "r:files", "--top-p", "0"], "top_p"),
        (["chat", "r:files", "--temperature", "-1"], "temperature"),
        (["report", "s"], "no run 's'"),
        (["runs", "show", "q:files"], "no run 'q'"),
        (["runs", "lineage", "r:x"], "no stage 'x'"),
        (["model", "export", "r:files", "--out", folder / "out"], "of kind crawl"),
        (["data", "shards", "--corpus", "r:files", "--tokenizer", "r:files"], "must be of kind corpus"),
        (["data", "build", "--crawl", "r:files", "--set", "epoch.x=2"], "Did you mean 'epochs'"),
        (["data", "build", "--crawl", "r:files", "--config", folder / "none.toml"], "There is no file"),
        (["run", folder / "none.toml"], "There is no file"),
        (["run", folder], "is a folder"),
        (["run", "long" * 100], "File name too long"),
        (["run", recipe, "--until", "fils"], "Did you mean 'files'"),
    ):
        assert said in complaint(folder, capsys, *arguments), arguments
    assert not (folder / "out").exists()


def test_a_runs_folder_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "runs").write_text("a file")
    recipe = folder / "sound.toml"
    recipe.write_text('name = "r"\n' + FILES)
    message = complaint(folder, capsys, "run", recipe)
    assert str(folder / "runs") in message
