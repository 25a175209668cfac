"""Phase `write`: the documents that are left become parts of the corpus, for training or held out.

A unit is one of phase `clean`. Its folder holds `train.parquet`, `heldout.parquet` and `dropped.parquet`.
"""

import time
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arriero.corpus import DROPPED_SCHEMA, SPLITS, STORED, STORED_SCHEMA
from arriero.data.classifier import load_classifier, score
from arriero.data.decisions import read_decisions
from arriero.data.sieve import TableFile, dropped_rows, row_groups
from arriero.data.statistics import Scorer, Statistics, StatisticsConfig, count, word_list_scorer

COLUMNS = ("kind", "bytes", "heldout", *STORED)
LEVEL = 3  # of zstd, for what stays


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
        kept = {split: Counter(documents=0, bytes=0) for split in SPLITS}
        dropped: dict[str, dict[str, Counter[str]]] = {}
        counted = Statistics()
        first = 0
        with (
            TableFile(folder / "train.parquet", STORED_SCHEMA, LEVEL) as train,
            TableFile(folder / "heldout.parquet", STORED_SCHEMA, LEVEL) as heldout,
            TableFile(folder / "dropped.parquet", DROPPED_SCHEMA) as gone,
        ):
            for table in row_groups(
                self.clean / unit.name / "documents.parquet", ("kind", "bytes", "heldout", *STORED)
            ):
                here = decided.slice_rows(first, first + table.num_rows)
                first += table.num_rows
                for step, rows in here.by_step():
                    lost = rows.of(table)
                    gone.write(dropped_rows(lost, step))
                    for source, reason in zip(lost["source"].to_pylist(), lost["reason"].to_pylist(), strict=True):
                        dropped.setdefault(step, {}).setdefault(source, Counter())[reason] += 1
                table = table.filter(here.kept(table.num_rows))
                held = np.asarray(table["heldout"], dtype=bool)
                for split, file, mask in (("train", train, ~held), ("heldout", heldout, held)):
                    part = table.filter(pa.array(mask))
                    file.write(part)
                    kept[split].update(documents=part.num_rows, bytes=pc.sum(part["bytes"]).as_py() or 0)
                    if split == "train":
                        counted = counted.merge(count(part, self.statistics, self.scorer))
        summary = {"dropped": dropped, "statistics": counted.to_json(), **kept}
        return summary, {"write": time.process_time() - started}
