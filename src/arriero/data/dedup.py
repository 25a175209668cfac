"""Duplicates: exact ones by the hash of the normalised text, near ones by MinHash and locality-sensitive hashing.

The paper does not state how it removed duplicates. Signatures: 112 permutations over word 5-grams, in 14 bands of 8
rows, as FineWeb has them (arXiv:2406.17557): two documents with Jaccard similarity s share a band with probability
1 - (1 - s^8)^14, which passes one half at s = 0.69. Documents that share a band are joined; of each connected component
one stays.

The keep rule: a held-out document before one for training (so of a held-out page and one that nearly repeats it, the
latter goes), then the source that the mixture reads most often, then the longest text, then the smallest id.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.data.documents import Step, with_columns
from arriero.data.engine import minhash

PERMUTATIONS = 112
BANDS = 14
NGRAM = 5
SEED = 1


def normalised(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Small letters, every run of white space one space: what a near copy shares with its original."""
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(texts), r"\s+", " "))


@dataclass(frozen=True)
class KeepRule:
    """Decides between duplicates: `heldout` modules, and `epochs` of each source."""

    heldout: Collection[str]
    epochs: Mapping[str, float]

    def order(self, table: pa.Table) -> list[int]:
        """Row numbers, those to keep first."""
        lengths = pc.binary_length(table["text"]).to_pylist()
        ids, modules, sources = (table[name].to_pylist() for name in ("id", "module", "source"))
        return sorted(
            range(table.num_rows),
            key=lambda row: (modules[row] not in self.heldout, -self.epochs[sources[row]], -lengths[row], ids[row]),
        )


def _drop_all_but_first(table: pa.Table, groups: NDArray[np.int64], rule: KeepRule, reason: str) -> pa.Table:
    """In each group of equal numbers, all but the first by the keep rule get `reason`."""
    reasons: list[str | None] = [None] * table.num_rows
    modules = table["module"].to_pylist()
    keeper: dict[int, int] = {}
    for row in rule.order(table):
        first = keeper.setdefault(int(groups[row]), row)
        if first != row:
            crosses = modules[first] in rule.heldout and modules[row] not in rule.heldout
            reasons[row] = f"{reason}_of_heldout" if crosses else reason
    return with_columns(table, reason=reasons)


def drop_exact(table: pa.Table, rule: KeepRule) -> pa.Table:
    """Drops all but one of the documents that are the same after normalisation."""
    first: dict[bytes, int] = {}
    texts = normalised(table["text"]).to_pylist()
    keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
    groups = np.array([first.setdefault(key, row) for row, key in enumerate(keys)], dtype=np.int64)
    return _drop_all_but_first(table, groups, rule, "exact_duplicate")


def components(signature: NDArray[np.uint32]) -> NDArray[np.int64]:
    """For each document the number of its connected component: the least row of those that bands join it to."""
    parent = np.arange(len(signature))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    for band in np.split(signature, BANDS, axis=1):
        _, first, group = np.unique(band, axis=0, return_index=True, return_inverse=True)
        for row, leader in enumerate(first[group.reshape(-1)]):
            a, b = root(row), root(int(leader))
            parent[max(a, b)] = min(a, b)
    return np.array([root(row) for row in range(len(signature))], dtype=np.int64)


def drop_near(table: pa.Table, rule: KeepRule) -> pa.Table:
    """Drops all but one of each connected component of near duplicates."""
    signature = minhash(normalised(table["text"]).combine_chunks(), PERMUTATIONS, NGRAM, SEED)
    return _drop_all_but_first(table, components(signature), rule, "near_duplicate")


def dedup_steps(rule: KeepRule) -> tuple[Step, Step]:
    return (
        Step("exact_duplicates", partial(drop_exact, rule=rule), whole=True),
        Step("near_duplicates", partial(drop_near, rule=rule), whole=True),
    )
