"""What could not be read: kept with its place and reason. A run goes on over it, up to a stated share."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arriero.artifacts.files import replacing
from arriero.errors import InputError

EMPTY = "empty"  # a file that holds no record is listed, and counts as no bad record


def check_quarantine(read: Sequence[dict[str, Any]], most: float) -> None:
    """Raises InputError if a source's share of bad records is above `most`. `read`: the summaries of phase `read`."""
    good = Counter[str]()
    bad: dict[str, Counter[str]] = {}
    for found in read:
        good[found["source"]] += found["records"]
        bad.setdefault(found["source"], Counter()).update(found["quarantined"])
    for source, reasons in bad.items():
        count = reasons.total() - reasons[EMPTY]
        total = count + good[source]
        if count > most * total:
            raise InputError(
                f"Of {total} records of the source {source!r}, {count} cannot be read ({in_words(reasons)}), more than "
                f"the share of {most:g} that `max_quarantined` allows. The first: {_first(read, source)}. Mend the "
                "source, check its format and fields, or allow more."
            )


def in_words(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))


def _first(read: Sequence[dict[str, Any]], source: str) -> str:
    row = next(row for found in read if found["source"] == source for row in found["first_quarantined"])
    detail = f" ({row['detail']})" if row["detail"] else ""
    return f"{row['file']}, at {row['offset']}: {row['reason']}{detail}"


def write_quarantine(path: Path, parts: Sequence[Path], without_files: Sequence[str]) -> None:
    """Joins the units' files, in their order; sources without a file are `empty` too."""
    nothing = [
        {"source": source, "file": "", "offset": 0, "reason": EMPTY, "detail": "the source has no file"}
        for source in without_files
    ]
    with replacing(path) as file:
        for part in parts:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, file)
        file.writelines(json.dumps(row, sort_keys=True).encode() + b"\n" for row in nothing)
