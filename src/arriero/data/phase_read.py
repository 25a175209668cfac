"""Phase `read`: files become documents: parsed, their main text extracted, repaired, their language known.

A unit is a run of one source's files. Its folder holds `documents.parquet`, `dropped.parquet`, `quarantine.jsonl` and,
of web pages, `lines.parquet`, the counts that the phase `boilerplate` adds up.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from arriero.artifacts.files import file_digest
from arriero.corpus import DROPPED_SCHEMA
from arriero.data.boilerplate import COUNTS, BoilerplateConfig, line_counts
from arriero.data.documents import SCHEMA, Step
from arriero.data.extract import extract_step
from arriero.data.language import LanguageConfig, language_step
from arriero.data.quarantine import EMPTY
from arriero.data.readers.files import SourceFile
from arriero.data.readers.read import read_file
from arriero.data.readers.records import Quarantined, Record
from arriero.data.readers.source import SourceConfig
from arriero.data.repair import REPAIR_STEP
from arriero.data.sieve import Sieve, TableFile, tables
from arriero.data.sources import SourceKind
from arriero.errors import InputError

READ_SCHEMA = pa.schema([field for field in SCHEMA if field.name not in ("reason", "detail")])


@dataclass(frozen=True)
class ReadUnit:
    """Consecutive files of a source, and their SHA-256 where it must be what it was."""

    name: str
    source: SourceConfig
    files: tuple[SourceFile, ...]
    digests: tuple[str | None, ...]


@dataclass(frozen=True)
class ReadWork:
    """Reads a unit's files and runs the first steps on what they hold."""

    language: LanguageConfig
    boilerplate: BoilerplateConfig

    def steps(self, unit: ReadUnit) -> list[Step]:
        # A source's files have one format.
        html = unit.source.holds_html(unit.files[0].format)
        return [extract_step(html), REPAIR_STEP, language_step(self.language)]

    def __call__(self, folder: Path, unit: ReadUnit) -> tuple[dict[str, Any], dict[str, float]]:
        is_web = unit.source.kind is SourceKind.WEB
        waited, counted, started = 0.0, 0.0, time.process_time()
        with (
            TableFile(folder / "documents.parquet", READ_SCHEMA) as documents,
            TableFile(folder / "dropped.parquet", DROPPED_SCHEMA) as dropped,
            TableFile(folder / "lines.parquet", COUNTS) as lines,
            (folder / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine,
        ):
            reader = _Reader(unit, quarantine)
            sieve = Sieve(self.steps(unit), dropped)
            for table in tables(reader.rows()):
                waited += time.process_time() - started
                kept = sieve(table)
                documents.write(kept)
                started = time.process_time()
                if is_web:
                    lines.write(line_counts(kept, self.boilerplate))
                counted += time.process_time() - started
                started = time.process_time()
        summary = {
            "source": unit.source.name,
            "records": reader.records,
            "kept": documents.rows,
            "quarantined": dict(sorted(reader.quarantined.items())),
            "first_quarantined": reader.first,
            "dropped": sieve.counts(),
        }
        return summary, {"read": waited, "line_counts": counted, **sieve.seconds}


class _Reader:
    """The rows of a unit; what cannot be read goes to the file `quarantine`."""

    def __init__(self, unit: ReadUnit, quarantine: TextIO) -> None:
        self.unit = unit
        self.file = quarantine
        self.records = 0
        self.quarantined: Counter[str] = Counter()
        self.first: list[dict[str, Any]] = []

    def rows(self) -> Iterator[dict[str, str | None]]:
        for file, digest in zip(self.unit.files, self.unit.digests, strict=True):
            self._check(file, digest)
            for record in read_file(file, self.unit.source):
                if isinstance(record, Quarantined):
                    self._quarantine(record)
                else:
                    self.records += 1
                    yield row_of(record, self.unit.source)

    def _quarantine(self, bad: Quarantined) -> None:
        row = {"source": self.unit.source.name} | asdict(bad)
        self.file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
        self.quarantined[bad.reason] += 1
        if not self.first and bad.reason != EMPTY:
            self.first.append(row)

    def _check(self, file: SourceFile, digest: str | None) -> None:
        """Raises InputError if the file is another than the one that was declared: the corpus would go by its name."""
        if digest is not None and file_digest(Path(file.uri)) != digest:
            raise InputError(
                f"{file.uri} has been changed since the source {self.unit.source.name!r} was declared. "
                "Run data.sources again."
            )


def row_of(record: Record, source: SourceConfig) -> dict[str, str | None]:
    """A record as a row of a table of documents."""
    return {
        "id": record.id,
        "source": source.name,
        "kind": source.kind.value,
        "url": record.url,
        "module": record.module,
        "origin": record.origin,
        "text": record.text,
        "reason": record.reason,
    }
