"""Stage data.build: crawls become a clean corpus, split into training text and held-out text.

Section 2.1 of the paper says what such a corpus must be and states none of its filters. Five phases, each of work units
(`units`) that run in any number of processes, here or on a cluster:

read         files become documents: main text, Unicode repair, language
boilerplate  lines that a site repeats
clean        these lines removed; quality, personal information, decontamination; fingerprints
decide       sites full of personal information, exact and near duplicates
write        what is left, as parts of the corpus, and the statistics of section 4.1
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from arriero.artifacts import Artifact, Input, Inputs, Stage, StageContext
from arriero.artifacts.files import file_digest, write_json
from arriero.config import config, setting
from arriero.corpus import SPLITS, Part, write_parts
from arriero.data.boilerplate import BoilerplateConfig
from arriero.data.decide import decide_all
from arriero.data.declared import CrawlSource, open_crawl
from arriero.data.decontaminate import QUESTIONS_FILE
from arriero.data.engine import EngineConfig
from arriero.data.funnel import added, funnel, worst_step
from arriero.data.language import MODEL_FILE, LanguageConfig, model_path
from arriero.data.mixture import MixtureConfig, by_source, epochs_by_source, mixture
from arriero.data.phase_clean import CleanUnit, CleanWork
from arriero.data.phase_read import ReadUnit, ReadWork
from arriero.data.phase_write import WriteUnit, WriteWork
from arriero.data.pii import PiiConfig
from arriero.data.quality_config import QualityConfig
from arriero.data.quarantine import check_quarantine, in_words, write_quarantine
from arriero.data.repeated import find_repeated
from arriero.data.sources import Source, SourceKind
from arriero.data.statistics import Statistics, StatisticsConfig
from arriero.data.units import Phase, group, place
from arriero.errors import ConfigError, InputError

# In the order in which they drop documents; `pii` is the removal of sites, redaction came before decontamination.
STEPS = (
    *("extract", "repair", "language", "boilerplate", "quality", "decontamination"),
    *("pii", "exact_duplicates", "near_duplicates"),
)
MB = 1_000_000
ALONE_BYTES = 4 * MB  # fewer are read before other processes have started


@config
class BuildConfig(MixtureConfig):
    """From crawls to a corpus."""

    language: LanguageConfig = setting(LanguageConfig(), "which languages stay")
    boilerplate: BoilerplateConfig = setting(BoilerplateConfig(), "lines that a site repeats")
    quality: QualityConfig = setting(QualityConfig(), "rules that tell text from what is none")
    pii: PiiConfig = setting(PiiConfig(), "removal and redaction of personal information")
    statistics: StatisticsConfig = setting(StatisticsConfig(), "what is counted in the corpus")
    max_quarantined: float = setting(
        0.05, "the run stops where a larger share of a source's records cannot be read", ge=0, le=1
    )
    unit_bytes: int = setting(64 * MB, "files of a source that are read together", unit="bytes", gt=0)
    engine: EngineConfig = setting(EngineConfig(), "where the work is done")


def build(cfg: BuildConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes the corpus (see `arriero.corpus`), what was dropped and quarantined, funnel, mixture and statistics.

    Raises InputError if a crawl is damaged or too much of a source cannot be read, or if no document is left for
    training or of what is held out; ConfigError on an unknown source.
    """
    sources = _sources(inputs)
    cfg = _with_declared_epochs(cfg, sources)
    epochs = epochs_by_source(cfg.epochs, [_record(source, 0) for source in sources])
    by_source("caps", cfg.caps, [_record(source, 0) for source in sources])  # a wrong name fails before any work
    size = sum(file.bytes for source in sources for file in source.files)
    phase = Phase(context, cfg.engine).suited(size, ALONE_BYTES)
    units = read_units(sources, cfg.unit_bytes)
    read = phase.run("read", units, ReadWork(cfg.language, cfg.boilerplate))
    check_quarantine(read, cfg.max_quarantined)
    records = _records(sources, read)
    alive = [(unit, found) for unit, found in zip(units, read, strict=True) if found["kept"]]
    clean_units = _clean_units(phase, cfg, [unit for unit, _ in alive], sources)
    clean = phase.run("clean", clean_units, _clean_work(cfg, inputs, context.scratch / "read"))
    left = [(unit, found) for unit, found in zip(clean_units, clean, strict=True) if found["kept"]]
    folders, rows = [phase.folder("clean", unit.name) for unit, _ in left], sum(found["kept"] for _, found in left)
    decisions = decide_all(phase, folders, rows, cfg.pii, epochs)
    write_units = [WriteUnit(unit.name, number) for number, (unit, _) in enumerate(left)]
    work = WriteWork(context.scratch / "clean", decisions, cfg.statistics, _path(inputs.maybe("toxicity")))
    written = phase.run("write", write_units, work)
    drops = added(part["dropped"] for part in (*read, *clean, *written))
    summaries = dict(zip((unit.name for unit in write_units), written, strict=True))
    return _Corpus(cfg, phase, records, units, summaries, sources).write(drops)


def read_units(sources: Sequence[CrawlSource], unit_bytes: int) -> list[ReadUnit]:
    """The files of each source in groups of about `unit_bytes`."""
    return [
        ReadUnit(
            f"{number:03}-{part:05}",
            source.config,
            source.files[files.start : files.stop],
            source.digests[files.start : files.stop],
        )
        for number, source in enumerate(sources)
        for part, files in enumerate(group([file.bytes for file in source.files], unit_bytes))
    ]


def _sources(inputs: Inputs) -> list[CrawlSource]:
    """The sources of all crawls, by name. Raises ConfigError if two have one name."""
    found = sorted(
        (source for crawl in inputs.many("crawl").values() for source in open_crawl(crawl.path)),
        key=lambda source: source.config.name,
    )
    for one, other in pairwise(found):
        if one.config.name == other.config.name:
            raise ConfigError(f"Two crawls hold a source named {one.config.name!r}. Give one of them another name.")
    return found


def _with_declared_epochs(cfg: BuildConfig, sources: Sequence[CrawlSource]) -> BuildConfig:
    """The config with the epochs that sources declare; what the config says of a source by its name goes before."""
    declared = {s.config.name: s.config.epochs for s in sources if s.config.epochs is not None}
    return replace(cfg, epochs={**declared, **cfg.epochs})


def _record(source: CrawlSource, documents: int) -> Source:
    """A source as the corpus lists it."""
    licences = source.licences or {source.config.licence: documents}
    name, kind = source.config.name, source.config.kind
    return Source(name, kind, "", licences, documents, sum(f.bytes for f in source.files), source.python_version)


def _records(sources: Sequence[CrawlSource], read: Sequence[dict[str, Any]]) -> dict[str, Source]:
    """The sources with what was read of them. Raises InputError if that is nothing."""
    counts, bad = Counter[str](), Counter[str]()
    for found in read:
        counts[found["source"]] += found["records"]
        bad.update(found["quarantined"])
    if not counts.total():
        raise InputError(
            f"The crawl holds no document ({in_words(bad)}). Check its sources: there is nothing to build from."
        )
    return {source.config.name: _record(source, counts[source.config.name]) for source in sources}


def _clean_units(
    phase: Phase, cfg: BuildConfig, units: Sequence[ReadUnit], sources: Sequence[CrawlSource]
) -> list[CleanUnit]:
    web = [phase.folder("read", unit.name) for unit in units if unit.source.kind is SourceKind.WEB]
    repeated = find_repeated(phase, web, cfg.boilerplate) if web else None
    heldout = {source.config.name: source.heldout for source in sources}
    return [
        CleanUnit(unit.name, repeated if unit.source.kind is SourceKind.WEB else None, heldout[unit.source.name])
        for unit in units
    ]


def _clean_work(cfg: BuildConfig, inputs: Inputs, read: Path) -> CleanWork:
    questions = tuple(artifact.path / QUESTIONS_FILE for artifact in inputs.many("evaluation").values())
    classifier, perplexity = inputs.maybe("classifier"), inputs.maybe("perplexity")
    return CleanWork(read, cfg.boilerplate, cfg.quality, cfg.pii, questions, _path(classifier), _path(perplexity))


def _path(artifact: Artifact | None) -> Path | None:
    return None if artifact is None else artifact.path


@dataclass(frozen=True)
class _Corpus:
    """What the phases made, as the corpus's files."""

    cfg: BuildConfig
    phase: Phase
    records: Mapping[str, Source]
    units: Sequence[ReadUnit]
    written: Mapping[str, dict[str, Any]]  # summaries of phase `write`, by unit
    sources: Sequence[CrawlSource]

    def write(self, drops: Mapping[str, Any]) -> dict[str, Any]:
        """All of them; gives the metrics. Raises InputError, before anything is written, if nothing is left."""
        source_of = {unit.name: unit.source.name for unit in self.units}
        kept = {split: Counter[str]() for split in SPLITS}
        sizes = {split: Counter[str]() for split in SPLITS}
        for name, found in self.written.items():
            for split in SPLITS:
                for part in found[split]:
                    kept[split][source_of[name]] += part["documents"]
                    sizes[split][source_of[name]] += part["bytes"]
        came_in = {name: source.documents for name, source in self.records.items()}
        report = funnel(came_in, {step: drops.get(step, {}) for step in STEPS}, kept)
        _check_left(report, any(source.heldout.names for source in self.sources))
        out = self.phase.context.out
        parts = {split: self._parts(split, source_of) for split in SPLITS}
        write_parts(out, parts)
        self._dropped()
        counts = {name: (kept["train"][name], sizes["train"][name]) for name in kept["train"]}
        mix = mixture(counts, self.cfg, list(self.records.values()))
        write_json(out / "funnel.json", report)
        write_json(out / "mixture.json", mix)
        write_json(out / "sources.json", [asdict(source) for source in self.records.values()])
        counted = (Statistics.from_json(found["statistics"]) for found in self.written.values())
        write_json(out / "statistics.json", reduce(Statistics.merge, counted, Statistics()).to_json())
        return {
            "documents_in": report["documents_in"],
            "documents_out": report["documents_out"],
            "train_documents": report["train"],
            "heldout_documents": report["heldout"],
            "train_bytes": mix["bytes"],
            "heldout_bytes": sizes["heldout"].total(),
        }

    def _parts(self, split: str, source_of: Mapping[str, str]) -> list[Part]:
        """The units' files of a split, in the corpus's folder."""
        parts: list[Part] = []
        for name, found in self.written.items():
            for part in found[split]:
                file = f"{split}/{len(parts):05}.parquet"
                place(self.phase.folder("write", name) / part["file"], self.phase.context.out / file)
                parts.append(Part(file, source_of[name], part["documents"], part["bytes"]))
        return parts

    def _dropped(self) -> None:
        """What was dropped and could not be read: one file of each that any phase left of a unit."""
        context, number = self.phase.context, 0
        for unit in self.units:
            for phase in ("read", "clean", "write"):
                file = self.phase.folder(phase, unit.name) / "dropped.parquet"
                if file.is_file() and pq.read_metadata(file).num_rows:
                    place(file, context.out / f"dropped/{number:05}.parquet")
                    number += 1
        quarantines = [self.phase.folder("read", unit.name) / "quarantine.jsonl" for unit in self.units]
        without_files = [source.config.name for source in self.sources if not source.files]
        write_quarantine(context.out / "quarantine.jsonl", quarantines, without_files)


def _check_left(report: Mapping[str, Any], is_heldout: bool) -> None:
    """`is_heldout`: modules are held out by name. A share of few modules may be none."""
    if not report["train"]:
        left = f"{report['heldout']} are left, all held out" if report["heldout"] else "none is left"
        raise InputError(
            f"No document for training: of {report['documents_in']} documents {left}; {worst_step(report['steps'])}. "
            "Give more or other text, or change that step's settings."
        )
    if is_heldout and not report["heldout"]:
        raise InputError(
            "No held-out text to measure with: the crawl holds modules or files out, and none of their documents "
            f"is left; {worst_step(report['steps'])}. Give more or other text, hold out a larger share or by another "
            "seed, or set the crawl's heldout_share to 0 if nothing is to be measured."
        )


def _outside(_: BuildConfig) -> dict[str, str]:
    return {MODEL_FILE: file_digest(model_path())}


STAGE = Stage(
    "data.build",
    BuildConfig,
    (
        Input("crawl", "crawl", many=True),
        Input("evaluation", "evaluation_texts", many=True, optional=True),
        Input("classifier", "text_classifier", optional=True),
        Input("perplexity", "ngram_model", optional=True),
        Input("toxicity", "text_classifier", optional=True),
    ),
    "corpus",
    build,
    _outside,
)
