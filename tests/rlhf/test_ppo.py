import json
from dataclasses import replace
from statistics import fmean

import pytest
import torch

import stages
from arriero.artifacts import Machine
from arriero.dialogue import PromptKind, write_prompts
from arriero.errors import InputError, Stopped
from arriero.generation import SamplingConfig
from arriero.model import LoraConfig, load_model
from arriero.rlhf import ppo
from arriero.rlhf.policy import Policy
from arriero.rlhf.ppo import GatedReward, PpoConfig, Trainer, batch_of, split_heldout, train
from arriero.train.optimizer import OptimizerConfig
from tiny_chat import RuleScorer, prompt, tiny_artifact, tiny_loaded

PROMPTS = [prompt(i) for i in range(24)]
SMALL = PpoConfig(
    iterations=6,
    batch_size=8,
    mini_batch_size=4,
    micro_batch_size=3,
    max_new_tokens=8,
    optimizer=OptimizerConfig(lr=3e-3, schedule="constant"),
    value_lr=3e-3,
    heldout_prompts=6,
    heldout_interval=2,
    lora=LoraConfig(rank=4),
    checkpoint_interval=0,
)


def share_of_o(prompts, answers):
    return torch.tensor([10 * a.count("o") / (len(a) + 1) for a in answers])


def trainer(cfg, reward=share_of_o):
    sampling = SamplingConfig(temperature=cfg.temperature, max_new_tokens=cfg.max_new_tokens)
    return Trainer(cfg, Policy(tiny_loaded(), cfg.lora, sampling, Machine(), seed=1), reward)


def trained_bytes(trainer):
    return {name: tensor.numpy().tobytes() for name, tensor in trainer.trained().items()}


def test_every_pass_over_the_prompts_meets_each_once_in_an_order_of_its_own():
    drawn = [p.id for iteration in range(9) for p in batch_of(PROMPTS, 8, iteration, seed=0)]
    passes = [drawn[i : i + 24] for i in range(0, 72, 24)]
    assert [sorted(p) for p in passes] == [sorted(p.id for p in PROMPTS)] * 3
    assert len({tuple(p) for p in passes}) == 3
    assert len(batch_of(PROMPTS[:3], 8, 2, seed=0)) == 8  # a batch may span passes


def test_heldout_prompts_are_never_trained_on():
    trained, heldout = split_heldout(PROMPTS, 6, seed=0)
    assert len(heldout) == 6
    assert sorted(p.id for p in trained + heldout) == sorted(p.id for p in PROMPTS)
    with pytest.raises(InputError, match="holds 24 RL prompts out"):
        split_heldout(PROMPTS, 24, seed=0)
    wrapped = [replace(p, group=str(i // 4)) for i, p in enumerate(PROMPTS)]
    trained, heldout = split_heldout(wrapped, 6, seed=0)
    assert len(heldout) == 8
    assert not {p.group for p in trained} & {p.group for p in heldout}


def test_the_reward_rises_and_the_kl_with_it(tmp_path):
    cfg = replace(SMALL, iterations=20, batch_size=32, mini_batch_size=16, micro_batch_size=16, patience=9)
    made = trainer(cfg)
    metrics = train(made, PROMPTS[:18], PROMPTS[18:], stages.context(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "out/series.jsonl").open()]
    assert [row["iteration"] for row in rows] == list(range(1, 21))
    first, last = (sum(row["reward"] for row in part) / 4 for part in (rows[:4], rows[-4:]))
    assert last > 2 * first
    assert metrics["heldout_reward_best"] > 1.5 * metrics["heldout_reward_first"]
    assert rows[0]["kl"] == 0
    assert rows[-1]["kl"] > 0.1
    assert (
        fmean(made.heldout_rewards(PROMPTS[18:])) == metrics["heldout_reward_best"]
    )  # the best policy is the one that is left


def test_a_kl_coefficient_keeps_the_policy_near_its_reference(tmp_path):
    kl = {}
    for kl_coef in (0.0, 0.5):
        cfg = replace(SMALL, iterations=15, batch_size=16, mini_batch_size=16, kl_coef=kl_coef, patience=99)
        train(trainer(cfg), PROMPTS[:18], PROMPTS[18:], stages.context(tmp_path / str(kl_coef)))
        rows = [json.loads(line) for line in (tmp_path / str(kl_coef) / "out/series.jsonl").open()]
        kl[kl_coef] = sum(row["kl"] for row in rows[-3:])
    assert kl[0.5] < 0.6 * kl[0.0]


def test_before_the_first_step_every_ratio_is_exactly_one():
    # One mini-batch: its loss is minus the mean of the whitened advantages, zero, and nothing is clipped.
    made = trainer(replace(SMALL, mini_batch_size=8), lambda _, answers: torch.tensor([float(len(a)) for a in answers]))
    row, _ = made.iterate(PROMPTS, 0, ppo.RunningMoments())
    assert row["clip_fraction"] == 0
    assert abs(row["policy_loss"]) < 1e-6
    assert row["value_loss"] > 0


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4)])
def test_cutting_into_micro_batches_changes_only_the_rounding(lora):
    moved = []
    for micro_batch_size in (1, 4):
        made = trainer(replace(SMALL, micro_batch_size=micro_batch_size, lora=lora))
        start = made.trained()
        made.iterate(PROMPTS, 0, ppo.RunningMoments())
        moved.append({name: tensor - start[name] for name, tensor in made.trained().items()})
    assert sum(float(change.abs().sum()) for change in moved[0].values()) > 0.1
    for name, change in moved[0].items():
        torch.testing.assert_close(change, moved[1][name], rtol=1e-2, atol=2e-4)


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4)])
@pytest.mark.parametrize("how", ["asked to stop", "killed"])
def test_resumed_it_ends_with_the_same_bytes(tmp_path, how, lora):
    cfg = replace(SMALL, lora=lora)
    whole = trainer(cfg)
    expected = train(whole, PROMPTS[:18], PROMPTS[18:], stages.context(tmp_path / "whole"))

    context = stages.context(tmp_path / "cut")
    calls, asked = 0, False

    def reward(prompts, answers):
        nonlocal calls, asked
        calls += 1
        asked = how == "asked to stop" and calls in (2, 5)
        if how == "killed" and calls in (4, 7):
            raise KeyboardInterrupt
        return share_of_o(prompts, answers)

    context.stop_requested = lambda: asked
    starts = 0
    while True:
        starts += 1
        again = trainer(cfg, reward)
        try:
            metrics = train(again, PROMPTS[:18], PROMPTS[18:], context)
            break
        except (Stopped, KeyboardInterrupt):
            continue
    assert starts == 3
    assert metrics == expected
    assert trained_bytes(again) == trained_bytes(whole)
    assert (tmp_path / "cut/out/series.jsonl").read_bytes() == (tmp_path / "whole/out/series.jsonl").read_bytes()


def test_it_stops_early_where_the_heldout_reward_does_not_rise_and_leaves_the_best_policy(tmp_path):
    measured = iter([3.0, 1.0, 4.0, 2.0, 4.0, 9.0])

    def reward(prompts, answers):
        heldout = {p.id for p in prompts} == {p.id for p in PROMPTS[18:]}
        return torch.full((len(answers),), next(measured)) if heldout else share_of_o(prompts, answers)

    made = trainer(replace(SMALL, iterations=20, heldout_interval=1, patience=2), reward)
    policies = []
    iterate = made.iterate
    made.iterate = lambda *a: (iterate(*a), policies.append(trained_bytes(made)))[0]
    metrics = train(made, PROMPTS[:18], PROMPTS[18:], stages.context(tmp_path))
    assert metrics == {
        "iterations": 4,
        "stopped_early": True,
        "best_iteration": 2,
        "heldout_reward_first": 3.0,
        "heldout_reward_best": 4.0,
        "heldout_gain": {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 6, "groups": 6},
    }
    assert trained_bytes(made) == policies[1]


def test_the_gate_takes_the_safety_score_for_tagged_prompts_and_unsafe_answers():
    reward = GatedReward(RuleScorer(lambda a: 5.0), RuleScorer(lambda a: {"bad": -3.0, "ok": 1.0}[a]), 0.15)
    prompts = [prompt(0), prompt(1), prompt(2, PromptKind.UNSAFE)]
    assert reward(prompts, ["ok", "bad", "ok"]).tolist() == [5.0, -3.0, 1.0]


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4)])
def test_the_stage_saves_a_model_that_loads_as_the_best_policy(tmp_path, monkeypatch, lora):
    policy = tiny_artifact(tmp_path, "policy")
    chat = stages.artifact(tmp_path, "chat")
    write_prompts(chat.path / "prompts-rl.jsonl", PROMPTS)
    monkeypatch.setattr(ppo, "load_reward_model", lambda artifact, machine: RuleScorer(lambda a: a.count("o")))
    made = stages.artifact(tmp_path, "v2")
    context = stages.context(tmp_path / "working")
    context.out = made.path
    inputs = stages.inputs(policy=policy, chat=chat, helpfulness=policy, safety=policy)
    metrics = ppo.STAGE.run(replace(SMALL, lora=lora), inputs, context)
    assert metrics["best_iteration"] > 0
    assert metrics["kl"] > 0

    loaded = load_model(made, Machine())
    sampling = SamplingConfig(temperature=SMALL.temperature, max_new_tokens=SMALL.max_new_tokens)
    _, heldout = split_heldout(PROMPTS, SMALL.heldout_prompts, SMALL.seed)
    again = Trainer(
        SMALL,
        Policy(loaded, LoraConfig(rank=1), sampling, Machine(), 0),
        lambda _, answers: torch.tensor([float(a.count("o")) for a in answers]),
    )
    assert fmean(again.heldout_rewards(heldout)) == pytest.approx(metrics["heldout_reward_best"])
    weights, adapters = ((made.path / f"{name}.safetensors").exists() for name in ("weights", "adapter"))
    assert (weights, adapters) == (lora is None, lora is not None)
