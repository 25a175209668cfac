import itertools
from dataclasses import replace

import numpy as np
import pytest

import stages
from arriero.artifacts.files import read_json, read_jsonl
from arriero.dialogue import PromptKind, read_dialogues, write_prompts
from arriero.errors import InputError, Stopped
from arriero.rlhf import rejection_sampling, rollout
from arriero.rlhf.rejection_sampling import RejectionSamplingConfig, expected_by_k, pick_best, reward_by_k
from tiny_chat import RuleScorer, prompt, tiny_artifact

SMALL = RejectionSamplingConfig(samples=6, max_new_tokens=8)


@pytest.mark.parametrize("total", [1, 4, 5])
@pytest.mark.parametrize(("statistic", "function"), [("max", np.max), ("median", np.median)])
def test_expected_by_k_is_the_mean_over_all_subsets(total, statistic, function):
    rewards = np.random.default_rng(total).normal(size=(3, total))
    for row, got in zip(rewards, expected_by_k(rewards, statistic), strict=True):
        for k in range(1, total + 1):
            subsets = [function(subset) for subset in itertools.combinations(row, k)]
            assert got[k - 1] == pytest.approx(np.mean(subsets))


def test_expected_by_k_is_unbiased_for_fresh_draws():
    draws = np.random.default_rng(0).normal(size=(20_000, 8))
    # Mean of the largest of 3 standard normals: 3 / (2 sqrt(pi)).
    assert expected_by_k(draws, "max")[:, 2].mean() == pytest.approx(1.5 / np.sqrt(np.pi), abs=0.01)
    assert expected_by_k(draws, "median")[:, 4].mean() == pytest.approx(0, abs=0.01)


def test_expected_by_k_refuses_another_statistic():
    with pytest.raises(ValueError, match="statistic must be"):
        expected_by_k(np.ones((1, 2)), "mean")


def test_the_curve_rises_with_k_and_carries_n_and_an_interval():
    curves = reward_by_k(np.random.default_rng(0).normal(size=(40, 6)), seed=0)
    means = [row["mean"] for row in curves["max"]]
    assert means == sorted(means)
    assert [row["k"] for row in curves["median"]] == list(range(1, 7))
    assert all(row["n"] == 40 and row["low"] < row["mean"] < row["high"] for row in curves["max"])
    assert curves["max"][0]["mean"] == curves["median"][0]["mean"]


def test_the_pick_is_the_best_finished_answer():
    finished = [[True, False, True], [True] * 3, [False] * 3]
    assert pick_best([[1.0, 3.0, 2.0], [1.0, 5.0, 5.0], [9.0, 9.0, 9.0]], finished) == [2, 1, None]
    assert pick_best([[1.0, 3.0]], [[False, False]]) == [1]


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Inputs of the stage; the helpfulness model counts the letter e, the safety model dislikes the letter z."""
    policy = tiny_artifact(tmp_path, "policy")
    chat, helpfulness, safety = (stages.artifact(tmp_path, name) for name in ("chat", "helpfulness", "safety"))
    prompts = [prompt(i, PromptKind.UNSAFE if i % 4 == 0 else PromptKind.CLOSED_BOOK) for i in range(10)]
    write_prompts(chat.path / "prompts-rl.jsonl", prompts)
    rules = {"helpfulness": lambda a: a.count("e"), "safety": lambda a: 1.0 - 4 * a.count("z")}
    monkeypatch.setattr(rejection_sampling, "load_reward_model", lambda made, _: RuleScorer(rules[made.id]))
    monkeypatch.setattr(rollout, "ANSWERS_PER_UNIT", 18)
    return stages.inputs(policy=policy, chat=chat, helpfulness=helpfulness, safety=safety)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Babble rarely ends, and the stage trains on no answer that was cut off.
@pytest.fixture(autouse=True)
def every_answer_ends(monkeypatch):
    sample = rejection_sampling.sample_answers
    monkeypatch.setattr(
        rejection_sampling,
        "sample_answers",
        lambda *a, **k: [replace(s, finished=bool(s.ids[0] % 7)) for s in sample(*a, **k)],
    )


def test_candidates_picks_and_curve_agree(given, tmp_path):
    context = stages.context(tmp_path / "run")
    metrics = rejection_sampling.STAGE.run(SMALL, given, context)
    assert sorted(contents(context.out)) == ["candidates.jsonl", "dialogues.jsonl", "reward_by_k.json"]
    rows = [row for _, row in read_jsonl(context.out / "candidates.jsonl")]
    assert [row["id"] for row in rows] == [f"p{i}" for i in range(10)]
    for row in rows:
        assert len(set(row["answers"])) > 1
        for answer, helpful, safe, reward in zip(
            row["answers"], row["helpfulness"], row["safety"], row["reward"], strict=True
        ):
            assert helpful == answer.count("e")
            assert safe == 1.0 - 4 * answer.count("z")
            assert reward == (safe if row["safety_tag"] or safe < -1.73 else helpful)
        finished = [i for i, done in enumerate(row["finished"]) if done]
        assert row["reward"][row["picked"]] == max(row["reward"][i] for i in finished)
        assert row["picked"] in finished
    picked = [d.answer for d in read_dialogues(context.out / "dialogues.jsonl")]
    assert picked == [row["answers"][row["picked"]] for row in rows]
    curve = read_json(context.out / "reward_by_k.json")
    assert curve["max"][-1]["mean"] == pytest.approx(np.mean([max(row["reward"]) for row in rows]))
    assert curve["max"][0]["mean"] == pytest.approx(np.mean([row["reward"] for row in rows]))
    assert metrics["picks"] == metrics["prompts"] == 10
    assert metrics["reward_max"] > metrics["reward_mean"]


def test_stopped_after_every_unit_it_ends_with_the_same_bytes(given, tmp_path):
    whole, cut = stages.context(tmp_path / "whole"), stages.context(tmp_path / "cut")
    expected = rejection_sampling.STAGE.run(SMALL, given, whole)
    checks = itertools.count(1)
    cut.stop_requested = lambda: next(checks) % 2 == 0  # one unit goes through, the next is refused
    starts = 1
    while True:
        try:
            metrics = rejection_sampling.STAGE.run(SMALL, given, cut)
            break
        except Stopped:
            starts += 1
    assert starts > 5
    assert metrics == expected
    assert contents(cut.out) == contents(whole.out)


def test_fewer_prompts_and_another_seed(given, tmp_path):
    answers = []
    for seed in (0, 1):
        context = stages.context(tmp_path / str(seed))
        metrics = rejection_sampling.STAGE.run(replace(SMALL, prompts=4, seed=seed), given, context)
        assert metrics["prompts"] == 4
        answers.append((context.out / "candidates.jsonl").read_text())
    assert answers[0] != answers[1]


def test_no_prompts_is_an_error(given, tmp_path):
    (given.one("chat").path / "prompts-rl.jsonl").write_text("")
    with pytest.raises(InputError, match="no prompts"):
        rejection_sampling.STAGE.run(SMALL, given, stages.context(tmp_path))
