"""Stage data.build: a crawl becomes a clean corpus, split into training text and held-out text.

Steps, in order: extraction, language, quality, personal information, exact and near duplicates, decontamination; then
the mixture by epochs (section 2.1 of the paper, which states none of the filters). Modules that the crawl holds out go
through the same steps into `heldout.parquet`.
"""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.artifacts.files import file_digest, write_json
from arriero.config import InputPath, config, setting
from arriero.data.decontaminate import decontamination_step, read_questions
from arriero.data.dedup import KeepRule, dedup_steps
from arriero.data.documents import STORED, Step
from arriero.data.engine import run_step
from arriero.data.extract import EXTRACT_STEP, read_crawl
from arriero.data.funnel import Funnel
from arriero.data.language import MODEL_FILE, LanguageConfig, language_step, model_path
from arriero.data.mixture import epochs_by_source, mixture
from arriero.data.parquet import write_parquet
from arriero.data.pii import PiiConfig, pii_step
from arriero.data.quality import quality_step
from arriero.data.quality_config import QualityConfig
from arriero.data.sources import Source, read_heldout, read_sources
from arriero.errors import InputError


@config
class BuildConfig:
    """From a crawl to a corpus."""

    language: LanguageConfig = setting(LanguageConfig(), "which languages stay")
    pii: PiiConfig = setting(PiiConfig(), "removal and redaction of personal information")
    evaluation_questions: InputPath | None = setting(
        None, "JSONL of {question, answer}: documents that hold one of them are dropped"
    )
    epochs: dict[str, float] = setting(
        {"reference": 3.0},
        "passes over a source, by its name or kind, in one pass over the mixture; 1 where not named",
        unit="epochs",
    )


def steps_of(cfg: BuildConfig, rule: KeepRule) -> list[Step]:
    """The steps that the config asks for, in their order."""
    steps = [
        EXTRACT_STEP,
        language_step(cfg.language),
        quality_step(QualityConfig()),
        pii_step(cfg.pii),
        *dedup_steps(rule),
    ]
    if cfg.evaluation_questions is not None:
        steps.append(decontamination_step(read_questions(cfg.evaluation_questions)))
    return steps


def build(cfg: BuildConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes train.parquet, heldout.parquet, dropped.parquet, funnel.json and mixture.json.

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
    return _write(context.out, table, heldout, funnel, epochs, sources)


def _write(
    out: Path, table: pa.Table, heldout: frozenset[str], funnel: Funnel, epochs: dict[str, float], sources: list[Source]
) -> dict[str, Any]:
    held = pc.is_in(table["module"], pa.array(sorted(heldout), pa.large_string()))
    stored = pa.schema([(name, pa.string()) for name in STORED])
    train, kept_out = (table.filter(rows).select(STORED).cast(stored) for rows in (pc.invert(held), held))
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
    report, mix = funnel.to_json(train, kept_out), mixture(train, epochs, sources)
    write_parquet(out / "train.parquet", train)
    write_parquet(out / "heldout.parquet", kept_out)
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


def _outside(_: BuildConfig) -> dict[str, str]:
    return {MODEL_FILE: file_digest(model_path())}


STAGE = Stage("data.build", BuildConfig, (Input("crawl", "crawl"),), "corpus", build, _outside)
