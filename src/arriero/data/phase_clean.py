"""Phase `clean`: what can be told from a document alone, and from the lines that its site repeats.

A unit is one of phase `read`. Its folder holds `documents.parquet` with the text as the corpus will have it;
`prints.parquet`, row by row its fingerprints and what the keep rule asks; `dropped.parquet`; and `findings.parquet` and
`words.parquet`, by which the phase `sites` finds those that are full of personal information.
"""

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arriero.corpus import DROPPED_SCHEMA, STORED
from arriero.data.boilerplate import BoilerplateConfig, boilerplate_step
from arriero.data.decontaminate import decontamination_step, read_questions
from arriero.data.documents import SCHEMA, Step, with_blank
from arriero.data.fingerprints import FINGERPRINTS, fingerprints
from arriero.data.hashing import hash64
from arriero.data.heldout import Heldout
from arriero.data.pii import PiiConfig, PiiScan, web_sites
from arriero.data.quality import quality_step
from arriero.data.quality_config import QualityConfig
from arriero.data.sieve import Sieve, TableFile, row_groups

ID_HASH = "id_hash"
_KEPT = [pa.field("bytes", pa.int64()), pa.field("heldout", pa.bool_())]
DOCUMENTS = pa.schema([*(SCHEMA.field(name) for name in ("kind", *STORED)), *_KEPT])
HASHES = (ID_HASH, *FINGERPRINTS.names)
PRINTS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("id", "source", "origin", "site")),
        *_KEPT,
        pa.field(ID_HASH, pa.uint64()),
        *FINGERPRINTS,
    ]
)
PRINTS_ROWS = 1 << 16  # 30 MB: the phases after this one read column by column


@dataclass(frozen=True)
class CleanUnit:
    """A unit of phase `read`; `repeated` is the file of the lines that its sites repeat, None without web pages."""

    name: str
    repeated: Path | None
    heldout: Heldout


@dataclass(frozen=True)
class CleanWork:
    """`read` is the folder of phase `read`; `questions` are evaluation texts, JSONL of {question, answer}."""

    read: Path
    boilerplate: BoilerplateConfig
    quality: QualityConfig
    pii: PiiConfig
    questions: tuple[Path, ...]
    classifier: Path | None
    perplexity: Path | None

    @cached_property
    def quality_step(self) -> Step:
        return quality_step(self.quality, self.classifier, self.perplexity)

    @cached_property
    def decontamination(self) -> list[Step]:
        return [decontamination_step(read_questions(self.questions))] if self.questions else []

    def __call__(self, folder: Path, unit: CleanUnit) -> tuple[dict[str, Any], dict[str, float]]:
        scan = PiiScan(self.pii)
        boilerplate = (
            [] if unit.repeated is None else [boilerplate_step(self.boilerplate, pq.read_table(unit.repeated))]
        )
        steps = [*boilerplate, self.quality_step, Step("pii", scan.redact), *self.decontamination]
        spent = {"fingerprints": 0.0}
        with (
            TableFile(folder / "documents.parquet", DOCUMENTS) as documents,
            TableFile(folder / "prints.parquet", PRINTS, raw=HASHES, group_rows=PRINTS_ROWS) as prints,
            TableFile(folder / "dropped.parquet", DROPPED_SCHEMA) as dropped,
        ):
            sieve = Sieve(steps, dropped)
            for table in row_groups(self.read / unit.name / "documents.parquet"):
                kept = sieve(with_blank(table))
                started = time.process_time()
                kept = with_columns(kept, unit.heldout)
                documents.write(kept)
                prints.write(kept)
                spent["fingerprints"] += time.process_time() - started
        pq.write_table(scan.findings(), folder / "findings.parquet")
        pq.write_table(scan.words(), folder / "words.parquet")
        return {"kept": documents.rows, "dropped": sieve.counts()}, {**sieve.seconds, **spent}


def with_columns(table: pa.Table, heldout: Heldout) -> pa.Table:
    """What the later phases ask of each document beside its text."""
    table = table.append_column("bytes", pc.binary_length(table["text"]).cast(pa.int64()))
    table = table.append_column("site", pa.array(web_sites(table), pa.string()))
    table = table.append_column("heldout", pa.array(heldout.mask(table["module"])))
    hashes = [hash64(id.encode()) for id in table["id"].to_pylist()]
    table = table.append_column(ID_HASH, pa.array(hashes, pa.uint64()))
    prints = fingerprints(table["text"])
    for name in prints.column_names:
        table = table.append_column(name, prints[name])
    return table
