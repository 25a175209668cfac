"""The series of a training run: `out/series.jsonl`, one row a step, the same bytes however often the run was killed.

Rows hold no times: speeds go to the manifest's timings.
"""

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from arriero.artifacts.files import read_jsonl, write_atomic
from arriero.errors import ArtifactError


class SeriesWriter:
    """Appends rows to a JSONL file; a context manager.

    `keep` is the number of rows that the checkpoint knows: later ones, whole or torn, are cut off, since they are
    about to be computed again. Raises ArtifactError if there are fewer.
    """

    def __init__(self, path: Path, keep: int = 0) -> None:
        lines: list[bytes] = []
        if path.exists():
            with path.open("rb") as file:
                lines = list(itertools.islice(file, keep))
        if len(lines) < keep or any(not line.endswith(b"\n") for line in lines):
            raise ArtifactError(
                f"{path} holds {len(lines)} rows, but the checkpoint was taken after {keep}. The unfinished stage's "
                f"folder was changed by hand or by a fault of the disk: delete it and run again."
            )
        write_atomic(path, b"".join(lines))
        self._file = path.open("ab")

    def write(self, row: Mapping[str, Any]) -> None:
        """One row of plain JSON values."""
        self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")

    def sync(self) -> None:
        """Makes the rows durable. Call it before a checkpoint that counts on them."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read_series(path: Path) -> list[dict[str, Any]]:
    """The rows of a series. Raises InputError naming file and line if one is not JSON."""
    return [row for _, row in read_jsonl(path)]


def final_mean(series: Sequence[Mapping[str, float]], key: str) -> float:
    """Mean of `key` over the last tenth of the rows, at least one."""
    last = series[-max(1, len(series) // 10) :]
    return sum(row[key] for row in last) / len(last)
