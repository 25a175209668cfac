"""Stage data.proxies: tiny models trained on candidate mixes, as a guide to how often to read each source.

Every mix gets the same number of tokens and the same seeds. Measured of each model: held-out bits per byte by source,
and how many facts of one source it recalls, those that it could read and, as a control, held-out ones. Llama 2
(arXiv:2307.09288, section 2.1) up-samples "the most factual sources" and says neither by how much nor with what effect.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from arriero.artifacts import Input, Inputs, Stage, StageContext, run_units
from arriero.artifacts.files import read_json, read_jsonl, write_atomic, write_json, write_jsonl
from arriero.config import config, setting
from arriero.corpus import batches, read_parts
from arriero.data.reader import SHARDS_FILE, ShardReader, index_file
from arriero.errors import ConfigError, InputError, at
from arriero.eval.bits_per_byte import Document, document_bits, heldout_documents
from arriero.eval.facts import Fact, draw, encoded, facts_in, occurrences, recalled
from arriero.generation.inference import inference_copy
from arriero.model import LoadedModel, ModelShape
from arriero.pipeline.proxy_results import headline, summary, table
from arriero.report.figures_proxies import proxies as proxies_figure
from arriero.tokenizer import Tokenizer, load_chat_format, load_tokenizer
from arriero.train.optimizer import OptimizerConfig
from arriero.train.pretrain import PretrainConfig, train_model
from arriero.train.tracking import final_mean, read_series

FACTS_FILE = "facts.jsonl"
MEASURED = "measured"


@config
class ProxiesConfig:
    """Candidate mixes, the tiny model that each is tried with, and what is measured."""

    mixes: dict[str, dict[str, float]] = setting(
        ...,
        "name of a mix -> passes over a source, by its name or kind, as `epochs` of train.pretrain; the first is what "
        "the others are compared with",
        unit="epochs",
        min_length=1,
    )
    seeds: int = setting(2, "models for each mix, of seeds `seed`, `seed` + 1, ...", unit="models", ge=2)
    model: ModelShape = setting(
        ModelShape(dim=96, n_layers=4, n_heads=4, n_kv_heads=2, ffn_dim=256), "shape of the models"
    )
    tokens: int = setting(1_000_000, "tokens to train each model on, whatever its mix", unit="tokens", ge=1)
    sequence_length: int = setting(256, "tokens a sequence", unit="tokens", ge=2)
    micro_batch_size: int = setting(8, "sequences that go through the model at once", unit="sequences", ge=1)
    global_batch_size: int = setting(8, "sequences a step", unit="sequences", ge=1)
    optimizer: OptimizerConfig = setting(OptimizerConfig(lr=3e-3, warmup_fraction=0.05), "AdamW and its schedule")
    facts_source: str = setting("reference", "source whose facts are asked for, by its name or kind")
    facts: int = setting(500, "facts asked for, of the training text and of the held-out text each", ge=1)
    distractors: int = setting(3, "definitions of other terms beside the right one", ge=1)
    heldout_bytes: int = setting(40_000, "held-out text read of each source", unit="bytes", ge=1)
    document_bytes: int = setting(2_000, "most that one held-out document gives", unit="bytes", ge=1)
    overlap: int = setting(64, "tokens that a window of a long document shares with the one before", ge=1)
    seed: int = setting(1, "first seed of the models; facts, documents and bootstrap", ge=0)
    checkpoint_interval: float = setting(60.0, "between checkpoints, at least", unit="s", gt=0, operational=True)

    def training(self, mix: str, seed: int) -> PretrainConfig:
        """How the model of a mix and a seed is trained."""
        return PretrainConfig(
            model=self.model,
            tokens=self.tokens,
            epochs=self.mixes[mix],
            sequence_length=self.sequence_length,
            micro_batch_size=self.micro_batch_size,
            global_batch_size=self.global_batch_size,
            optimizer=self.optimizer,
            seed=seed,
            checkpoint_interval=self.checkpoint_interval,
        )


@dataclass(frozen=True)
class Probes:
    """What every model is asked: documents by source, facts by side ("train", "heldout").

    `tokens`: of each source in the shards; `factual`: the sources that the facts are of.
    """

    tokens: dict[str, int]
    factual: set[str]
    documents: dict[str, list[Document]]
    facts: dict[str, list[Fact]]


@dataclass(frozen=True)
class Proxy:
    """One model: a mix and a seed."""

    mix: str
    seed: int


def run(cfg: ProxiesConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Trains and measures every model. Raises ConfigError on a wrong mix, InputError if there are too few facts."""
    proxies = [Proxy(mix, cfg.seed + number) for mix in cfg.mixes for number in range(cfg.seeds)]
    shards, tokenizer = inputs.one("shards").path, load_tokenizer(inputs.one("tokenizer").path)
    for mix in cfg.mixes:
        with at(f"mix {mix!r}"):
            opened(cfg, Proxy(mix, cfg.seed), shards)
    probes = probes_for(cfg, inputs.one("corpus").path, shards, tokenizer)

    def work(_: int, proxy: Proxy) -> list[dict[str, Any]]:
        return [measured(cfg, proxy, probes, inputs, context)]

    path = run_units(context, MEASURED, proxies, work, unit="models")
    rows = [row for _, row in read_jsonl(path)]
    results = summary(rows, probes.documents, probes.facts, probes.tokens, probes.factual, cfg.seed)
    results |= {"facts_source": cfg.facts_source, "chance": 1 / (cfg.distractors + 1), "seeds": cfg.seeds}
    write_json(context.out / "results.json", results)
    write_atomic(context.out / "table.md", table(results))
    write_atomic(context.out / "figure.svg", proxies_figure(results))
    asked = [asdict(fact) | {"side": side} for side, facts in probes.facts.items() for fact in facts]
    write_jsonl(context.out / FACTS_FILE, asked)
    return headline(results)


def opened(cfg: ProxiesConfig, proxy: Proxy, shards: Path) -> ShardReader:
    return ShardReader(shards, cfg.sequence_length, proxy.seed, cfg.mixes[proxy.mix])


def measured(cfg: ProxiesConfig, proxy: Proxy, probes: Probes, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Trains one model and asks it all."""
    folder = context.scratch / "models" / f"{list(cfg.mixes).index(proxy.mix):03d}-{proxy.seed}"
    own = replace(
        context, out=folder / "out", scratch=folder / "scratch", label=f"{context.label} {proxy.mix}, seed {proxy.seed}"
    )
    for path in (own.out, own.scratch):
        path.mkdir(parents=True, exist_ok=True)
    training = cfg.training(proxy.mix, proxy.seed)
    given = Inputs({name: {name: inputs.one(name)} for name in ("shards", "tokenizer")})
    model = train_model(training, given, own)
    vocabulary = inputs.one("tokenizer").path
    tokenizer = load_tokenizer(vocabulary)
    copied = inference_copy(model, getattr(torch, context.machine.dtype))
    loaded = LoadedModel(copied, model.config, tokenizer, load_chat_format(vocabulary, tokenizer))
    reader = opened(cfg, proxy, inputs.one("shards").path)
    return asdict(proxy) | {
        "parameters": model.config.n_parameters,
        "epochs": reader.epochs,
        "tokens_read": reader.tokens_read(training.steps * cfg.global_batch_size),
        "training_loss": final_mean(read_series(own.out / "series.jsonl"), "loss"),
        "bits": {
            source: document_bits(loaded, [document.text for document in documents], cfg.sequence_length, cfg.overlap)
            for source, documents in probes.documents.items()
        },
        "facts": {
            side: [asdict(one) for one in recalled(loaded, facts, cfg.distractors)]
            for side, facts in probes.facts.items()
        },
    }


def probes_for(cfg: ProxiesConfig, corpus: Path, shards: Path, tokenizer: Tokenizer) -> Probes:
    """Raises ConfigError if `facts_source` is none of the shards' sources, InputError if it holds too few facts."""
    about = read_json(shards / SHARDS_FILE)["sources"]
    sources = {row["name"]: row["kind"] for row in about}
    factual = {name for name, kind in sources.items() if cfg.facts_source in (name, kind)}
    if not factual:
        named = ", ".join(f"{name} ({kind})" for name, kind in sources.items())
        raise ConfigError(
            f"facts_source is {cfg.facts_source!r}, which is no source of these shards, nor a kind: {named}."
        )
    held = {part.source for part in read_parts(corpus, "heldout") if part.bytes}
    documents = {
        source: heldout_documents(corpus, cfg.heldout_bytes, cfg.document_bytes, cfg.seed, source)
        for source in sources
        if source in held
    }
    trained, whole = stored_documents(shards)
    facts = {
        "train": facts_in(_documents(corpus, "train", factual, whole)),
        "heldout": facts_in(_documents(corpus, "heldout", factual)),
    }
    for side, once in (("train", 1), ("heldout", 0)):
        fit = [fact for fact in facts[side] if _fits(fact, tokenizer, cfg.sequence_length)]
        answers = [fact.answer for fact in fit]
        # A definition that other training text holds, too, is learnt there; one that two terms share is neither's.
        read = occurrences(answers, (text for _, text in _documents(corpus, "train", set(sources), trained)))
        own = occurrences(answers, [fact.answer for fact in fit])
        alone = [fact for fact, times, same in zip(fit, read, own, strict=True) if (times, same) == (once, 1)]
        facts[side] = draw(alone, cfg.facts, cfg.seed)
    if len(facts["train"]) <= cfg.distractors:
        raise InputError(
            f"The shards' text of {cfg.facts_source!r} holds {len(facts['train'])} facts (a term with a definition "
            f"that no other training text has), too few for {cfg.distractors} distractors. Give more of it, name "
            "another facts_source, or lower `distractors`."
        )
    enough = {side: found for side, found in facts.items() if len(found) > cfg.distractors}
    return Probes({row["name"]: row["tokens"] for row in about}, factual, documents, enough)


def stored_documents(shards: Path) -> tuple[set[str], set[str]]:
    """Ids of the documents that the shards hold, and of those that they hold whole: all but each file's last, which
    max_tokens may have cut."""
    stored: set[str] = set()
    last: set[str] = set()
    for file in read_json(shards / SHARDS_FILE)["files"]:
        ids = pq.read_table(shards / index_file(file["number"]), columns=["id"])["id"].to_pylist()
        stored.update(ids)
        last.update(ids[-1:])
    return stored, stored - last


def _documents(corpus: Path, split: str, sources: set[str], ids: set[str] | None = None) -> Iterator[tuple[str, str]]:
    """(module, text) of the documents of these sources, all or those with these ids."""
    for batch in batches(corpus, split, ["id", "source", "module", "text"]):
        for row in batch.to_pylist():
            if row["source"] in sources and (ids is None or row["id"] in ids):
                yield row["module"], row["text"]


def _fits(fact: Fact, tokenizer: Tokenizer, sequence_length: int) -> bool:
    """Whether the model can read the fact's term before another one's definition, and its definition after another."""
    return all(len(ids) <= sequence_length // 2 for ids in encoded(fact, tokenizer))


STAGE = Stage(
    name="data.proxies",
    config=ProxiesConfig,
    inputs=(
        Input("shards", kind="shards"),
        Input("tokenizer", kind="tokenizer"),
        Input("corpus", kind="corpus"),
    ),
    output="proxies",
    run=run,
)
