"""Random documents of a corpus, kept and dropped, drawn by a seed without reading the text of the others.

A document is chosen as a place (file, row) by the counts in the files' metadata, or by small columns where a filter
asks for them; then the row groups of the chosen are read.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.config import nearest
from arriero.corpus import DROPPED, SPLITS, read_parts
from arriero.data.reasons import DUPLICATES
from arriero.data.stored import StoredFile, stored_files
from arriero.errors import InputError


@dataclass(frozen=True)
class Wanted:
    """Which documents to draw from; None: all. `step` takes what the step dropped, and kept texts that it changed."""

    split: str | None = None
    source: str | None = None
    step: str | None = None
    reason: str | None = None

    def splits(self) -> tuple[tuple[str, ...], ...]:
        """The groups of splits that are drawn from, each by itself: kept and dropped."""
        if self.split is not None:
            return ((self.split,),)
        return ((DROPPED,),) if self.reason is not None else (SPLITS, (DROPPED,))


@dataclass(frozen=True)
class Sample:
    """A document as it is stored. Of a dropped one `text` is the beginning, and `language` and `edits` are empty."""

    split: str
    id: str
    source: str
    url: str
    origin: str
    text: str
    language: str = ""
    edits: str = ""
    step: str = ""
    reason: str = ""
    detail: str = ""

    @property
    def names_kept(self) -> bool:
        """Whether `detail` is the id of the document that was kept in its stead."""
        return self.step in DUPLICATES

    @staticmethod
    def of(split: str, row: Mapping[str, str]) -> "Sample":
        known = {name: row[name] for name in Sample.__dataclass_fields__ if name in row}
        return Sample(**{"split": split, "text": row.get("excerpt", ""), **known})


def check_wanted(wanted: Wanted, count: int, funnel: Mapping[str, Any]) -> None:
    """Raises InputError on a count below one, on a source, step or reason that the corpus does not know, and where a
    kept document is to have a reason."""
    if count < 1:
        raise InputError(f"A sample has at least one document, not {count}.")
    steps = {step["step"]: step["dropped"] for step in funnel["steps"]}
    if wanted.reason is not None and wanted.split not in (None, DROPPED):
        raise InputError(f"A reason is why a document was dropped; those of split {wanted.split!r} were kept.")
    reasons = steps.get(wanted.step, {}) if wanted.step else {name for found in steps.values() for name in found}
    asked = (
        ("source", wanted.source, funnel["by_source"]),
        ("step", wanted.step, steps),
        ("reason", wanted.reason, reasons),
    )
    for what, name, known in asked:
        if name is not None and name not in known:
            of_step = f" of the step {wanted.step!r}" if what == "reason" and wanted.step else ""
            hint = nearest(name, known) if known else "There is none."
            raise InputError(f"There is no {what} {name!r}{of_step} in this corpus. {hint}")


def draw(corpus: Path, wanted: Wanted, count: int, seed: int) -> list[Sample]:
    """At most `count` kept and as many dropped documents, kept first, in the corpus's order; by the seed alone."""
    drawn = []
    for splits in wanted.splits():
        files = _of_source(stored_files(corpus, splits), wanted.source)
        rows = [_candidates(file, wanted) for file in files]
        ends = np.cumsum([len(found) for found in rows]) if rows else np.zeros(0, np.int64)
        total = int(ends[-1]) if len(ends) else 0
        chosen = sorted(random.Random(f"{seed}/{'/'.join(splits)}").sample(range(total), min(count, total)))
        owners = np.searchsorted(ends, chosen, side="right")
        for number in sorted(set(owners.tolist())):
            start = int(ends[number]) - len(rows[number])
            places = [int(rows[number][p - start]) for p, owner in zip(chosen, owners, strict=True) if owner == number]
            drawn += [Sample.of(files[number].split, row) for row in files[number].rows(places)]
    return drawn


def _of_source(files: list[StoredFile], source: str | None) -> list[StoredFile]:
    """The files that may hold documents of the source: a kept part is of one source."""
    if source is None or not files:
        return files
    corpus = files[0].corpus
    parts = {part.file for split in SPLITS for part in read_parts(corpus, split) if part.source == source}
    return [file for file in files if file.split == DROPPED or file.name in parts]


def _candidates(file: StoredFile, wanted: Wanted) -> Sequence[int] | NDArray[np.int64]:
    """The rows of a file to choose from."""
    asked: dict[str, str | None] = {"edits": wanted.step}
    if file.split == DROPPED:
        asked = {"source": wanted.source, "step": wanted.step, "reason": wanted.reason}
    given = {name: value for name, value in asked.items() if value is not None}
    if not given:
        return range(file.count())
    found = [np.zeros(0, np.int64)]
    for first, table in file.batches(list(given)):
        mask = np.ones(table.num_rows, dtype=bool)
        for name, value in given.items():
            # Each edit begins with its step: "repair 3 characters; pii EMAIL 2".
            is_it = _changed_by(table[name], value) if name == "edits" else pc.equal(table[name], value)
            mask &= np.asarray(is_it, dtype=bool)
        found.append(first + np.flatnonzero(mask))
    return np.concatenate(found)


def _changed_by(edits: Any, step: str) -> Any:
    return pc.or_(pc.starts_with(edits, f"{step} "), pc.match_substring(edits, f"; {step} "))
