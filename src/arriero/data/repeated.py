"""Phase `boilerplate`: which lines a site repeats, from the counts that phase `read` left."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arriero.artifacts.files import replacing
from arriero.data.boilerplate import REPEATED, BoilerplateConfig, repeated_lines
from arriero.data.units import ALONE_ROWS, BUCKET_ROWS, Bucket, Phase


@dataclass(frozen=True)
class _Repeated:
    files: tuple[Path, ...]
    cfg: BoilerplateConfig

    def __call__(self, folder: Path, bucket: Bucket) -> tuple[dict[str, Any], dict[str, float]]:
        lines = repeated_lines(self.files, bucket.number, bucket.of, self.cfg)
        pq.write_table(lines, folder / "repeated.parquet")
        return {"lines": len(lines)}, {}


def find_repeated(phase: Phase, folders: Sequence[Path], cfg: BoilerplateConfig) -> Path:
    """Writes the file of the lines that sites repeat; gives its path."""
    files = tuple(folder / "lines.parquet" for folder in folders)
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    buckets = [Bucket(number, 1 + rows // BUCKET_ROWS) for number in range(1 + rows // BUCKET_ROWS)]
    phase.suited(rows, ALONE_ROWS).run("boilerplate", buckets, _Repeated(files, cfg))
    found = [pq.read_table(phase.folder("boilerplate", bucket.name) / "repeated.parquet") for bucket in buckets]
    path = phase.context.scratch / "repeated.parquet"
    with replacing(path) as file:
        pq.write_table(pa.concat_tables([REPEATED.empty_table(), *found]), file)
    return path
