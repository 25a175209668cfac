"""Stage train.sft: supervised fine-tuning on dialogues, the loss on answers only, packed.

Source: Llama 2 (arXiv:2307.09288) section 3.1: cosine from 2e-5, weight decay 0.1, batch of 64 sequences of 4096, 2
epochs, dialogues concatenated until the sequence is full, loss zeroed on prompts. Warm-up, the final learning rate and
masking between dialogues are not stated: here 3% of the steps, 10% of the peak, and masked. Rejection sampling's picks,
Ghost Attention and context distillation (3.2.3, 3.3, 4.2.4) fine-tune through this stage too.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from arriero.artifacts import Artifact, Input, Inputs, Stage, StageContext
from arriero.config import config, setting
from arriero.dialogue import read_dialogues
from arriero.errors import ConfigError, InputError
from arriero.model import LoraConfig, add_lora, load_model, save_model
from arriero.tokenizer import ChatFormat, Rendered
from arriero.train.loop import fit
from arriero.train.loss import language_model_loss
from arriero.train.optimizer import OptimizerConfig
from arriero.train.packing import TokenBatch, collate, pack_epochs
from arriero.train.step import check_batch_sizes
from arriero.train.tracking import final_mean, read_series


@config
class SftConfig:
    """Supervised fine-tuning."""

    epochs: int = setting(2, "passes over the dialogues (paper: 2)", ge=1)
    sequence_length: int = setting(512, "tokens a packed sequence (paper: 4096)", unit="tokens", ge=2)
    micro_batch_size: int = setting(4, "sequences that go through the model at once", unit="sequences", ge=1)
    global_batch_size: int = setting(8, "sequences a step (paper: 64)", unit="sequences", ge=1)
    mask_documents: bool = setting(
        True, "whether dialogues in one sequence are hidden from each other (paper: not stated)"
    )
    drop_long: bool = setting(False, "leave out dialogues longer than sequence_length, instead of refusing them")
    optimizer: OptimizerConfig = setting(OptimizerConfig(lr=2e-5, warmup_fraction=0.03), "AdamW and its schedule")
    lora: LoraConfig | None = setting(None, "train adapters instead of all weights (paper: all weights)")
    seed: int = setting(1, "order of the dialogues, and the adapters' initial weights", ge=0)
    checkpoint_interval: float = setting(60.0, "between checkpoints, at least", unit="s", gt=0, operational=True)

    def __post_init__(self) -> None:
        check_batch_sizes(self.global_batch_size, self.micro_batch_size)


def dialogues_file(artifact: Artifact) -> Path:
    """`dialogues.jsonl` (picks, Ghost Attention, distilled answers) or else a chat artifact's `sft.jsonl`."""
    made = artifact.path / "dialogues.jsonl"
    return made if made.exists() else artifact.path / "sft.jsonl"


def render_dialogues(file: Path, chat_format: ChatFormat, cfg: SftConfig) -> tuple[list[Rendered], int]:
    """The file's dialogues as ids and masks, and how many were dropped for their length.

    Raises InputError naming the dialogue if it has no answer to train on, or if it is longer than a sequence and
    `drop_long` is off.
    """
    kept: list[Rendered] = []
    dropped = 0
    for number, dialogue in enumerate(read_dialogues(file), 1):
        try:
            rendered = chat_format.render(dialogue)
        except InputError as error:
            raise InputError(f"Dialogue {number} of {file}: {error}") from None
        if not any(rendered.loss_mask):
            raise InputError(f"Dialogue {number} of {file} has no answer to train on: every dialogue needs one.")
        if len(rendered.ids) <= cfg.sequence_length:
            kept.append(rendered)
        elif cfg.drop_long:
            dropped += 1
        else:
            raise InputError(
                f"Dialogue {number} of {file} has {len(rendered.ids)} tokens, more than sequence_length = "
                f"{cfg.sequence_length}. Raise sequence_length, shorten the dialogue, or set "
                f"drop_long = true to leave such ones out."
            )
    return kept, dropped


def read_all(
    artifacts: Mapping[str, Artifact], chat_format: ChatFormat, cfg: SftConfig
) -> tuple[list[Rendered], dict[str, int], int]:
    """All dialogues, how many of each source, and how many were dropped. Raises InputError if all were dropped."""
    dialogues: list[Rendered] = []
    sources: dict[str, int] = {}
    dropped = 0
    for label, artifact in artifacts.items():
        kept, left_out = render_dialogues(dialogues_file(artifact), chat_format, cfg)
        dialogues += kept
        sources[label] = len(kept)
        dropped += left_out
    if dropped and not dialogues:
        raise InputError(
            f"All {dropped} dialogues in {', '.join(sources)} are longer than sequence_length = "
            f"{cfg.sequence_length}. Raise it."
        )
    return dialogues, sources, dropped


def run(cfg: SftConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Trains and saves the model (its adapters alone with LoRA). Without a dialogue the model stays what its base is:
    a gate that lets nothing through is a result.

    Metrics: dialogues and dropped_long (in all, and kept by source), steps, sequences, tokens and counted_tokens of all
    epochs, final_loss (mean of the last tenth of the steps).
    """
    base = inputs.one("base")
    loaded = load_model(base, context.machine)
    model = loaded.model
    if cfg.sequence_length > loaded.config.max_seq_len:
        raise ConfigError(
            f"sequence_length ({cfg.sequence_length}) is longer than the base model's context "
            f"({loaded.config.max_seq_len}); lower it."
        )
    dialogues, sources, dropped = read_all(inputs.many("dialogues"), loaded.chat_format, cfg)
    rows = pack_epochs([len(rendered.ids) for rendered in dialogues], cfg.sequence_length, cfg.epochs, cfg.seed)
    steps = -(-len(rows) // cfg.global_batch_size)

    def micro_batches(step: int) -> list[TokenBatch]:
        first = step * cfg.global_batch_size
        here = rows[first : first + cfg.global_batch_size]
        return [
            collate(
                here[start : start + cfg.micro_batch_size],
                dialogues,
                batch_size=cfg.micro_batch_size,
                sequence_length=cfg.sequence_length,
                mask_documents=cfg.mask_documents,
            ).to(context.machine.device)
            for start in range(0, len(here), cfg.micro_batch_size)
        ]

    if cfg.lora is not None:
        add_lora(model, cfg.lora, cfg.seed)
    fit(
        model,
        steps=steps,
        micro_batches=micro_batches,
        loss=partial(language_model_loss, model),
        optimizer=cfg.optimizer,
        context=context,
        checkpoint_interval=cfg.checkpoint_interval,
    )
    save_model(context.out, model, source=base.path, base=base)
    series = read_series(context.out / "series.jsonl")
    return {
        "dialogues": len(dialogues),
        "dialogues_by_source": sources,
        "dropped_long": dropped,
        "steps": steps,
        "sequences": len(rows),
        "tokens": cfg.epochs * sum(len(rendered.ids) for rendered in dialogues),
        "counted_tokens": int(sum(row["count"] for row in series)),
        "final_loss": final_mean(series, "loss") if series else None,
    }


STAGE = Stage(
    name="train.sft",
    config=SftConfig,
    inputs=(Input("base", kind="model"), Input("dialogues", kind=("chat", "dialogues"), many=True)),
    output="model",
    run=run,
)
