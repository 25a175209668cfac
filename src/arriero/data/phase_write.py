"""Phase `write`: the documents that are left become parts of the corpus, for training or held out.

A unit is one of phase `clean`. Its folder holds files of both splits, `train-00000.parquet` and so on, and
`dropped.parquet`.
"""

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arriero.corpus import DROPPED_SCHEMA, STORED, STORED_SCHEMA
from arriero.data.classifier import load_classifier, score
from arriero.data.decisions import read_decisions
from arriero.data.sieve import TableFile, dropped_rows, row_groups
from arriero.data.statistics import Scorer, Statistics, StatisticsConfig, count, word_list_scorer

COLUMNS = ("kind", "bytes", "heldout", *STORED)
PART_BYTES = 256_000_000  # of text: those who read a part hold it in memory
LEVEL = 3  # of zstd, for what stays


class PartFiles:
    """A split's files in a unit's folder: a new one where the last holds PART_BYTES of text; a context manager."""

    def __init__(self, folder: Path, split: str) -> None:
        self.split = split
        self.written: list[dict[str, Any]] = []
        self._folder = folder
        self._files = ExitStack()
        self._file: TableFile | None = None

    def write(self, documents: pa.Table) -> None:
        if not documents.num_rows:
            return
        if self._file is None or self.written[-1]["bytes"] >= PART_BYTES:
            self._files.close()
            name = f"{self.split}-{len(self.written):05}.parquet"
            self._file = self._files.enter_context(TableFile(self._folder / name, STORED_SCHEMA, LEVEL))
            self.written.append({"file": name, "documents": 0, "bytes": 0})
        self._file.write(documents)
        self.written[-1]["documents"] += documents.num_rows
        self.written[-1]["bytes"] += pc.sum(documents["bytes"]).as_py()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)


@dataclass(frozen=True)
class WriteUnit:
    """`number` is the unit's place in the order of the documents."""

    name: str
    number: int


@dataclass(frozen=True)
class WriteWork:
    """`clean` is the folder of phase clean, `decisions` the file of what is dropped for what other documents hold;
    `toxicity` is a text classifier, None for the word list."""

    clean: Path
    decisions: Path
    statistics: StatisticsConfig
    toxicity: Path | None

    @cached_property
    def scorer(self) -> Scorer:
        return word_list_scorer() if self.toxicity is None else partial(score, load_classifier(self.toxicity))

    def __call__(self, folder: Path, unit: WriteUnit) -> tuple[dict[str, Any], dict[str, float]]:
        started = time.process_time()
        decided = read_decisions(self.decisions, unit.number)
        dropped: dict[str, dict[str, Counter[str]]] = {}
        counted = Statistics()
        first = 0
        with (
            PartFiles(folder, "train") as train,
            PartFiles(folder, "heldout") as heldout,
            TableFile(folder / "dropped.parquet", DROPPED_SCHEMA) as gone,
        ):
            for table in row_groups(self.clean / unit.name / "documents.parquet", COLUMNS):
                here = decided.slice_rows(first, first + table.num_rows)
                first += table.num_rows
                for step, rows in here.by_step():
                    lost = rows.of(table)
                    gone.write(dropped_rows(lost, step))
                    for source, reason in zip(lost["source"].to_pylist(), lost["reason"].to_pylist(), strict=True):
                        dropped.setdefault(step, {}).setdefault(source, Counter())[reason] += 1
                table = table.filter(here.kept(table.num_rows))
                held = np.asarray(table["heldout"], dtype=bool)
                for parts, mask in ((train, ~held), (heldout, held)):
                    part = table.filter(pa.array(mask))
                    parts.write(part)
                    if parts is train and part.num_rows:
                        counted = counted.merge(count(part, self.statistics, self.scorer))
        kept = {parts.split: parts.written for parts in (train, heldout)}
        summary = {"dropped": dropped, "statistics": counted.to_json(), **kept}
        return summary, {"write": time.process_time() - started}
