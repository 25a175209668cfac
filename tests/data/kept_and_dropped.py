"""A small corpus with every kind of end, some of it hostile, as data.build writes it."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arriero.artifacts import Manifest
from arriero.artifacts.files import write_json, write_jsonl
from arriero.config import resolved
from arriero.corpus import DROPPED_SCHEMA, SPLITS, STORED_SCHEMA, Part, write_parts
from arriero.data.pii import PiiConfig
from arriero.data.quality_config import QualityConfig

ID = "c0ffee0000000001"
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m<script>alert(1)</script><img src=x onerror=alert(2)>\u202eevil\u2066\r\b"
HOSTILE_URL = "javascript:alert('\"><b>\x1b[1m"
PEOPLE = "Write to jane.roe@acme.org or call +1 212 555 0198 now."
STEPS = ("extract", "repair", "language", "boilerplate", "quality", "pii", "exact_duplicates", "near_duplicates")
REASONS = {
    "extract": "no_text",
    "language": "language_de",
    "quality": "top_2gram",
    "pii": "pii_site",
    "exact_duplicates": "exact_duplicate",
    "near_duplicates": "near_duplicate_of_heldout",
}


def kept_rows() -> list[dict[str, str]]:
    """60 documents, of which every fifth is held out; the first is named by others, the last is hostile."""
    rows = [
        {
            "id": f"{number:02d}{'ab' * 7}",
            "source": "docs" if number % 3 else "books",
            "url": f"https://docs.example/{number}",
            "module": "m",
            "origin": f"web/{number // 10}.warc.gz:{number}",
            "language": "en",
            "edits": "repair 3 characters; boilerplate 2 lines; pii EMAIL 1" if number % 2 == 0 else "",
            "text": f"Document {number}. "
            + "It says little. " * 60
            + ("Mail [EMAIL] today." if number % 2 == 0 else ""),
        }
        for number in range(60)
    ]
    rows[-1] |= {"text": HOSTILE, "url": HOSTILE_URL}
    return rows


def dropped_rows() -> list[dict[str, str | None]]:
    """Ten documents of each step that drops; duplicates fell to kept documents 0 and 5."""
    rows: list[dict[str, str | None]] = []
    for place, (step, reason) in zip("fghijk", REASONS.items(), strict=True):
        for number in range(10):
            row = {
                "id": f"{place}{number:03d}{'cd' * 6}",
                "source": "docs",
                "url": f"https://docs.example/{step}/{number}",
                "origin": f"web/d.warc.gz:{number}",
                "step": step,
                "reason": reason,
                "detail": {"exact_duplicates": f"00{'ab' * 7}", "near_duplicates": f"05{'ab' * 7}"}.get(step),
                "excerpt": f"{PEOPLE} {step} {number}",
            }
            rows.append(row)
    rows[-1] |= {"excerpt": HOSTILE + PEOPLE, "url": HOSTILE_URL, "reason": "near_duplicate"}
    rows[20] |= {"detail": "0.31 > 0.2"}
    return rows


def write_corpus(folder: Path, row_group: int = 7) -> Path:
    """The corpus in `folder`, in parts of one source and small row groups."""
    kept = {
        split: [row for n, row in enumerate(kept_rows()) if (n % 5 == 0) == (split == "heldout")] for split in SPLITS
    }
    parts: dict[str, list[Part]] = {split: [] for split in SPLITS}
    for split, rows in kept.items():
        for source in ("books", "docs"):
            own = [row for row in rows if row["source"] == source]
            name = f"{split}/{len(parts[split]):05d}.parquet"
            _write(folder / name, pa.Table.from_pylist(own, STORED_SCHEMA), row_group)
            parts[split].append(Part(name, source, len(own), sum(len(row["text"].encode()) for row in own)))
    dropped = dropped_rows()
    for number in range(2):
        half = pa.Table.from_pylist(dropped[30 * number : 30 * number + 30], DROPPED_SCHEMA)
        _write(folder / "dropped" / f"{number:05d}.parquet", half, row_group)
    write_parts(folder, parts)
    _write_reports(folder, kept, dropped)
    return folder


def _write(path: Path, table: pa.Table, row_group: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group)


def _write_reports(folder: Path, kept: dict[str, list[dict[str, str]]], dropped: list[dict[str, Any]]) -> None:
    counts = {s: {n: sum(r["source"] == n for r in rows) for n in ("books", "docs")} for s, rows in kept.items()}
    out = {split: sum(counted.values()) for split, counted in counts.items()}
    steps, left = [], 60 + len(dropped)
    for step in STEPS:
        reasons = Counter(row["reason"] for row in dropped if row["step"] == step)
        steps.append({"step": step, "in": left, "out": left - reasons.total(), "dropped": reasons})
        left -= reasons.total()
    by_source = {
        "books": {"in": 20, "out": 20, "dropped": {}},
        "docs": {"in": 40 + len(dropped), "out": 40, "dropped": Counter(row["step"] for row in dropped)},
    }
    funnel = {"documents_in": 60 + len(dropped), "documents_out": left, "steps": steps, "by_source": by_source} | out
    write_json(folder / "funnel.json", funnel)
    mixture = [
        {"name": name, "kind": kind, "documents": counts["train"][name], "bytes": 1000, "epochs": epochs}
        | {"share_before": 0.5, "share_after": 0.75 if epochs == 3 else 0.25}
        for name, kind, epochs in (("books", "reference", 3.0), ("docs", "web", 1.0))
    ]
    write_json(folder / "mixture.json", {"sources": mixture, "bytes": 2000, "bytes_per_pass": 4000})
    sources = [
        {"name": "books", "kind": "reference", "licences": {"CC0-1.0": 12, "MIT": 8}},
        {"name": "docs", "kind": "web", "licences": {"CC-BY-4.0": 100}},
    ]
    write_json(folder / "sources.json", sources)
    quarantine = [
        {"source": "docs", "file": "web/bad.warc.gz", "offset": 77, "reason": "cut", "detail": "\x1b[31mends"}
    ]
    quarantine += [
        {"source": "docs", "file": "web/1.warc.gz", "offset": n, "reason": "nul_bytes", "detail": ""} for n in range(12)
    ]
    write_jsonl(folder / "quarantine.jsonl", quarantine)


def corpus_artifact(runs: Path) -> Path:
    """The corpus as an artifact of the id `ID` in the store of a folder of runs."""
    folder = write_corpus(runs / "store" / "objects" / ID)
    config = {"pii": resolved(PiiConfig()), "quality": resolved(QualityConfig())}
    manifest = Manifest(ID, "data.build", "corpus", config, {}, "", {}, {})
    write_json(folder / "manifest.json", asdict(manifest))
    return folder
