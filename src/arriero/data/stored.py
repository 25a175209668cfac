"""The Parquet files of a corpus, kept and dropped, read a row group at a time and no more of them than is asked for."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arriero.corpus import DROPPED, SPLITS, read_parts
from arriero.errors import InputError

BATCH_ROWS = 1 << 15


@dataclass(frozen=True)
class StoredFile:
    """One file. `split` is that of its documents, DROPPED where they were; `name` is its place in the corpus."""

    corpus: Path
    split: str
    name: str

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        path = self.corpus / self.name
        try:
            with pq.ParquetFile(path) as file:
                yield file
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} cannot be read ({error}). Run data.build anew.") from None

    def count(self) -> int:
        """Its documents."""
        with self._opened() as file:
            return int(file.metadata.num_rows)

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """(number of the first row, rows) of batches of short columns; null is empty."""
        first = 0
        with self._opened() as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
                filled = {name: pc.fill_null(batch[name], "") for name in columns}
                yield first, pa.table(filled)
                first += batch.num_rows

    def rows(self, numbers: Sequence[int]) -> Iterator[dict[str, str]]:
        """The rows of these numbers, which must ascend, with all columns; null is empty."""
        with self._opened() as file:
            metadata = file.metadata
            sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
            firsts = [0, *accumulate(sizes)]
            held, table = -1, None
            for number in numbers:
                group = bisect_right(firsts, number) - 1
                if group != held:
                    held, table = group, file.read_row_group(group)
                assert table is not None
                (row,) = table.slice(number - firsts[group], 1).to_pylist()
                yield {name: value or "" for name, value in row.items()}


def stored_files(corpus: Path, splits: Sequence[str] = (*SPLITS, DROPPED)) -> list[StoredFile]:
    """The files of the splits, in order. Raises InputError if the folder is not a corpus."""
    files = []
    for split in splits:
        if split == DROPPED:
            names = sorted(f"{DROPPED}/{path.name}" for path in (corpus / DROPPED).glob("*.parquet"))
        else:
            names = [part.file for part in read_parts(corpus, split)]
        files += [StoredFile(corpus, split, name) for name in names]
    return files
