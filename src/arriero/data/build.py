"""Stage data.build: a crawl becomes a clean corpus, split into training text and held-out text.

Steps, in order: extraction, language, quality, personal information, exact and near duplicates, decontamination; then
the mixture by epochs (section 2.1 of the paper, which states none of the filters). Modules that the crawl holds out go
through the same steps into the held-out parts.
"""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.artifacts.files import file_digest, write_json
from arriero.config import InputPath, config, setting
from arriero.corpus import STORED_SCHEMA, Part, write_parts
from arriero.data.decontaminate import decontamination_step, read_questions
from arriero.data.dedup import KeepRule, dedup_steps
from arriero.data.documents import Step
from arriero.data.engine import run_step
from arriero.data.extract import EXTRACT_STEP, read_crawl
from arriero.data.funnel import Funnel
from arriero.data.language import MODEL_FILE, LanguageConfig, language_step, model_path
from arriero.data.mixture import MixtureConfig, epochs_by_source, mixture
from arriero.data.parquet import write_parquet
from arriero.data.pii import PiiConfig, pii_step
from arriero.data.quality import QUALITY_STEP
from arriero.data.sources import Source, read_heldout, read_sources
from arriero.errors import InputError


@config
class BuildConfig(MixtureConfig):
    """From a crawl to a corpus."""

    language: LanguageConfig = setting(LanguageConfig(), "which languages stay")
    pii: PiiConfig = setting(PiiConfig(), "removal and redaction of personal information")
    evaluation_questions: InputPath | None = setting(
        None, "JSONL of {question, answer}: documents that hold one of them are dropped"
    )


def steps_of(cfg: BuildConfig, rule: KeepRule) -> list[Step]:
    """The steps that the config asks for, in their order."""
    steps = [EXTRACT_STEP, language_step(cfg.language), QUALITY_STEP, pii_step(cfg.pii), *dedup_steps(rule)]
    if cfg.evaluation_questions is not None:
        steps.append(decontamination_step(read_questions(cfg.evaluation_questions)))
    return steps


def build(cfg: BuildConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes the parts of both splits, dropped.parquet, funnel.json and mixture.json.

    Raises InputError if the crawl is damaged, or no document is left for training or of what it holds out;
    ConfigError on an unknown source.
    """
    crawl = inputs.one("crawl").path
    sources, heldout = read_sources(crawl), frozenset(read_heldout(crawl))
    epochs = epochs_by_source(cfg.epochs, sources)
    steps = steps_of(cfg, KeepRule(heldout, epochs))
    table = read_crawl(crawl, sources)
    if not table.num_rows:
        raise InputError(f"The crawl {crawl} holds no document. Check its sources: there is nothing to build from.")
    funnel = Funnel.of(table)
    with context.progress(len(steps), "steps") as bar:
        for step in steps:
            context.check_stop()
            started = time.perf_counter()
            table, dropped = run_step(step, table)
            funnel.add(step.name, table, dropped)
            context.timing(f"{step.name}_seconds", time.perf_counter() - started)
            bar.advance(step=step.name, documents=table.num_rows)
    return _write(context.out, table, heldout, funnel, cfg, sources)


def _write(
    out: Path, table: pa.Table, heldout: frozenset[str], funnel: Funnel, mixing: MixtureConfig, sources: list[Source]
) -> dict[str, Any]:
    held = pc.is_in(table["module"], pa.array(sorted(heldout), pa.large_string()))
    train, kept_out = (
        table.filter(rows).select(STORED_SCHEMA.names).cast(STORED_SCHEMA) for rows in (pc.invert(held), held)
    )
    if not train.num_rows:
        left = f"{kept_out.num_rows} are left, all held out" if kept_out.num_rows else "none is left"
        raise InputError(
            f"No document for training: of {funnel.sources.total()} documents {left}; {funnel.worst_step()}. "
            "Give more or other text, or change that step's settings."
        )
    if heldout and not kept_out.num_rows:
        raise InputError(
            f"No held-out text to measure with: the crawl holds out {len(heldout)} module(s) or file(s), and none of "
            f"their documents is left; {funnel.worst_step()}. Give more or other text, hold out a larger share or by "
            "another seed, or set the crawl's heldout_share to 0 if nothing is to be measured."
        )
    report = funnel.to_json(train, kept_out)
    parts = {name: _parts(out, name, split) for name, split in (("train", train), ("heldout", kept_out))}
    write_parts(out, parts)
    mix = mixture({part.source: (part.documents, part.bytes) for part in parts["train"]}, mixing, sources)
    write_parquet(out / "dropped.parquet", funnel.dropped_table())
    write_json(out / "funnel.json", report)
    write_json(out / "mixture.json", mix)
    return {
        "documents_in": report["documents_in"],
        "documents_out": report["documents_out"],
        "train_documents": train.num_rows,
        "heldout_documents": kept_out.num_rows,
        "train_bytes": mix["bytes"],
        "heldout_bytes": pc.sum(pc.binary_length(kept_out["text"])).as_py() or 0,
    }


def _parts(out: Path, split: str, table: pa.Table) -> list[Part]:
    """Writes a part for each source."""
    parts = []
    for number, source in enumerate(sorted(set(table["source"].to_pylist()))):
        own = table.filter(pc.equal(table["source"], source))
        name = f"{split}/{number:05d}.parquet"
        write_parquet(out / name, own)
        parts.append(Part(name, source, own.num_rows, pc.sum(pc.binary_length(own["text"])).as_py()))
    return parts


def _outside(_: BuildConfig) -> dict[str, str]:
    return {MODEL_FILE: file_digest(model_path())}


STAGE = Stage("data.build", BuildConfig, (Input("crawl", "crawl"),), "corpus", build, _outside)
