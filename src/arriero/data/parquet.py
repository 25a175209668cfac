"""Parquet files that are equal, byte for byte, for equal tables."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from arriero.artifacts.files import write_atomic


def write_parquet(path: Path, table: pa.Table) -> None:
    """Whole or absent. The rows keep their order: sort them before."""
    buffer = io.BytesIO()
    pq.write_table(table.combine_chunks(), buffer, compression="zstd", compression_level=3, row_group_size=1024)
    write_atomic(path, buffer.getvalue())
