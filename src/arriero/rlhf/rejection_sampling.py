"""Rejection sampling: K answers a prompt from the newest model, the reward models pick one, the picks are tuned on.

Source: Llama 2 (arXiv:2307.09288) section 3.2.3, "Rejection Sampling fine-tuning", figures 7 and 8; the reward is the
gated one of PPO's equation. K is not stated (the plots go to 100); the best temperature for 10 to 100 samples was 1.2
to 1.3. Fine-tuning on the picks is stage `train.sft`, from the base model, with the picks of all iterations.
"""

import functools
from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arriero.artifacts import Artifact, Input, Inputs, Stage, StageContext, run_units
from arriero.artifacts.files import read_jsonl, write_json, write_jsonl
from arriero.config import config, setting
from arriero.dialogue import Prompt, read_prompts, write_dialogues
from arriero.errors import InputError
from arriero.generation import SamplingConfig
from arriero.metrics.intervals import bootstrap_mean
from arriero.model import load_model
from arriero.reward import load_reward_model
from arriero.reward.combine import gated_logit
from arriero.rlhf.rollout import derive_seed, in_units, only_answer_trained, sample_answers, spread


@config
class RejectionSamplingConfig:
    samples: int = setting(8, "K: answers sampled for each prompt (not stated; the paper's plots go to 100)", ge=1)
    temperature: float = setting(1.2, "sampling temperature (paper: 1.2 to 1.3, tuned anew each iteration)", gt=0)
    top_p: float = setting(1.0, "nucleus: smallest set of tokens with this probability", gt=0, le=1)
    max_new_tokens: int = setting(64, "longest answer", unit="tokens", ge=1)
    prompts: int | None = setting(None, "how many of the RL prompts to use, drawn at random; none = all", ge=1)
    safety_threshold: float = setting(
        0.15, "below this safety score, from 0 to 1, safety decides the reward", ge=0, le=1
    )
    seed: int = setting(0, "seed of the draws")


def expected_by_k(rewards: NDArray[np.float64], statistic: str) -> NDArray[np.float64]:
    """(prompts, K): for k = 1 to K the mean "max" or "median" over all subsets of k of each row of `rewards`.

    Unbiased for fresh draws of k, from order statistics: the j-th smallest of a random k-subset is the i-th smallest of
    all K with probability C(i-1, j-1) C(K-i, k-j) / C(K, k). `rewards` is (prompts, K).
    """
    if statistic not in ("max", "median"):
        raise ValueError(f'statistic must be "max" or "median", got {statistic!r}')
    total = rewards.shape[1]
    weights = np.empty((total, total))  # weights[k - 1, i - 1]
    for k in range(1, total + 1):
        ranks = (k, k) if statistic == "max" else ((k + 1) // 2, k // 2 + 1)  # the middle two; the same one for odd k
        for i in range(1, total + 1):
            ways = sum(comb(i - 1, j - 1) * comb(total - i, k - j) for j in ranks)
            weights[k - 1, i - 1] = ways / (2 * comb(total, k))
    return np.asarray(np.sort(rewards, axis=1) @ weights.T)


def reward_by_k(rewards: NDArray[np.float64], seed: int) -> dict[str, list[dict[str, float | int]]]:
    """Mean over prompts, with 95% intervals, of the expected max and median of k answers; `rewards` is (prompts, K)."""
    return {
        statistic: [
            {"k": k, **bootstrap_mean(per_prompt, derive_seed(seed, statistic, k)).to_json()}
            for k, per_prompt in enumerate(expected_by_k(rewards, statistic).T, 1)
        ]
        for statistic in ("max", "median")
    }


def _rank(rewards: Sequence[float], index: int) -> tuple[float, int]:
    return rewards[index], -index


def pick_best(rewards: Sequence[Sequence[float]], finished: Sequence[Sequence[bool]]) -> list[int | None]:
    """For each prompt the index of its best finished answer, the first of equals; None if all of them were cut off.

    A cut-off answer would teach the model to stop in mid-sentence. Only where the length limit cut off every answer to
    every prompt, as with a model that never learnt to end, they are picked from after all.
    """
    any_finished = any(map(any, finished))
    picks = []
    for rewards_K, finished_K in zip(rewards, finished, strict=True):
        candidates = [i for i, done in enumerate(finished_K) if done or not any_finished]
        picks.append(max(candidates, key=functools.partial(_rank, rewards_K), default=None))
    return picks


def _sample(
    cfg: RejectionSamplingConfig, policy: Artifact, units: list[list[Prompt]], context: StageContext
) -> list[dict[str, Any]]:
    """A row for each prompt: id, answers, finished."""
    machine = context.machine
    loaded = functools.cache(lambda: load_model(policy, machine, dtype=getattr(torch, machine.dtype)))
    sampling = SamplingConfig(temperature=cfg.temperature, top_p=cfg.top_p, max_new_tokens=cfg.max_new_tokens)

    def work(index: int, prompts: list[Prompt]) -> list[dict[str, Any]]:
        dialogues = [p.dialogue for p in prompts for _ in range(cfg.samples)]
        samples = sample_answers(loaded(), dialogues, sampling, seed=derive_seed(cfg.seed, "samples", index))
        per_prompt = [samples[i : i + cfg.samples] for i in range(0, len(samples), cfg.samples)]
        return [
            {"id": p.id, "answers": [s.text for s in row], "finished": [s.finished for s in row]}
            for p, row in zip(prompts, per_prompt, strict=True)
        ]

    path = run_units(context, "samples", units, work, unit="answers", size=lambda u: len(u) * cfg.samples)
    return [row for _, row in read_jsonl(path)]


def score_answers(
    name: str, reward_model: Artifact, units: list[list[tuple[Prompt, list[str]]]], context: StageContext
) -> list[list[float]]:
    """For every prompt of the units the reward model's logit of each of its answers. Loads and frees the model."""
    model = functools.cache(lambda: load_reward_model(reward_model, context.machine))

    def work(_: int, unit: list[tuple[Prompt, list[str]]]) -> list[dict[str, Any]]:
        scores = model().score([p.dialogue.with_answer(a) for p, answers in unit for a in answers]).tolist()
        return [{"scores": [scores.pop(0) for _ in answers]} for _, answers in unit]

    path = run_units(context, name, units, work, unit="answers", size=lambda u: sum(len(a) for _, a in u))
    return [row["scores"] for _, row in read_jsonl(path)]


def run(cfg: RejectionSamplingConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Samples, scores and picks. Raises InputError if there is no prompt."""
    prompts = spread(read_prompts(inputs.one("chat").path / "prompts-rl.jsonl"), cfg.prompts, cfg.seed)
    if not prompts:
        raise InputError("There are no prompts to sample answers to: prompts-rl.jsonl of the chat input is empty.")
    sampled = _sample(cfg, inputs.one("policy"), in_units(prompts, cfg.samples), context)
    answered = [(p, row["answers"]) for p, row in zip(prompts, sampled, strict=True)]
    scored_units = in_units(answered, cfg.samples)
    helpfulness = score_answers("helpfulness", inputs.one("helpfulness"), scored_units, context)
    safety = score_answers("safety", inputs.one("safety"), scored_units, context)
    tags = torch.tensor([[p.safety] * cfg.samples for p in prompts])
    rewards = gated_logit(torch.tensor(helpfulness), torch.tensor(safety), tags, cfg.safety_threshold).tolist()
    picks = pick_best(rewards, [row["finished"] for row in sampled])
    write_jsonl(
        context.out / "candidates.jsonl",
        (
            row | {"safety_tag": p.safety, "helpfulness": h, "safety": s, "reward": r, "picked": i}
            for p, row, h, s, r, i in zip(prompts, sampled, helpfulness, safety, rewards, picks, strict=True)
        ),
    )
    chosen = [
        only_answer_trained(p.dialogue, row["answers"][i])
        for p, row, i in zip(prompts, sampled, picks, strict=True)
        if i is not None
    ]
    write_dialogues(context.out / "dialogues.jsonl", chosen)
    curves = reward_by_k(np.array(rewards), cfg.seed)
    write_json(
        context.out / "reward_by_k.json", {"prompts": len(prompts), "samples": cfg.samples, "unit": "logit", **curves}
    )
    for part in ("samples", "helpfulness", "safety"):  # candidates.jsonl holds them all
        (context.out / f"{part}.jsonl").unlink()
    return {
        "prompts": len(prompts),
        "answers": len(prompts) * cfg.samples,
        "picks": len(chosen),
        "finished_share": float(np.mean([row["finished"] for row in sampled])),
        "reward_mean": curves["max"][0]["mean"],
        "reward_max": curves["max"][-1]["mean"],
    }


STAGE = Stage(
    name="rlhf.rejection_sampling",
    config=RejectionSamplingConfig,
    inputs=(
        Input("policy", "model"),
        Input("chat", "chat"),
        Input("helpfulness", "reward_model"),
        Input("safety", "reward_model"),
    ),
    output="dialogues",
    run=run,
)
