"""Reward models and PPO on two devices: the same series; then the whole chain."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arriero.artifacts import Artifact, Machine
from arriero.artifacts.files import read_jsonl
from arriero.dialogue import first_user
from arriero.generation import SamplingConfig
from arriero.model import LoadedModel, LoraConfig
from arriero.pipeline.runs import Runs
from arriero.preference.record import Comparison, Rating, write_comparisons
from arriero.reward.score import STAGE as SCORE
from arriero.reward.score import ScoreConfig
from arriero.reward.train import STAGE as REWARD
from arriero.reward.train import RewardConfig
from arriero.rlhf.policy import Policy
from arriero.rlhf.ppo import GatedReward, PpoConfig, Trainer, train
from arriero.train.optimizer import OptimizerConfig
from conftest import ROOT
from stages import artifact, context, inputs, model_artifact
from tiny_chat import RuleScorer, prompt, tiny_loaded

WORDS = ["json", "object", "value", "string", "number", "array", "encode", "decode", "indent", "key"]


def comparison(index: int) -> Comparison:
    """The rule: an answer that ends in "true" is better, and safe."""
    rng = np.random.default_rng(index)
    good, bad = (" ".join(rng.choice(WORDS, rng.integers(2, 7))) + end for end in (" true", " null"))
    return Comparison(
        id=str(index),
        prompt=first_user(f"What is {rng.choice(WORDS)} {index}?"),
        chosen=good,
        rejected=bad,
        rating=Rating(index % 4),
        domain="safety",
        chosen_safe=True,
        rejected_safe=False,
        annotator="rule",
        split="test" if index % 4 == 0 else "train",
        chosen_source="",
        rejected_source="",
    )


def reward_series(root: Path, machine: Machine, lora: LoraConfig | None) -> tuple[list[dict[str, Any]], list[float]]:
    """(the series, the held-out scores), the model having been saved and read again."""
    root.mkdir()
    chat_model, data = model_artifact(root, "chat-model"), artifact(root, "comparisons")
    write_comparisons(data.path / "comparisons.jsonl", [comparison(i) for i in range(80)])
    optimizer = OptimizerConfig(lr=1e-2, warmup_steps=2)
    cfg = RewardConfig(kind="safety", global_batch_size=16, micro_batch_size=8, optimizer=optimizer, lora=lora)
    run = replace(context(root), machine=machine)
    REWARD.run(cfg, inputs(base=chat_model, comparisons=data), run)
    trained = Artifact("trained", run.out, chat_model.manifest, chat_model.store)
    again = replace(context(root / "again"), machine=machine)
    SCORE.run(ScoreConfig(), inputs(reward_model=trained, comparisons=data), again)
    scores = [row for _, row in read_jsonl(again.out / "scores.jsonl") if row["split"] == "test"]
    return [row for _, row in read_jsonl(run.out / "series.jsonl")], [row["chosen_score"] for row in scores]


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4, alpha=8.0)], ids=["full", "lora"])
def test_a_reward_model_is_the_cpu_s(device: str, tmp_path: Path, lora: LoraConfig | None) -> None:
    expected, scores = reward_series(tmp_path / "cpu", Machine(), lora)
    found, same = reward_series(tmp_path / "float32", Machine(device), lora)
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-3, abs=1e-3)
    assert same == pytest.approx(scores, rel=1e-2, abs=1e-2)
    low, _ = reward_series(tmp_path / "bfloat16", Machine(device, "bfloat16"), lora)
    assert [row["loss"] for row in low] == pytest.approx([row["loss"] for row in expected], rel=5e-2)


def chat(device: str) -> LoadedModel:
    loaded = tiny_loaded()
    return replace(loaded, model=loaded.model.to(device))


def ppo_series(root: Path, machine: Machine, lora: LoraConfig | None) -> list[dict[str, float]]:
    cfg = PpoConfig(
        iterations=3,
        batch_size=8,
        mini_batch_size=4,
        micro_batch_size=3,
        max_new_tokens=8,
        optimizer=OptimizerConfig(lr=3e-3, schedule="constant"),
        value_lr=3e-3,
        heldout_interval=2,
        lora=lora,
    )
    sampling = SamplingConfig(temperature=cfg.temperature, max_new_tokens=cfg.max_new_tokens)
    policy = Policy(chat(machine.device), lora, sampling, machine, seed=1)
    reward = GatedReward(
        RuleScorer(lambda answer: 10 * answer.count("o") / (len(answer) + 1)), RuleScorer(lambda _: 2.0), 0.15
    )
    prompts = [prompt(i) for i in range(24)]
    metrics = train(Trainer(cfg, policy, reward), prompts[:18], prompts[18:], replace(context(root), machine=machine))
    assert metrics["iterations"] == 3
    return [json.loads(line) for line in (root / "out" / "series.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4)], ids=["full", "lora"])
def test_ppo_is_the_cpu_s(device: str, tmp_path: Path, lora: LoraConfig | None) -> None:
    """The answers are the same, so the rewards are, to the last bit; what is estimated agrees to rounding."""
    expected = ppo_series(tmp_path / "cpu", Machine(), lora)
    found = ppo_series(tmp_path / "float32", Machine(device), lora)
    for row, wanted in zip(found, expected, strict=True):
        assert row["reward"] == wanted["reward"]
        assert row == pytest.approx(wanted, rel=1e-2, abs=1e-3)
    low = ppo_series(tmp_path / "bfloat16", Machine(device, "bfloat16"), lora)
    assert low[0]["kl"] == 0
    assert all(np.isfinite(list(row.values())).all() for row in low)


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_whole_chain_runs_and_gives_the_same_bytes_again(device: str, tmp_path: Path, dtype: str) -> None:
    settings = [f"machine.device={device}", f"machine.dtype={dtype}", "machine.threads=1"]
    command = [sys.executable, "-m", "arriero.cli.main", "run", str(ROOT / "recipes" / "micro.toml")]
    command += [word for setting in settings for word in ("--set", setting)]
    folders = [tmp_path / "first", tmp_path / "second"]
    processes = []
    for folder in folders:
        folder.mkdir()
        with (folder / "said").open("w") as said:
            process = subprocess.Popen([*command, "--runs", str(folder)], stdout=said, stderr=subprocess.STDOUT)
        processes.append(process)
    for folder, process in zip(folders, processes, strict=True):
        assert process.wait() == 0, (folder / "said").read_text()
    first, second = (made(Runs(folder)) for folder in folders)
    assert [label for label, what in first.items() if second[label] != what] == []


def made(runs: Runs) -> dict[str, tuple[str, dict[str, Any]]]:
    """Label -> (id, digests of the files) of every stage."""
    artifacts = {label: runs.store.artifact(id) for label, id in runs.load("micro").stages.items()}
    return {label: (a.id, a.manifest.files) for label, a in artifacts.items()}
