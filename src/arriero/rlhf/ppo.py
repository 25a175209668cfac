"""PPO on the gated, whitened reward with a penalty on the KL from the initial policy.

Source: Llama 2 (arXiv:2307.09288) section 3.2.3, equations 3 and 4: maximise E[Rt_c - beta KL(policy || initial
policy)], Rt_c = whiten(logit(R_c)). AdamW (0.9, 0.95, 1e-5), weight decay 0.1, clipping 1.0, constant learning rate
1e-6, batch 512, mini-batch 64, one step per mini-batch, clip 0.2, beta 0.01 (7B, 13B) or 0.005 (34B, 70B), 200 to 400
iterations, stopped early on held-out prompts. What the paper does not state follows lm-human-preference-details: the KL
is charged per token (k1), the score goes to the last token, advantages are whitened over the batch, the value loss is
clipped. Whitening of the reward: see RunningMoments.
Shapes: legend in rollout.py.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.config import config, setting
from arriero.dialogue import Prompt, read_prompts
from arriero.errors import InputError
from arriero.generation import SamplingConfig
from arriero.metrics.intervals import paired_bootstrap
from arriero.model import LoraConfig, load_model, save_model
from arriero.reward import RewardModel, load_reward_model
from arriero.reward.combine import gated_logit
from arriero.rlhf.advantages import RunningMoments, gae, masked_mean, token_rewards, whiten
from arriero.rlhf.kl import kl_k1, kl_k3, sequence_kl
from arriero.rlhf.policy import Policy
from arriero.rlhf.ppo_loss import clipped, policy_loss, value_loss
from arriero.rlhf.rollout import MicroBatch, Rollout, Sampled, derive_seed, mini_batches
from arriero.train.checkpoint import (
    CHECKPOINT_FOLDER,
    load_checkpoint,
    restore_training_state,
    save_checkpoint,
    training_state,
)
from arriero.train.loop import CheckpointClock
from arriero.train.optimizer import OptimizerConfig, build_optimizer
from arriero.train.schedule import lr_at
from arriero.train.step import optimizer_step, reproducible
from arriero.train.tracking import SeriesWriter, read_series

# The combined logit of each answer, (B,) in float32.
Reward = Callable[[Sequence[Prompt], Sequence[str]], Tensor]


@config
class PpoConfig:
    iterations: int = setting(200, "iterations at most (paper: 200 to 400)", ge=1)
    batch_size: int = setting(512, "answers sampled in an iteration (paper: 512)", ge=1)
    mini_batch_size: int = setting(64, "answers in an optimizer step, one step each (paper: 64)", ge=1)
    micro_batch_size: int = setting(8, "answers that go through the model at once; changes rounding only", ge=1)
    temperature: float = setting(1.0, "sampling temperature (not stated)", gt=0)
    max_new_tokens: int = setting(64, "longest answer (not stated)", unit="tokens", ge=1)
    optimizer: OptimizerConfig = setting(
        # The paper's. Small models with adapters want about 1e-4.
        OptimizerConfig(lr=1e-6, schedule="constant"),
        "the policy's AdamW and its schedule",
    )
    value_lr: float = setting(1e-4, "constant learning rate of the value head (not stated)", gt=0)
    kl_coef: float = setting(
        0.01, "beta: the reward's charge for each nat of KL (paper: 0.01; 34B and 70B 0.005)", ge=0
    )
    clip_range: float = setting(
        0.2, "how far from 1 a token's probability ratio is still rewarded (paper: 0.2)", gt=0, lt=1
    )
    value_clip_range: float = setting(0.2, "the same for the value, in its own unit (not stated)", gt=0)
    gae_lambda: float = setting(0.95, "decay of later errors in an advantage, with gamma 1 (not stated)", ge=0, le=1)
    safety_threshold: float = setting(
        0.15, "below this safety score, from 0 to 1, safety decides the reward", ge=0, le=1
    )
    heldout_prompts: int = setting(64, "RL prompts kept out of training to stop early on", ge=1)
    heldout_interval: int = setting(10, "iterations between two measurements on them", ge=1)
    patience: int = setting(3, "measurements without a new best reward after which training stops", ge=1)
    lora: LoraConfig | None = setting(
        None, "adapters to train instead of all weights; the reference is then adapters off"
    )
    seed: int = setting(0, "seed of the draws")
    checkpoint_interval: float = setting(60.0, "seconds between checkpoints", unit="s", operational=True, ge=0)


class GatedReward:
    """logit(R_c) of the two reward models, which stay loaded."""

    def __init__(self, helpfulness: RewardModel, safety: RewardModel, threshold: float) -> None:
        self._models = (helpfulness, safety)
        self._threshold = threshold

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
        dialogues = [p.dialogue.with_answer(a) for p, a in zip(prompts, answers, strict=True)]
        helpful_B, safe_B = (model.score(dialogues).float().cpu() for model in self._models)
        return gated_logit(helpful_B, safe_B, torch.tensor([p.safety for p in prompts]), self._threshold)


@dataclass(frozen=True)
class State:
    """What an iteration hands to the next beside the weights. Rewards are logits, one per held-out prompt."""

    iteration: int = 0
    moments: RunningMoments = field(default_factory=RunningMoments)
    first_rewards: list[float] = field(default_factory=list)
    best_rewards: list[float] = field(default_factory=list)
    best_iteration: int = 0
    worse: int = 0  # measurements since the best

    def measured(self, rewards: list[float]) -> "State":
        if fmean(rewards) > fmean(self.best_rewards):
            return replace(self, best_rewards=rewards, best_iteration=self.iteration, worse=0)
        return replace(self, worse=self.worse + 1)


def split_heldout(prompts: Sequence[Prompt], count: int, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """(training prompts, held-out ones): at least `count`, and all that ask the same on one side.

    Raises InputError if that leaves nothing to train on.
    """
    sizes = Counter(prompt.asks for prompt in prompts)
    order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(derive_seed(seed, "heldout"))).tolist()
    asked, held = list(sizes), set[str]()
    while sum(sizes[asks] for asks in held) < count and len(held) < len(asked):
        held.add(asked[order[len(held)]])
    if len(held) == len(asked):
        raise InputError(
            f"PPO holds {count} RL prompts out, but prompts-rl.jsonl of the chat input has {len(prompts)}. "
            "Lower heldout_prompts or give more prompts."
        )
    return [p for p in prompts if p.asks not in held], [p for p in prompts if p.asks in held]


def batch_of(prompts: Sequence[Prompt], batch_size: int, iteration: int, seed: int) -> list[Prompt]:
    """The prompts of an iteration, from 0: each pass over all prompts is in a new random order."""
    chosen: list[Prompt] = []
    position = iteration * batch_size
    while len(chosen) < batch_size:
        epoch, start = divmod(position + len(chosen), len(prompts))
        generator = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))
        order = torch.randperm(len(prompts), generator=generator).tolist()
        chosen += [prompts[i] for i in order[start : start + batch_size - len(chosen)]]
    return chosen


class Trainer:
    """The loop's parts: the policy, its optimizers, the reward."""

    def __init__(self, cfg: PpoConfig, policy: Policy, reward: Reward) -> None:
        self.cfg, self.policy, self.reward = cfg, policy, reward
        self._optimizers = [
            build_optimizer(policy.model.parameters(), cfg.optimizer),
            build_optimizer(policy.value_head.parameters(), replace(cfg.optimizer, lr=cfg.value_lr)),
        ]

    def heldout_rewards(self, prompts: Sequence[Prompt]) -> list[float]:
        """The logit on each held-out prompt, sampled with the same seed every time."""
        sampled = self.policy.sample(prompts, derive_seed(self.cfg.seed, "heldout answers"))
        return [float(reward) for reward in self.reward(sampled.prompts, sampled.answers)]

    def iterate(
        self, prompts: Sequence[Prompt], iteration: int, moments: RunningMoments
    ) -> tuple[dict[str, float], RunningMoments]:
        """Samples a batch, takes one step per mini-batch; returns the row of the series and the new moments."""
        cfg = self.cfg
        batch = batch_of(prompts, cfg.batch_size, iteration, cfg.seed)
        sampled = self.policy.sample(batch, derive_seed(cfg.seed, "answers", iteration))
        score_B = self.reward(sampled.prompts, sampled.answers)
        moments = moments.update(score_B)
        order_seed = derive_seed(cfg.seed, "mini-batches", iteration)
        batches = mini_batches(sampled, cfg.mini_batch_size, cfg.micro_batch_size, order_seed)
        rollout, before = self._rollout(sampled, moments.whiten(score_B), batches)
        losses = self._update(rollout, batches, lr_at(iteration, cfg.iterations, cfg.optimizer))
        return {"reward": float(score_B.mean()), **before, **losses}, moments

    @torch.no_grad()
    def _rollout(
        self, sampled: Sampled, score_B: Tensor, batches: list[list[MicroBatch]]
    ) -> tuple[Rollout, dict[str, float]]:
        """The policy's and the reference's estimates before the update, and the advantages that follow."""
        mask_BR = sampled.response_mask_BR
        logprobs_BR, ref_BR, values_BR = (torch.zeros(mask_BR.shape) for _ in range(3))
        for micro in (micro for batch in batches for micro in batch):
            logprobs_N, values_N = self.policy.estimate(micro)
            logprobs_BR[micro.rows] = micro.scattered(logprobs_N.cpu())
            values_BR[micro.rows] = micro.scattered(values_N.cpu())
            ref_BR[micro.rows] = micro.scattered(self.policy.ref_logprobs(micro).cpu())
        rewards_BR = token_rewards(score_B, kl_k1(logprobs_BR, ref_BR), mask_BR, self.cfg.kl_coef)
        advantages_BR, returns_BR = gae(rewards_BR, values_BR, mask_BR, self.cfg.gae_lambda)
        rollout = Rollout(sampled, logprobs_BR, values_BR, whiten(advantages_BR, mask_BR), returns_BR)
        return rollout, {
            "kl": float(sequence_kl(kl_k3(logprobs_BR, ref_BR), mask_BR).mean()),
            # Of the distributions that the tokens were drawn from, so its mean is minus the log-probabilities' mean.
            "entropy": -float(masked_mean(logprobs_BR, mask_BR)),
            "length": float(mask_BR.sum(dim=1).float().mean()),
            # Below the limit an answer was ended by the policy; one that is cut off is scored as if it had ended.
            "finished": float((mask_BR.sum(dim=1) < self.cfg.max_new_tokens).float().mean()),
        }

    def _update(self, rollout: Rollout, batches: list[list[MicroBatch]], lr: float) -> dict[str, float]:
        """One step per mini-batch; means over the batch's counted tokens."""
        sums = {"policy_loss": 0.0, "value_loss": 0.0, "clip_fraction": 0.0}
        for batch in batches:
            for micro in batch:
                with reproducible(self.policy.machine):
                    found = self._backward(rollout, micro)
                for name, value in found.items():
                    sums[name] += value
            count = float(sum(int(micro.response_mask_BR.sum()) for micro in batch))
            for optimizer, rate in zip(self._optimizers, (lr, self.cfg.value_lr), strict=True):
                optimizer_step(optimizer, count=count, lr=rate, clip=self.cfg.optimizer.clip)
        total = int(rollout.sampled.response_mask_BR.sum())
        return {name: value / total for name, value in sums.items()}

    def _backward(self, rollout: Rollout, micro: MicroBatch) -> dict[str, float]:
        """Adds the gradients of the micro-batch's summed losses; returns the sums."""
        cfg, rows, mask_BR = self.cfg, micro.rows, micro.response_mask_BR
        logprobs_N, values_N = self.policy.estimate(micro)
        logprobs_BR, values_BR = micro.scattered(logprobs_N.cpu()), micro.scattered(values_N.cpu())
        old_BR, advantages_BR = rollout.logprobs_BR[rows], rollout.advantages_BR[rows]
        policy = policy_loss(logprobs_BR, old_BR, advantages_BR, mask_BR, cfg.clip_range).sum()
        old_values_BR, returns_BR = rollout.values_BR[rows], rollout.returns_BR[rows]
        value = value_loss(values_BR, old_values_BR, returns_BR, mask_BR, cfg.value_clip_range).sum()
        (policy + value).backward()  # type: ignore[no-untyped-call]
        bound = clipped(logprobs_BR.detach(), old_BR, advantages_BR, mask_BR, cfg.clip_range).sum()
        return {
            "policy_loss": float(policy.detach()),
            "value_loss": float(value.detach()),
            "clip_fraction": float(bound),
        }

    def trained(self) -> dict[str, Tensor]:
        """A copy of the policy's trained parameters."""
        return {name: p.detach().clone() for name, p in self.policy.model.named_parameters() if p.requires_grad}

    def set_trained(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.policy.model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(values[name])

    def tensors(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        """All that a checkpoint needs: weights and moments of policy and value head, and the best policy so far."""
        modules = {"policy": self.policy.model, "value": self.policy.value_head}
        states = zip(modules.items(), self._optimizers, strict=True)
        named = {f"{part}:{name}": t for (part, m), o in states for name, t in training_state(m, o).items()}
        return named | {f"best:{name}": tensor for name, tensor in best.items()}

    def restore(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Puts back what `tensors` returned; returns the best policy so far."""
        parts: dict[str, dict[str, Tensor]] = {"policy": {}, "value": {}, "best": {}}
        for full, tensor in tensors.items():
            part, name = full.split(":", 1)
            parts[part][name] = tensor
        restore_training_state(self.policy.model, self._optimizers[0], parts["policy"])
        restore_training_state(self.policy.value_head, self._optimizers[1], parts["value"])
        return parts["best"]


def train(
    trainer: Trainer, prompts: Sequence[Prompt], heldout: Sequence[Prompt], context: StageContext
) -> dict[str, Any]:
    """Runs the iterations, writes series.jsonl, leaves the policy with the best held-out reward; returns the metrics.

    Killed at any moment, it goes on from the last checkpoint to the same bytes. Raises Stopped after saving.
    """
    cfg, folder = trainer.cfg, context.scratch / CHECKPOINT_FOLDER
    if (found := load_checkpoint(folder)) is not None:
        best = trainer.restore(found[0])
        saved = found[1]["state"]
        state = State(**(saved | {"moments": RunningMoments(**saved["moments"])}))
    else:
        best, rewards = trainer.trained(), trainer.heldout_rewards(heldout)
        state = State(first_rewards=rewards, best_rewards=rewards)
    clock = CheckpointClock(cfg.checkpoint_interval)
    started, first = time.perf_counter(), state.iteration
    with (
        SeriesWriter(context.out / "series.jsonl", keep=state.iteration) as series,
        context.progress(cfg.iterations, "iterations", state.iteration) as bar,
    ):
        while state.iteration < cfg.iterations and state.worse < cfg.patience:
            row, moments = trainer.iterate(prompts, state.iteration, state.moments)
            state = replace(state, iteration=state.iteration + 1, moments=moments)
            if state.iteration % cfg.heldout_interval == 0 or state.iteration == cfg.iterations:
                rewards = trainer.heldout_rewards(heldout)
                row["heldout_reward"] = fmean(rewards)
                state = state.measured(rewards)
                best = trainer.trained() if state.worse == 0 else best
            series.write({"iteration": state.iteration, **row})
            bar.advance(1, reward=row["reward"], kl=row["kl"])
            if clock.due() or context.stop_requested():
                began = time.monotonic()
                series.sync()
                save_checkpoint(folder, trainer.tensors(best), {"step": state.iteration, "state": asdict(state)})
                clock.saved(time.monotonic() - began)
                context.check_stop()
    if state.iteration > first:
        context.timing("seconds_per_iteration", (time.perf_counter() - started) / (state.iteration - first))
    trainer.set_trained(best)
    return _metrics(state, cfg, [prompt.asks for prompt in heldout])


def _metrics(state: State, cfg: PpoConfig, asks: list[str]) -> dict[str, Any]:
    gain = paired_bootstrap(state.best_rewards, state.first_rewards, derive_seed(cfg.seed, "gain"), groups=asks)
    return {
        "iterations": state.iteration,
        "stopped_early": state.iteration < cfg.iterations,
        "best_iteration": state.best_iteration,
        "heldout_reward_first": fmean(state.first_rewards),
        "heldout_reward_best": fmean(state.best_rewards),
        "heldout_gain": gain.to_json(),  # flattered, since the best was chosen on these prompts
    }


def run(cfg: PpoConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Trains the policy; saves it as adapters on the input policy, or whole. Raises InputError on too few prompts."""
    base, machine = inputs.one("policy"), context.machine
    prompts, heldout = split_heldout(
        read_prompts(inputs.one("chat").path / "prompts-rl.jsonl"), cfg.heldout_prompts, cfg.seed
    )
    reward = GatedReward(
        load_reward_model(inputs.one("helpfulness"), machine),
        load_reward_model(inputs.one("safety"), machine),
        cfg.safety_threshold,
    )
    sampling = SamplingConfig(temperature=cfg.temperature, max_new_tokens=cfg.max_new_tokens)
    policy = Policy(load_model(base, machine), cfg.lora, sampling, machine, derive_seed(cfg.seed, "adapters"))
    metrics = train(Trainer(cfg, policy, reward), prompts, heldout, context)
    save_model(context.out, policy.model, source=base.path, base=base)
    rows = read_series(context.out / "series.jsonl")
    kept = metrics["best_iteration"]  # each row's KL is that of the policy before its update
    kl = next((row["kl"] for row in rows if row["iteration"] == kept + 1), rows[-1]["kl"]) if kept else 0.0
    return metrics | {"reward_first": rows[0]["reward"], "reward_last": rows[-1]["reward"], "kl": kl}


STAGE = Stage(
    name="rlhf.ppo",
    config=PpoConfig,
    inputs=(
        Input("policy", "model"),
        Input("chat", "chat"),
        Input("helpfulness", "reward_model"),
        Input("safety", "reward_model"),
    ),
    output="model",
    run=run,
)
