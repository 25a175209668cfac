"""What the studies share: a store of their own beside a run's artifacts, held-out bits per byte, options, figures.

A study's models are stages like any other, so a second call finds them made, and a killed one goes on.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from arriero.artifacts import Artifact, Stage
from arriero.artifacts.files import write_json
from arriero.eval.bits_per_byte import document_bits, heldout_documents
from arriero.model import ModelShape, load_model
from arriero.model.grouping import STAGE as GROUP_HEADS
from arriero.model.grouping import GroupHeadsConfig
from arriero.pipeline.machine import MachineConfig, resolve_machine
from arriero.pipeline.plan import stage_id
from arriero.pipeline.runner import run_stage
from arriero.pipeline.runs import Runs
from arriero.train.optimizer import OptimizerConfig
from arriero.train.pretrain import STAGE as PRETRAIN
from arriero.train.pretrain import PretrainConfig

# The quickstart's scratch model, with a key/value head for each of its 8 query heads.
MULTI_HEAD = ModelShape(dim=128, n_layers=4, n_heads=8, n_kv_heads=8, ffn_dim=352)
CONTEXT, BATCH = 256, 8
HELDOUT_BYTES, DOCUMENT_BYTES, OVERLAP = 60_000, 2_000, 64


def options(description: str | None, stem: str) -> argparse.ArgumentParser:
    """A parser with what every study takes. Results go to `--out`/<stem>.json and .png."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs (default: runs)")
    parser.add_argument("--run", default="quickstart", help="run whose corpus, tokenizer and scratch-shards are used")
    parser.add_argument("--work", type=Path, default=Path("build/studies"), help="where the study's own models lie")
    parser.add_argument("--out", type=Path, default=Path("build/studies"), help=f"folder of {stem}.json and {stem}.png")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="trained on by each new model")
    parser.add_argument("--seeds", type=int, default=3, help="of initial weights and order of the text")
    parser.add_argument("--lr", type=float, default=3e-3, help="peak learning rate of new models")
    parser.add_argument("--threads", type=int, default=1)
    return parser


class Workshop:
    """Makes models on a run's text and measures them."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._source, self._own = Runs(given.runs), Runs(given.work)
        self._run = given.run
        given.work.mkdir(parents=True, exist_ok=True)
        self.machine = resolve_machine(MachineConfig(device="cpu", threads=given.threads), given.work / "machine.json")
        self.tokenizer, self.shards = self._borrowed("tokenizer"), self._borrowed("scratch-shards")
        corpus = self._source.artifact(f"{given.run}:corpus", "corpus")
        self._heldout = heldout_documents(corpus.path, HELDOUT_BYTES, DOCUMENT_BYTES, seed=1)

    def _borrowed(self, label: str) -> Artifact:
        """A run's artifact, linked into the study's store, where stages look for their inputs."""
        artifact = self._source.artifact(f"{self._run}:{label}")
        link = self._own.store.objects / artifact.id
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(artifact.path.resolve())
        return self._own.store.artifact(artifact.id)

    def _made(self, stage: Stage, config: Any, **inputs: Artifact) -> Artifact:
        ids = {name: {name: artifact.id} for name, artifact in inputs.items()}
        return run_stage(self._own.store, stage_id(stage, config, ids, self.machine), self.machine)

    def _pretrained(self, tokens: int, lr: float, seed: int, shape: ModelShape | None, **start: Artifact) -> Artifact:
        config = PretrainConfig(
            model=shape,
            tokens=tokens,
            sequence_length=CONTEXT,
            micro_batch_size=BATCH,
            global_batch_size=BATCH,
            optimizer=OptimizerConfig(lr=lr, warmup_fraction=0.05),
            seed=seed,
        )
        return self._made(PRETRAIN, config, shards=self.shards, **start)

    def new(self, shape: ModelShape, tokens: int, lr: float, seed: int) -> Artifact:
        """A model trained from scratch."""
        return self._pretrained(tokens, lr, seed, shape, tokenizer=self.tokenizer)

    def trained_on(self, base: Artifact, tokens: int, lr: float, seed: int) -> Artifact:
        """`base` after more tokens, in another order than it has seen."""
        return self._pretrained(tokens, lr, 1000 + seed, None, base=base)

    def grouped(self, base: Artifact, n_kv_heads: int, pooling: Any, seed: int) -> Artifact:
        return self._made(GROUP_HEADS, GroupHeadsConfig(n_kv_heads=n_kv_heads, pooling=pooling, seed=seed), base=base)

    def bits_per_byte(self, model: Artifact) -> float:
        """Of the run's held-out text: the loss in bits, by bytes."""
        known = self._own.root / "bits_per_byte" / f"{model.id}.json"
        if not known.is_file():
            loaded = load_model(model, self.machine)
            with torch.inference_mode():
                bits = document_bits(loaded, [document.text for document in self._heldout], CONTEXT, OVERLAP)
            write_json(known, sum(bits) / sum(document.bytes for document in self._heldout))
        return float(json.loads(known.read_text()))


def mean_and_spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation (of the sample; None for one value) over seeds, and the values."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "stdev": spread, "values": list(values)}


def save(results: dict[str, Any], figure: Figure, folder: Path, stem: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{stem}.json", results)
    figure.savefig(folder / f"{stem}.png", format="png", dpi=160, facecolor="white")
    print(folder / f"{stem}.png")
