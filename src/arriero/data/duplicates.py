"""Groups of duplicates from the fingerprints of many files, and which document of a group stays.

A document's number is its file's place in the list of files << 32 | its row. An edge is a pair of numbers of documents
that repeat each other. Memory is bounded by buckets: a call reads one column of one file after the other and keeps the
rows whose hash falls into its bucket, about 50 bytes each at the peak; of those that share their hash with another,
also the sketch, 300 bytes each. What is found depends neither on the number of buckets nor on the order of the files:
leaders are chosen by content.

The keep rule: a held-out document before one for training (so of a held-out page and one that nearly repeats it, the
latter goes), then the source that the mixture reads most often, then the longest text, then the smallest id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arriero.data.fingerprints import BAND_COLUMNS, EQUAL_BYTES, PERMUTATIONS

Numbers = NDArray[np.int64]
# (edges, 2)
Edges = NDArray[np.int64]

UNIT_SHIFT = 32
NO_EDGES: Edges = np.zeros((0, 2), np.int64)
# In a group of up to so many documents that share a band every pair is compared; a larger one has so many leaders at
# most. Documents that share much boilerplate and little else may need one each: the rest is left to the other bands.
ROUNDS = 16
# How many documents of one group may stay for others to be compared with: time grows with their number times the
# group's size. What is left of a longer chain stays.
MOST_KEPT = 1000
# Sketches compared at a time: 2 x 9 MB.
COMPARED = 1 << 16

METADATA = ("id", "source", "heldout", "bytes")
DECISIONS = pa.schema([("number", pa.int64()), ("reason", pa.large_string()), ("detail", pa.large_string())])


def exact_edges(files: Sequence[Path], bucket: int, buckets: int, excluded: Numbers) -> Edges:
    """Stars of the documents whose text is the same, those in `excluded` (ascending) left out."""
    low, numbers = _hashes(files, "exact_lo", bucket, buckets, excluded)
    rows, group = _shared(low)
    if not len(rows):
        return NO_EDGES
    numbers = numbers[rows]
    high = _gathered(files, numbers, ["exact_hi"])["exact_hi"].to_numpy()
    order = np.lexsort((numbers, high, group))
    leaders, others = _led(order, group, high)
    return np.stack([numbers[leaders], numbers[others]], axis=1)


def band_edges(files: Sequence[Path], band: int, bucket: int, buckets: int, excluded: Numbers) -> Edges:
    """Edges between documents that share this band's hash and have sketches alike enough; not those in `excluded`.

    Each group of equal hashes has a leader, to which those like it are joined; then the next is leader. In a large
    group those once joined are done with, so that a text that a million documents repeat costs a million edges.
    """
    hashes, numbers = _hashes(files, BAND_COLUMNS[band], bucket, buckets, excluded)
    rows, group = _shared(hashes)
    if not len(rows):
        return NO_EDGES
    numbers = numbers[rows]
    del hashes, rows
    table = _gathered(files, numbers, ["exact_lo", "sketch"])
    exact, sketches = table["exact_lo"].to_numpy(), _sketches(table["sketch"])
    # By content: the order of the files must not choose the leaders.
    alive = np.lexsort((numbers, exact, group))
    _, place, sizes = np.unique(group, return_inverse=True, return_counts=True)
    small = sizes[place] <= ROUNDS
    edges = []
    for _ in range(ROUNDS):
        leaders, alive = _led(alive, group)
        alike = _alike(sketches, leaders, alive)
        edges.append(np.stack([numbers[leaders[alike]], numbers[alive[alike]]], axis=1))
        alive = alive[~alike | small[alive]]
    return np.concatenate(edges)


def _hashes(
    files: Sequence[Path], column: str, bucket: int, buckets: int, excluded: Numbers
) -> tuple[NDArray[np.uint64], Numbers]:
    """The hashes of a column that fall into the bucket, and the numbers of their documents, ascending."""
    hashes, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for unit, file in enumerate(files):
        values = pq.read_table(file, columns=[column])[column]
        wanted = pc.is_valid(values).to_numpy()
        base = unit << UNIT_SHIFT
        out = excluded[np.searchsorted(excluded, base) : np.searchsorted(excluded, base + (1 << UNIT_SHIFT))]
        wanted[out - base] = False
        hashed = pc.fill_null(values, 0).to_numpy()
        rows = np.flatnonzero(wanted & (hashed % np.uint64(buckets) == bucket)).astype(np.int64)
        hashes.append(hashed[rows])
        numbers.append(base + rows)
    return np.concatenate(hashes), np.concatenate(numbers)


def _shared(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows, ascending, whose hash another row has too; and a number for each that equal hashes have in common."""
    order = np.argsort(hashes)
    ordered = hashes[order]
    same = ordered[1:] == ordered[:-1]
    shared = np.zeros(len(hashes), np.bool_)
    shared[1:] = same
    shared[:-1] |= same
    group = np.zeros(len(hashes), np.int64)
    np.cumsum(~same, out=group[1:])
    rows, group = order[shared], group[shared]
    back = np.argsort(rows)
    return rows[back], group[back]


def _gathered(files: Sequence[Path], numbers: Numbers, columns: list[str]) -> pa.Table:
    """The columns of the documents with these numbers, which must ascend."""
    cuts = np.searchsorted(numbers, np.arange(len(files) + 1) << UNIT_SHIFT)
    tables = []
    for unit, (start, stop) in enumerate(pairwise(cuts)):
        if start < stop:
            rows = numbers[start:stop] - (unit << UNIT_SHIFT)
            tables.append(pq.read_table(files[unit], columns=columns).take(rows))
    return pa.concat_tables(tables)


def _sketches(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    array = column.combine_chunks()
    data = np.frombuffer(array.buffers()[1], np.uint8).reshape(-1, PERMUTATIONS)
    return data[array.offset : array.offset + len(array)]


def _led(order: NDArray[np.int64], *keys: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(leaders, others): of rows in an order that makes equal keys neighbours, all but the first of each, and that."""
    first = np.zeros(len(order), np.bool_)
    first[:1] = True
    for key in keys:
        first[1:] |= key[order[1:]] != key[order[:-1]]
    leaders = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
    return leaders[~first], order[~first]


def _alike(sketches: NDArray[np.uint8], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
    alike = np.zeros(len(left), np.bool_)
    for start in range(0, len(left), COMPARED):
        part = slice(start, start + COMPARED)
        equal = sketches[left[part]] == sketches[right[part]]
        alike[part] = np.add.reduce(equal.view(np.uint8), axis=1, dtype=np.uint8) >= EQUAL_BYTES
    return alike


@dataclass(frozen=True)
class Groups:
    """Documents that repeat others, `numbers` ascending; `labels` is the least number that edges join each to."""

    numbers: Numbers
    labels: Numbers

    def edges(self) -> Edges:
        """At most one edge for each document, that joins what these groups join."""
        joined = self.labels != self.numbers
        return np.stack([self.labels[joined], self.numbers[joined]], axis=1)

    def part(self, bucket: int, buckets: int) -> "Groups":
        """The groups, each whole, that fall into a bucket."""
        mine = self.labels % buckets == bucket
        return Groups(self.numbers[mine], self.labels[mine])


def components(edges: Edges) -> Groups:
    """The connected components, by hooking roots to the least neighbour and pointer jumping: 100 bytes an edge."""
    numbers, ends = np.unique(edges, return_inverse=True)
    left, right = ends.reshape(-1, 2).T
    labels = np.arange(len(numbers))
    while len(left):
        np.minimum.at(labels, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(further := labels[labels], labels):
            labels = further
        left, right = labels[left], labels[right]
        apart = left != right
        left, right = left[apart], right[apart]
    return Groups(numbers, numbers[labels])


def decide_exact(files: Sequence[Path], groups: Groups, epochs: Mapping[str, float]) -> pa.Table:
    """DECISIONS on all but the first document of each group by the keep rule."""
    table = _gathered(files, groups.numbers, list(METADATA))
    stays, goes = _led(_keep_order(table, groups, epochs), groups.labels)
    return _decisions(table, groups.numbers, stays, goes, "exact_duplicate")


def decide_near(files: Sequence[Path], groups: Groups, epochs: Mapping[str, float]) -> pa.Table:
    """DECISIONS on the documents of each group that are like one that stays.

    By the keep rule the first of a group stays and those like it go; of those that are left the first stays again, and
    so on. Without this a group, which is a chain, would lose documents that have little in common with the one kept.
    """
    table = _gathered(files, groups.numbers, [*METADATA, "sketch"])
    sketches = _sketches(table["sketch"])
    left = _keep_order(table, groups, epochs)
    stays, goes = [left[:0]], [left[:0]]
    for _ in range(MOST_KEPT):
        if not len(left):
            break
        leaders, left = _led(left, groups.labels)
        alike = _alike(sketches, leaders, left)
        stays.append(leaders[alike])
        goes.append(left[alike])
        left = left[~alike]
    return _decisions(table, groups.numbers, np.concatenate(stays), np.concatenate(goes), "near_duplicate")


def _keep_order(table: pa.Table, groups: Groups, epochs: Mapping[str, float]) -> NDArray[np.int64]:
    """Rows of the table, group by group, in each those to keep first."""
    sources = table["source"].combine_chunks().dictionary_encode()
    passes = np.array([epochs[source] for source in sources.dictionary.to_pylist()], np.float64)
    keys = {
        "label": groups.labels,
        "trains": (~_held(table)).view(np.uint8),
        "passes": -passes[sources.indices.to_numpy()],
        "length": -table["bytes"].to_numpy().astype(np.int64),
        "id": table["id"],
    }
    ordered = pa.table({name: pa.array(key) if isinstance(key, np.ndarray) else key for name, key in keys.items()})
    order = pc.sort_indices(ordered, [(name, "ascending") for name in keys])
    return np.asarray(order, dtype=np.int64)


def _held(table: pa.Table) -> NDArray[np.bool_]:
    return np.asarray(table["heldout"], dtype=np.bool_)


def _decisions(
    table: pa.Table,
    numbers: Numbers,
    stays: NDArray[np.int64],
    goes: NDArray[np.int64],
    reason: str,
) -> pa.Table:
    held = _held(table)
    reasons = np.where(held[stays] & ~held[goes], f"{reason}_of_heldout", reason)
    decided = {"number": numbers[goes], "reason": reasons, "detail": table["id"].take(stays)}
    return pa.table(decided).cast(DECISIONS).sort_by("number")
