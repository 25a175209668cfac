"""Each step of data.build by itself: a pass of its own over the same documents, held in memory, on one core."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arriero.data.boilerplate import COUNTS, BoilerplateConfig, boilerplate_step, line_counts, repeated_lines
from arriero.data.decontaminate import decontamination_step, read_questions
from arriero.data.documents import Step
from arriero.data.duplicates import NO_EDGES, band_edges, components, decide_exact, decide_near, exact_edges
from arriero.data.extract import extract
from arriero.data.fingerprints import BANDS
from arriero.data.heldout import Heldout
from arriero.data.language import LanguageConfig, language_step
from arriero.data.phase_clean import PRINTS, with_columns
from arriero.data.phase_read import row_of
from arriero.data.pii import PiiConfig, PiiScan, crowded_sites
from arriero.data.quality import quality_step
from arriero.data.quality_config import QualityConfig
from arriero.data.readers.files import list_files
from arriero.data.readers.read import read_file
from arriero.data.readers.records import Record
from arriero.data.readers.source import SourceConfig
from arriero.data.repair import REPAIR_STEP
from arriero.data.sieve import tables
from arriero.data.sources import SourceKind
from arriero.data.statistics import StatisticsConfig, count, word_list_scorer


class Clock:
    """CPU seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        self.seconds[name] = time.process_time() - started
        return result


def steps_alone(sources: list[SourceConfig], questions: Path, languages: list[str]) -> dict[str, float]:
    """CPU seconds of each step on the documents that come to it."""
    clock = Clock()
    batches = clock("read", lambda: [table for source in sources for table in tables(_rows(source))])

    def run(step: Step) -> None:
        nonlocal batches
        done = clock(step.name, lambda: [step.run(table) for table in batches])
        batches = [kept for table in done if (kept := table.filter(pc.is_null(table["reason"]))).num_rows]

    run(Step("extract", lambda table: extract(table, html=table["kind"][0].as_py() == SourceKind.WEB)))
    for step in (REPAIR_STEP, language_step(LanguageConfig(keep=languages))):
        run(step)
    cfg = BoilerplateConfig()
    web = [table for table in batches if table["kind"][0].as_py() == SourceKind.WEB]
    counts = clock("line_counts", lambda: [line_counts(table, cfg) for table in web])
    with TemporaryDirectory() as folder:
        file = Path(folder, "lines.parquet")
        pq.write_table(pa.concat_tables([COUNTS.empty_table(), *counts]), file)
        repeated = clock("repeated_lines", lambda: repeated_lines([file], 0, 1, cfg))
    run(boilerplate_step(cfg, repeated))
    run(quality_step(QualityConfig()))
    scan = PiiScan(PiiConfig())
    run(Step("pii", scan.redact))
    run(decontamination_step(read_questions([questions])))
    clock("sites", lambda: crowded_sites(scan.findings(), scan.words(), PiiConfig()))
    printed = clock("fingerprints", lambda: [with_columns(table, Heldout()) for table in batches])
    with TemporaryDirectory() as folder:
        files = [Path(folder, "prints.parquet")]
        pq.write_table(pa.concat_tables(printed).select(PRINTS.names).cast(PRINTS), files[0])
        _duplicates(clock, files, {source.name: 1.0 for source in sources})
    scorer = word_list_scorer()
    clock("statistics", lambda: [count(table, StatisticsConfig(), scorer) for table in batches])
    return clock.seconds


def _rows(source: SourceConfig) -> Any:
    for file in list_files(source):
        for record in read_file(file, source):
            if isinstance(record, Record):
                yield row_of(record, source)


def _duplicates(clock: Clock, files: list[Path], epochs: dict[str, float]) -> None:
    nobody = np.zeros(0, np.int64)
    exact = clock("exact_duplicates", lambda: components(exact_edges(files, 0, 1, nobody)))
    if len(exact.numbers):
        clock("exact_decided", lambda: decide_exact(files, exact, epochs))

    def near() -> Any:
        edges = NO_EDGES
        for band in range(BANDS):
            edges = components(np.concatenate([edges, band_edges(files, band, 0, 1, nobody)])).edges()
        return components(edges)

    groups = clock("near_duplicates", near)
    if len(groups.numbers):
        clock("near_decided", lambda: decide_near(files, groups, epochs))
