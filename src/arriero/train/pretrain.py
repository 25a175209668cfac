"""Stage train.pretrain: next-token training on shards, from scratch or continued.

Source: Llama 2 (arXiv:2307.09288) section 2.2: AdamW (0.9, 0.95, eps 1e-5), cosine with 2000 steps of warm-up down to
10% of the peak, weight decay 0.1, clipping at 1.0; global batch of 4M tokens, context 4096.
"""

from functools import partial
from typing import Any

import torch

from arriero.artifacts import Artifact, Input, Inputs, Stage, StageContext
from arriero.config import config, nearest, resolved, setting
from arriero.data.reader import ShardReader
from arriero.errors import ConfigError
from arriero.model import (
    PRESETS,
    LoraConfig,
    ModelConfig,
    ModelShape,
    Transformer,
    add_lora,
    load_weights,
    new_model,
    save_model,
)
from arriero.model.checkpoint import TOKENIZER
from arriero.tokenizer import load_tokenizer
from arriero.train.checkpoint import CHECKPOINT_FOLDER
from arriero.train.loop import fit
from arriero.train.loss import language_model_loss
from arriero.train.optimizer import OptimizerConfig
from arriero.train.packing import TokenBatch, document_numbers, mask_within
from arriero.train.step import check_batch_sizes
from arriero.train.tracking import final_mean, read_series


@config
class PretrainConfig:
    """Pretraining from scratch (`model` or `preset`, with a tokenizer as input) or continued (with a base model).

    A new model's vocabulary is the tokenizer's, its context `sequence_length`.
    """

    model: ModelShape | None = setting(None, "shape of the new model; neither this nor preset continues the base")
    preset: str | None = setting(None, 'or a shape by name, such as "llama2-7b" (`arriero model show NAME`)')
    tokens: int = setting(..., "tokens to train on, rounded up to whole steps (paper: 2T)", unit="tokens", ge=1)
    epochs: dict[str, float] = setting(
        {},
        "passes over a source, by its name or kind, instead of those that the shards state; 0 leaves it out",
        unit="epochs",
    )
    sequence_length: int = setting(256, "tokens a sequence (paper: 4096)", unit="tokens", ge=2)
    micro_batch_size: int = setting(8, "sequences that go through the model at once", unit="sequences", ge=1)
    global_batch_size: int = setting(8, "sequences a step (paper: 4M tokens)", unit="sequences", ge=1)
    mask_documents: bool = setting(
        False, "whether documents in one sequence are hidden from each other (paper: not stated); costs memory and time"
    )
    optimizer: OptimizerConfig = setting(OptimizerConfig(lr=3e-4, warmup_fraction=0.05), "AdamW and its schedule")
    lora: LoraConfig | None = setting(None, "train adapters on the base instead of all weights")
    seed: int = setting(1, "initial weights and order of the windows", ge=0)
    checkpoint_interval: float = setting(60.0, "between checkpoints, at least", unit="s", gt=0, operational=True)

    def __post_init__(self) -> None:
        check_batch_sizes(self.global_batch_size, self.micro_batch_size)
        if self.preset is not None and self.model is not None:
            raise ConfigError("A new model takes its shape from `model` or from `preset`: leave out one.")
        if self.preset is not None and self.preset not in PRESETS:
            raise ConfigError(f"There is no preset {self.preset!r}. {nearest(self.preset, PRESETS)}")
        if self.shape is not None and self.lora is not None:
            raise ConfigError("lora needs a base model to adapt: leave out `lora`, or `model` and `preset`.")

    @property
    def shape(self) -> ModelShape | None:
        """Of the new model; None where a base is trained on."""
        return self.model if self.preset is None else PRESETS[self.preset]

    @property
    def steps(self) -> int:
        return -(-self.tokens // (self.global_batch_size * self.sequence_length))


def starting_model(cfg: PretrainConfig, tokenizer: Artifact | None, base: Artifact | None) -> Transformer:
    """The new or the loaded model, fp32 on the CPU. Raises ConfigError unless exactly one way to start is given."""
    if (tokenizer is None) == (base is None) or (cfg.shape is None) == (base is None):
        parts = {"tokenizer": tokenizer, "base": base, "model": cfg.model, "preset": cfg.preset}
        raise ConfigError(
            "train.pretrain starts either from scratch, with the input `tokenizer` and the field `model` or `preset`, "
            "or from the input `base` without these fields: give one of the two, not "
            + ", ".join(name for name, given in parts.items() if given is not None)
            + "."
        )
    if tokenizer is not None and cfg.shape is not None:
        own = {"vocab_size": load_tokenizer(tokenizer.path).vocab_size, "max_seq_len": cfg.sequence_length}
        return new_model(ModelConfig(**resolved(cfg.shape) | own), cfg.seed)
    assert base is not None
    model = load_weights(base)
    if cfg.sequence_length > model.config.max_seq_len:
        raise ConfigError(
            f"sequence_length ({cfg.sequence_length}) is longer than the base model's context "
            f"({model.config.max_seq_len}); lower it."
        )
    return model if cfg.lora is None else add_lora(model, cfg.lora, cfg.seed)


def window_batch(windows_BT1: torch.Tensor, eos_id: int | None = None) -> TokenBatch:
    """Every token of a window but its first is a target. With `eos_id`, which ends each document, documents do not see
    each other, and the first token of a document, which nothing of its own precedes, is no target."""
    tokens, targets = windows_BT1[:, :-1], windows_BT1[:, 1:]
    counted, mask = torch.ones_like(tokens, dtype=torch.bool), None
    if eos_id is not None:
        counted, mask = tokens != eos_id, mask_within(document_numbers(tokens, eos_id))
    return TokenBatch(tokens, targets, counted, mask, trained_tokens=tokens.numel())


def train_model(cfg: PretrainConfig, inputs: Inputs, context: StageContext) -> Transformer:
    """The trained model; `context` gets its series, and its checkpoints while it is not done."""
    tokenizer, base = inputs.maybe("tokenizer"), inputs.maybe("base")
    model = starting_model(cfg, tokenizer, base).to(context.machine.device)
    shards, fresh = inputs.one("shards").path, not (context.scratch / CHECKPOINT_FOLDER).exists()
    reader = ShardReader(shards, cfg.sequence_length, cfg.seed, cfg.epochs, check=fresh)
    vocabulary = base.path / TOKENIZER if base is not None else inputs.one("tokenizer").path
    # Not the vocabularies' sizes: a released model's is often padded beyond its tokenizer's.
    own = load_tokenizer(vocabulary)
    if reader.tokenizer != own.digest():
        raise ConfigError(
            "The shards were made with another tokenizer than the model's: give data.shards the same tokenizer or "
            "model as train.pretrain."
        )

    eos_id = own.eos_id if cfg.mask_documents else None

    def micro_batches(step: int) -> list[TokenBatch]:
        windows = torch.from_numpy(reader.batch(step, cfg.global_batch_size))
        parts = torch.split(windows, cfg.micro_batch_size)
        return [window_batch(part.to(context.machine.device), eos_id) for part in parts]

    fit(
        model,
        steps=cfg.steps,
        micro_batches=micro_batches,
        loss=partial(language_model_loss, model),
        optimizer=cfg.optimizer,
        context=context,
        checkpoint_interval=cfg.checkpoint_interval,
    )
    return model


def run(cfg: PretrainConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Trains and saves the model. Metrics: steps, tokens, parameters, final_loss (mean of the last tenth of steps)."""
    model = train_model(cfg, inputs, context)
    base = inputs.maybe("base")
    source = base if base is not None else inputs.one("tokenizer")
    save_model(context.out, model, source=source.path, base=base)
    return {
        "steps": cfg.steps,
        "tokens": cfg.steps * cfg.global_batch_size * cfg.sequence_length,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "final_loss": final_mean(read_series(context.out / "series.jsonl"), "loss"),
    }


STAGE = Stage(
    name="train.pretrain",
    config=PretrainConfig,
    inputs=(
        Input("shards", kind="shards"),
        Input("tokenizer", kind="tokenizer", optional=True),
        Input("base", kind="model", optional=True),
    ),
    output="model",
    run=run,
)
