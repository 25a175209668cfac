"""Runs data steps with Daft, on all cores of this machine. The only module that imports Daft.

The rows that a step dropped leave the table and go to the funnel, with the step's name and reason.
"""

import os
from collections.abc import Callable
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.data.documents import SCHEMA, Step

# Daft reports its import and its use over the network unless told not to before it is imported.
os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
import daft

BATCH_DOCUMENTS = 256


@cache
def _native_runner() -> None:
    """Makes Daft run on this machine; it may be told so once in a process only."""
    daft.set_runner_native()


def run_step(step: Step, table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """(kept, dropped) after the step, both sorted by id."""
    result = step.run(table) if step.whole else _run_batched(step.run, table)
    assert result.schema.equals(SCHEMA), f"step {step.name} changed the columns"
    result = result.sort_by("id")
    assert result["id"].equals(table.sort_by("id")["id"]), f"step {step.name} changed ids"
    kept = pc.is_null(result["reason"])
    return result.filter(kept), result.filter(pc.invert(kept))


def _run_batched(function: Callable[[pa.Table], pa.Table], table: pa.Table) -> pa.Table:
    if not table.num_rows:
        return table
    _native_runner()
    struct = daft.DataType.struct({name: daft.DataType.string() for name in SCHEMA.names})

    @daft.func.batch(return_dtype=struct, unnest=True, batch_size=BATCH_DOCUMENTS, use_process=False)
    def call(*columns: daft.Series) -> pa.Array:
        batch = pa.Table.from_arrays([column.to_arrow() for column in columns], schema=SCHEMA)
        return function(batch).combine_chunks().to_struct_array().combine_chunks()

    frame = daft.from_arrow(table).select(call(*(daft.col(name) for name in SCHEMA.names)))
    return frame.to_arrow().cast(SCHEMA)


def minhash(texts: pa.LargeStringArray, permutations: int, ngram: int, seed: int) -> NDArray[np.uint32]:
    """MinHash signatures (texts, permutations) over n-grams of what single spaces part in each text.

    A text of fewer than `ngram` words is its own one n-gram. Runs in this process, on one core, without a runner.
    """
    if not len(texts):
        return np.zeros((0, permutations), np.uint32)
    hashed = daft.Series.from_arrow(texts).minhash(permutations, ngram, seed, "xxhash")
    return np.asarray(hashed.to_arrow().flatten(), dtype=np.uint32).reshape(len(texts), permutations)
