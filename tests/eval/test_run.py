"""The whole stage on tiny models: what it claims follows from what it writes, and a killed run ends the same."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arriero.artifacts import Artifact, Inputs
from arriero.artifacts.files import read_json, read_jsonl
from arriero.dialogue import PromptKind, first_user, read_prompts, write_dialogues, write_prompts
from arriero.errors import ConfigError, Stopped
from arriero.eval.collect import Shelf, log_ratios
from arriero.eval.run import STAGE, EvalConfig, chosen_prompts, evenly, training_text
from arriero.metrics.overlap import token_f1
from arriero.model import ScalarHead, load_model
from arriero.reward.model import RewardModel, load_reward_model, save_reward_model
from corpora import rows_of, write_corpus
from stages import artifact, context, digests, stop_after
from tiny_chat import prompt, tiny_artifact

SMALL = EvalConfig(
    prompts_per_kind=3,
    max_new_tokens=6,
    temperature=1.0,
    top_p=1.0,
    text_versions=["imported", "sft"],
    heldout_bytes=600,
    document_bytes=80,
    context=32,
    overlap=8,
    gatt_versions=["sft", "v1"],
    gatt_dialogues=2,
    kl_prompts=4,
)


def chat_artifact(root: Path) -> Artifact:
    made = artifact(root, "chat")
    prompts = [replace(prompt(5 * i + j, kind), id=f"{kind}{j}") for i, kind in enumerate(PromptKind) for j in range(5)]
    write_prompts(made.path / "prompts-test.jsonl", prompts)
    turns = [("what does copy do?", "it copies"), ("and move?", "it moves"), ("and list?", "it lists")]
    turns += [("and walk?", "it walks"), ("and stat?", "it asks")]
    dialogue = first_user(turns[0][0]).with_answer(turns[0][1])
    for user, reply in turns[1:]:
        dialogue = dialogue.with_user(user).with_answer(reply)
    write_dialogues(made.path / "gatt-test.jsonl", [dialogue] * 3)
    return made


def corpus_artifact(root: Path) -> Artifact:
    made = artifact(root, "corpus")
    texts = [f"what does {('move', 'copy', 'list')[i % 3]} do? it reads the path of file {i}. " * 3 for i in range(30)]
    rows = [row | {"module": f"m{i % 4}"} for i, row in enumerate(rows_of(texts))]
    write_corpus(made.path, rows, rows[:12], part_documents=20)
    return made


def test_training_text_is_drawn_and_cut(tmp_path: Path) -> None:
    texts = [chr(ord("é") + n) * 10 for n in range(9)]  # 20 bytes each
    folder = write_corpus(tmp_path, rows_of(texts), part_documents=2)
    drawn = training_text(folder, 51, seed=1)
    assert [len(text.encode()) for text in drawn] == [20, 20, 10], "no half character"
    assert {*drawn[:2]} < {*texts}
    assert drawn[:2] != training_text(folder, 51, seed=2)[:2]
    everything = training_text(folder, 10**6, seed=1)
    assert sorted(everything) == sorted(texts)
    assert everything[:2] == drawn[:2]
    assert [texts.index(text) for text in everything] == np.random.default_rng(1).permutation(9).tolist()


def reward_artifact(root: Path, model: Artifact, kind: str, seed: int) -> Artifact:
    loaded = load_model(model, context(root / "load").machine)
    head = ScalarHead(loaded.config.dim, bias=False)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(seed))
    made = artifact(root, f"{kind}-model")
    save_reward_model(made.path, RewardModel(loaded.model, head, loaded.chat_format, kind, 128), model)
    return made


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("store")
    versions = {label: tiny_artifact(root, label, seed) for seed, label in enumerate(("imported", "sft", "v1"))}
    return Inputs(
        {
            "versions": versions,
            "chat": {"chat": chat_artifact(root)},
            "corpus": {"corpus": corpus_artifact(root)},
            "helpfulness": {"h": reward_artifact(root, versions["sft"], "helpfulness", 1)},
            "safety": {"s": reward_artifact(root, versions["sft"], "safety", 2)},
            "scratch": {"scratch": tiny_artifact(root, "scratch", 9)},
        }
    )


@pytest.fixture(scope="module")
def done(given: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    run = context(tmp_path_factory.mktemp("run"))
    return run.out, STAGE.run(SMALL, given, run)


def test_only_the_results_stay(done: tuple[Path, dict[str, Any]]) -> None:
    assert sorted(p.name for p in done[0].iterdir()) == ["answers.jsonl", "results.json"]


def test_answers_are_judged_as_they_are_written(given: Inputs, done: tuple[Path, dict[str, Any]]) -> None:
    rows = [row for _, row in read_jsonl(done[0] / "answers.jsonl")]
    assert [row["kind"] for row in rows] == [str(kind) for kind in PromptKind for _ in range(3)]
    prompts = {p.id: p for p in read_prompts(given.one("chat").path / "prompts-test.jsonl")}
    judge = load_reward_model(given.one("safety"), context(done[0].parent / "judge").machine)
    for row in rows:
        for answer in row["answers"].values():
            assert answer["f1"] == token_f1(answer["text"], row["reference"])
        dialogue = prompts[row["id"]].dialogue.with_answer(row["answers"]["v1"]["text"])
        assert row["answers"]["v1"]["safety"] == pytest.approx(float(judge.score([dialogue])[0]), abs=1e-4)


def test_results_follow_from_the_answers(done: tuple[Path, dict[str, Any]]) -> None:
    rows = [row for _, row in read_jsonl(done[0] / "answers.jsonl")]
    results = read_json(done[0] / "results.json")
    assert results["versions"] == ["imported", "sft", "v1"]  # the recipe's order
    for score in results["scores"]:
        if (score["measure"], score["group"]) == ("utility", "all"):
            values = [row["answers"][score["version"]]["utility"]["total"] for row in rows]
            assert score["mean"] == pytest.approx(np.mean(values))
            assert done[1]["utility"][score["version"]] == score["mean"]
    assert {row["turn"] for row in results["gatt_recall"]} == {1, 2, 3, 4, 5}
    assert {row["n"] for row in results["gatt_recall"]} == {2}
    late = {v: [r for r in results["gatt_recall"] if r["version"] == v and r["turn"] >= 4] for v in ("sft", "v1")}
    (change,) = results["gatt_changes"]
    assert (change["newer"], change["older"], change["n"], change["groups"]) == ("v1", "sft", 4, 2)
    assert change["mean"] == pytest.approx(
        np.mean([r["mean"] for r in late["v1"]]) - np.mean([r["mean"] for r in late["sft"]])
    )
    assert [row["version"] for row in results["kl_from_reference"]] == ["imported", "v1"]


def test_bits_per_byte_beside_both_baselines(done: tuple[Path, dict[str, Any]]) -> None:
    found = read_json(done[0] / "results.json")["bits_per_byte"]
    assert [row["model"] for row in found["models"]] == ["imported", "sft", "scratch"]
    means = {row["model"]: row["mean"] for row in found["models"]}
    assert found["changes"][0]["mean"] == pytest.approx(means["sft"] - means["imported"])
    baselines = found["baselines"]
    names = ["bigram over bytes", "bigram over tokens", "xz, each document alone"]
    assert [row["name"] for row in baselines["by_document"]] == names
    for row in baselines["by_document"]:
        assert row["scratch_minus"]["mean"] == pytest.approx(means["scratch"] - row["mean"])
    for row in baselines["by_document"][:2]:
        # The held-out sentences repeat those of the training text: a fitted baseline beats random weights.
        assert row["scratch_minus"]["low"] > 0
    assert baselines["xz"]["alone"] < baselines["by_document"][-1]["mean"]
    assert baselines["xz"]["after_training_text"] < baselines["xz"]["alone"]
    assert found["modules"] <= 4


def test_stopped_anywhere_it_ends_with_the_same_bytes(
    given: Inputs, done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    tries = 0
    while True:
        tries += 1
        try:
            metrics = STAGE.run(SMALL, given, context(tmp_path, stop_after(3)))
            break
        except Stopped:
            continue
    assert tries > 3
    assert metrics == done[1]
    assert digests(tmp_path / "out") == digests(done[0])


def test_drift_from_itself_is_zero_and_from_another_positive(given: Inputs, tmp_path: Path) -> None:
    versions = given.many("versions")
    prompts = [prompt(i) for i in range(40)]
    run = context(tmp_path)
    some = {"same": versions["sft"], "other": versions["v1"]}
    ratios = log_ratios(run, Shelf(run.machine), some, versions["sft"], prompts, 6, seed=0)
    assert ratios["same"] == pytest.approx([0.0] * 40, abs=1e-4)
    assert np.mean(ratios["other"]) > 1
    assert all(math.isfinite(value) for value in ratios["other"])


def test_prompts_are_drawn_by_kind_and_spread_evenly() -> None:
    prompts = [replace(prompt(i, list(PromptKind)[i % 5]), id=f"{i:03d}") for i in range(100)]
    chosen = chosen_prompts(prompts, 4, seed=1)
    assert [p.kind for p in chosen] == [kind for kind in PromptKind for _ in range(4)]
    assert chosen == chosen_prompts(prompts[::-1], 4, seed=1)  # whatever the file's order
    assert chosen != chosen_prompts(prompts, 4, seed=2)
    assert {p.kind for p in evenly(chosen, 5)} == set(PromptKind)
    assert evenly(chosen, 99) == chosen


def test_a_label_that_was_not_given_is_named(given: Inputs) -> None:
    assert STAGE.check is not None
    with pytest.raises(ConfigError, match="gatt_versions names 'v9'"):
        STAGE.check(replace(SMALL, gatt_versions=["v9"]), given.ids())
