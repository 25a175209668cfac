"""Training of the helpfulness and of the safety reward model.

Source: Llama 2 (arXiv:2307.09288) section 3.2.2 and appendix A.3: start from a chat checkpoint, one epoch (more
overfit), the base model's optimizer settings, peak learning rate 1e-5 (5e-6 at 70B), cosine to 10%, warm-up 3% of the
steps and at least 5, 512 pairs a batch. The chosen and the rejected answer of a pair are rows of one micro-batch.
Shapes: P pairs, R = 2 P rows (chosen ones first), T tokens.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.artifacts.files import write_json
from arriero.config import config, setting
from arriero.errors import InputError
from arriero.generation.engine import pad_right
from arriero.model import LoraConfig, ScalarHead, add_lora, load_model
from arriero.preference.record import Comparison
from arriero.reward.accuracy import accuracy, unsafe_detection
from arriero.reward.mix import PAPER_SHARES, mix
from arriero.reward.model import RewardModel, save_reward_model
from arriero.reward.ranking_loss import MarginSchedule, ranking_loss, rating_margin
from arriero.reward.safety_loss import safety_loss
from arriero.reward.score import gather, score_comparisons
from arriero.train.loop import fit
from arriero.train.optimizer import OptimizerConfig
from arriero.train.step import LossSum
from arriero.train.tracking import final_mean, read_series


@config
class RewardConfig:
    kind: Literal["helpfulness", "safety"] = setting(..., "which of the two reward models to train")
    epochs: int = setting(1, "passes over the comparisons (paper: 1; more overfit)", ge=1)
    global_batch_size: int = setting(512, "comparisons a step (paper: 512)", unit="pairs", ge=1)
    micro_batch_size: int = setting(8, "comparisons that go through the model at once", unit="pairs", ge=1)
    max_length: int = setting(512, "a longer dialogue loses its start (paper: 4096)", unit="tokens", ge=8)
    others: float | None = setting(
        None,
        "the other domain's share of the comparisons trained on; none = the paper's, 0.5 for helpfulness and 0.1 for "
        "safety",
        ge=0,
        lt=1,
    )
    margin: MarginSchedule = setting("small", "margin by rating: none, small (up to 1) or large (up to 3)")
    safety_loss_weight: float = setting(
        1.0, "weight of the auxiliary safety loss, safety model only (not stated in the paper)", ge=0
    )
    optimizer: OptimizerConfig = setting(
        # The paper's; its rate is 5e-6 at 70B. Small models with adapters want about 5e-4.
        OptimizerConfig(lr=1e-5, warmup_steps=5, warmup_fraction=0.03),
        "AdamW and its schedule",
    )
    lora: LoraConfig | None = setting(None, "low-rank adapters; without, all weights are trained, as in the paper")
    seed: int = setting(0, "seed of the mix, the order of comparisons and the adapters")
    checkpoint_interval: float = setting(60.0, "between checkpoints", unit="s", gt=0, operational=True)


@dataclass(frozen=True)
class Batch:
    """P comparisons as R = 2 P right-padded rows, all chosen answers before all rejected ones."""

    tokens_RT: Tensor
    last_R: Tensor  # position of each row's end-of-turn token
    rating_P: Tensor
    labelled_P: Tensor  # bool: the safety loss counts this comparison
    chosen_safe_P: Tensor  # bool, False where unknown
    rejected_safe_P: Tensor


@dataclass(frozen=True)
class Row:
    """A comparison and what the model reads of its two answers."""

    comparison: Comparison
    chosen: list[int]
    rejected: list[int]

    @property
    def length(self) -> int:
        return max(len(self.chosen), len(self.rejected))


def collate(rows: Sequence[Row], device: torch.device, length: int | None = None) -> Batch:
    """Right padding, to `length` or as far as needed, needs no mask: a score is read before the padding starts."""
    ids = [row.chosen for row in rows] + [row.rejected for row in rows]

    def column(values: list[Any], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    comparisons = [row.comparison for row in rows]
    return Batch(
        tokens_RT=pad_right(ids, device, length),
        last_R=column([len(row) - 1 for row in ids], torch.long),
        rating_P=column([c.rating for c in comparisons], torch.long),
        labelled_P=column([c.labelled for c in comparisons], torch.bool),
        chosen_safe_P=column([bool(c.chosen_safe) for c in comparisons], torch.bool),
        rejected_safe_P=column([bool(c.rejected_safe) for c in comparisons], torch.bool),
    )


def pair_loss(reward_model: RewardModel, batch: Batch, margin: str, safety_loss_weight: float) -> LossSum:
    """Ranking loss plus the weighted safety loss of the labelled pairs, summed over the batch's pairs."""
    chosen_P, rejected_P = reward_model(batch.tokens_RT, batch.last_R).chunk(2)
    pairs = len(chosen_P)
    total = pairs * ranking_loss(chosen_P, rejected_P, rating_margin(batch.rating_P, margin))
    metrics: dict[str, Tensor | float] = {
        "ranking_loss": total.detach(),
        "accuracy": (chosen_P > rejected_P).sum(),
        "gap": (chosen_P - rejected_P).detach().sum(),
    }
    if safety_loss_weight > 0:
        metrics["safety_loss"] = 0.0
        some_P = batch.labelled_P
        if bool(some_P.any()):
            labels = batch.chosen_safe_P[some_P], batch.rejected_safe_P[some_P]
            safety = some_P.sum() * safety_loss(chosen_P[some_P], rejected_P[some_P], *labels)
            metrics["safety_loss"] = safety.detach()
            total = total + safety_loss_weight * safety
    return LossSum(total, pairs, metrics, batch.tokens_RT.numel())


def mixed(cfg: RewardConfig, train: Sequence[Comparison]) -> list[Comparison]:
    """What the model is trained on. Raises InputError if there is nothing of its own domain."""
    own = [c for c in train if c.domain == cfg.kind]
    others = [c for c in train if c.domain != cfg.kind]
    if not own:
        raise InputError(
            f"There is no {cfg.kind} comparison to train the {cfg.kind} reward model on. Sample pairs on prompts "
            f"{'tagged' if cfg.kind == 'safety' else 'not tagged'} safety, or import comparisons of that domain."
        )
    return mix(own, others, PAPER_SHARES[cfg.kind] if cfg.others is None else cfg.others, cfg.seed)


def check_split(comparisons: Sequence[Comparison]) -> None:
    """Raises InputError if a prompt is both trained on and held out, which would flatter the accuracy."""
    train = {c.asks for c in comparisons if c.split == "train"}
    both = next((c for c in comparisons if c.split == "test" and c.asks in train), None)
    if both is not None:
        raise InputError(
            f"The prompt of the held-out comparison {both.id!r} is trained on, too. Give all comparisons of one prompt "
            f"the same split, and every round the same split_seed and test_fraction."
        )


def step_rows(rows: Sequence[Row], step: int, cfg: RewardConfig) -> list[list[Row]]:
    """The micro-batches of a step: an epoch's next global batch, sorted by length, the longest first."""
    per_epoch = steps_per_epoch(len(rows), cfg)
    order = np.random.default_rng([cfg.seed, 1, step // per_epoch]).permutation(len(rows))
    start = step % per_epoch * cfg.global_batch_size
    batch = sorted((rows[i] for i in order[start : start + cfg.global_batch_size]), key=lambda row: -row.length)
    return [batch[i : i + cfg.micro_batch_size] for i in range(0, len(batch), cfg.micro_batch_size)]


def steps_per_epoch(pairs: int, cfg: RewardConfig) -> int:
    """The last step of an epoch may be smaller than the others."""
    return -(-pairs // cfg.global_batch_size)


def run(cfg: RewardConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    comparisons = gather(inputs.many("comparisons"))
    check_split(comparisons)
    train = mixed(cfg, [c for c in comparisons if c.split == "train"])
    base = inputs.one("base")
    loaded = load_model(base, context.machine)
    transformer = loaded.model
    if cfg.lora is not None:
        add_lora(transformer, cfg.lora, cfg.seed)
    elif transformer.output is not None:
        transformer.output.requires_grad_(False)  # the language-model head has no part in a score
    head = ScalarHead(loaded.config.dim, bias=False).to(context.machine.device)
    reward_model = RewardModel(transformer, head, loaded.chat_format, cfg.kind, cfg.max_length)
    rows = [Row(c, *(reward_model.ids(dialogue) for dialogue in c.dialogues)) for c in train]
    # Compiled code is for one shape; what is not compiled need not pad so far.
    length = reward_model.max_length if context.machine.compile else None
    weight = cfg.safety_loss_weight if cfg.kind == "safety" else 0.0
    fit(
        reward_model,
        steps=cfg.epochs * steps_per_epoch(len(rows), cfg),
        micro_batches=lambda step: [collate(micro, transformer.device, length) for micro in step_rows(rows, step, cfg)],
        loss=lambda batch: pair_loss(reward_model, batch, cfg.margin, weight),
        optimizer=cfg.optimizer,
        context=context,
        checkpoint_interval=cfg.checkpoint_interval,
    )
    save_reward_model(context.out, reward_model, base)
    final = functools.cache(lambda: reward_model.for_inference(getattr(torch, context.machine.dtype)))
    heldout = score_comparisons(context, "heldout_scores", final, [c for c in comparisons if c.split == "test"])
    report = {"kind": cfg.kind, "domains": accuracy(heldout), "unsafe_detection": unsafe_detection(heldout)}
    write_json(context.out / "accuracy.json", report)
    return report | {
        "train_pairs": {domain: sum(c.domain == domain for c in train) for domain in ("helpfulness", "safety")},
        "at_max_length": sum(row.length == reward_model.max_length for row in rows),
        "final_loss": final_mean(read_series(context.out / "series.jsonl"), "loss"),
    }


STAGE = Stage(
    "reward.train",
    RewardConfig,
    (Input("base", "model"), Input("comparisons", "comparisons", many=True)),
    "reward_model",
    run,
)
