"""Runs work units with Daft: in processes of this machine, or on a Ray cluster. The only module that imports Daft.

A unit is computed by a *job* from the unit alone and leaves its results in files, so it does not matter where it runs,
beside what, or how often. Only a small JSON value comes back. What the user can cause (an error of ours, a full disk)
is handed on as it is; anything else that the engine reports (a worker was killed, a node is gone) is no property of
the unit, and the units that are left are tried again.
"""

import importlib
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arriero import errors
from arriero.config import config, setting
from arriero.errors import ArrieroError, InputError

# Daft reports its import and its use over the network unless told not to before it is imported.
os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
import daft

U = TypeVar("U")


@config
class EngineConfig:
    """Where the work units run. Nothing here changes a result."""

    runner: Literal["native", "ray"] = setting("native", "this machine, or a Ray cluster", operational=True)
    address: str | None = setting(
        None, "address of the Ray cluster; null: RAY_ADDRESS, else one is started here", operational=True
    )
    workers: int | None = setting(
        None, "worker processes; null: one for each core (on Ray, of the cluster)", operational=True, ge=1
    )


class EngineError(Exception):
    """The engine lost work: a worker process ended or a node went away."""


@cache
def _start(runner: str, address: str | None) -> None:
    """Chooses Daft's runner, which a process may do only once."""
    if runner == "native":
        daft.set_runner_native()
    elif importlib.util.find_spec("ray") is None:
        raise InputError("The runner `ray` needs the package ray: pip install 'arriero[ray]'.")
    else:
        daft.set_runner_ray(address=address, noop_if_initialized=True)


def worker_count(cfg: EngineConfig) -> int:
    """How many units are computed at a time."""
    if cfg.workers is not None:
        return cfg.workers
    if cfg.runner == "native":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _start(cfg.runner, cfg.address)
    ray: Any = importlib.import_module("ray")  # an optional extra, and slow to import
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


@dataclass(frozen=True)
class _Guarded(Generic[U]):
    """A job whose errors come back as values: an exception that leaves it would be lost in the engine's own words."""

    job: Callable[[U], Any]
    units: Sequence[U]

    def __call__(self, index: int) -> str:
        try:
            return json.dumps({"index": index, "result": self.job(self.units[index])})
        except ArrieroError as error:
            return json.dumps({"index": index, "error": type(error).__name__, "message": str(error)})
        except OSError as error:
            found = {"errno": error.errno, "message": error.strerror, "filename": str(error.filename or "")}
            return json.dumps({"index": index, "error": "OSError", **found})


def _unwrapped(answer: str) -> tuple[int, Any]:
    """(index, result). Raises the error that the job met."""
    found = json.loads(answer)
    if "error" not in found:
        return found["index"], found["result"]
    if found["error"] == "OSError":
        raise OSError(found["errno"], found["message"], found["filename"] or None)
    raise getattr(errors, found["error"])(found["message"])


def run_units(job: Callable[[U], Any], units: Sequence[U], cfg: EngineConfig) -> Iterator[tuple[int, Any]]:
    """(index of the unit, its result) in the order in which they are done. `job` and `units` must be picklable.

    One worker on this machine is this process. Raises what the job raised if that is an ArrieroError or an OSError, and
    EngineError if work was lost.
    """
    guarded = _Guarded(job, units)
    workers = worker_count(cfg)
    if cfg.runner == "native" and workers == 1:
        yield from (_unwrapped(guarded(index)) for index in range(len(units)))
        return
    _start(cfg.runner, cfg.address)

    # On Ray an actor is a process already.
    @daft.cls(max_concurrency=min(workers, len(units)), use_process=cfg.runner == "native")
    class Worker:
        def __init__(self, guarded: _Guarded[U]) -> None:
            self.guarded = guarded

        @daft.method.batch(return_dtype=daft.DataType.string(), batch_size=1)
        def run(self, index: Any) -> Any:
            return [self.guarded(i) for i in index.to_pylist()]

    frame = daft.from_pydict({"index": list(range(len(units)))})
    if cfg.runner == "ray":
        frame = frame.into_partitions(len(units))
    rows: Any = frame.select(Worker(guarded).run(daft.col("index")).alias("answer")).iter_rows()
    try:
        while (row := _next(rows)) is not None:
            yield _unwrapped(row["answer"])
    finally:
        rows.close()  # ends the workers


def _next(rows: Iterator[dict[str, str]]) -> dict[str, str] | None:
    try:
        return next(rows, None)
    except Exception as error:
        words = " ".join(str(error).split())
        raise EngineError(words if len(words) <= 600 else f"{words[:300]} ... {words[-300:]}") from error


def minhash(texts: pa.LargeStringArray, permutations: int, ngram: int, seed: int) -> NDArray[np.uint32]:
    """MinHash signatures (texts, permutations) over n-grams of what single spaces part in each text.

    A text of fewer than `ngram` words is its own one n-gram. Runs in this process, on one core, without a runner.
    """
    if not len(texts):
        return np.zeros((0, permutations), np.uint32)
    hashed = daft.Series.from_arrow(texts).minhash(permutations, ngram, seed, "xxhash")
    return np.asarray(hashed.to_arrow().flatten(), dtype=np.uint32).reshape(len(texts), permutations)
