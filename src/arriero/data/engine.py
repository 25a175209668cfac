"""Runs work units with Daft: in processes of this machine, or on a Ray cluster. The only module that imports Daft.

A unit is computed by a *job* from the unit alone and leaves its results in files, so it does not matter where it runs,
beside what, or how often. Only a small JSON value comes back. What the user can cause (an error of ours, a full disk)
is handed on as it is, and so is a mistake of ours, with its traceback; anything else that the engine reports (a worker
was killed, a node is gone) is no property of the unit, and the units that are left are tried again.
"""

import importlib
import importlib.util
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import psutil
import pyarrow as pa
from numpy.typing import NDArray

from arriero import errors
from arriero.config import config, setting
from arriero.errors import ArrieroError, InputError

# Daft reports its import and its use over the network unless told not to before it is imported.
os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
os.environ.setdefault("DAFT_PROGRESS_BAR", "0")  # there is one of ours
import daft

U = TypeVar("U")
UDF_MODULE, WORKER_MODULE = "daft.execution.udf", "daft.execution.udf_worker"
MOST_SECONDS_TO_END = 10.0


@config
class EngineConfig:
    """Where the work units run. Nothing here changes a result."""

    runner: Literal["native", "ray"] = setting("native", "this machine, or a Ray cluster", operational=True)
    address: str | None = setting(
        None, "address of the Ray cluster; null: RAY_ADDRESS, else one is started here", operational=True
    )
    workers: int | None = setting(
        None, "worker processes; null: machine.threads, on Ray one for each core of the cluster", operational=True, ge=1
    )


class EngineError(Exception):
    """The engine lost work: a worker process ended or a node went away."""


@cache
def _start(runner: str, address: str | None) -> None:
    """Chooses Daft's runner, which a process may do only once."""
    logging.getLogger("daft_local_execution").setLevel(logging.CRITICAL)  # lost workers are told of here
    if runner == "native":
        daft.set_runner_native()
    elif importlib.util.find_spec("ray") is None:
        raise InputError("The runner `ray` needs the package ray: pip install 'arriero[ray]'.")
    else:
        daft.set_runner_ray(address=address, noop_if_initialized=True)


def worker_count(cfg: EngineConfig, threads: int) -> int:
    """How many units are computed at a time; `threads` are this machine's."""
    if cfg.workers is not None:
        return cfg.workers
    if cfg.runner == "native":
        return threads
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
        except MemoryError:  # of this machine, not of the unit
            raise
        except Exception as error:  # noqa: BLE001 (raised again by _unwrapped)
            return json.dumps({"index": index, **_told(error)})


def _told(error: Exception) -> dict[str, Any]:
    """What `_unwrapped` raises again."""
    if isinstance(error, ArrieroError):
        return {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, OSError) and error.errno is not None:
        place = None if error.filename is None else str(error.filename)
        return {"error": "OSError", "errno": error.errno, "message": error.strerror, "filename": place}
    return {"error": "RuntimeError", "message": "".join(traceback.format_exception(error))}


def _unwrapped(answer: str) -> tuple[int, Any]:
    """(index, result). Raises the error that the job met."""
    found = json.loads(answer)
    match found.get("error"):
        case None:
            return found["index"], found["result"]
        case "OSError":
            raise OSError(found["errno"], found["message"], found["filename"])
        case "RuntimeError":
            raise RuntimeError(f"a mistake of ours, in a worker:\n{found['message']}")
        case name:
            raise getattr(errors, name)(found["message"])


def _begin_worker() -> None:
    """Ends this process soon after the one that started it, which may be killed; Ctrl-C is for that one to heed."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the other cores have workers of their own
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_units(
    job: Callable[[U], Any], units: Sequence[U], cfg: EngineConfig, threads: int
) -> Iterator[tuple[int, Any]]:
    """(index of the unit, its result) in the order in which they are done. `job` and `units` must be picklable.

    One worker on this machine is this process. Raises what the job raised if that is an ArrieroError or an OSError, and
    EngineError if work was lost. Any other exception of the job's is a RuntimeError here.
    """
    guarded = _Guarded(job, units)
    workers = worker_count(cfg, threads)
    if cfg.runner == "native" and workers == 1:
        yield from ((index, job(unit)) for index, unit in enumerate(units))
        return
    _start(cfg.runner, cfg.address)

    native = cfg.runner == "native"

    @daft.cls(max_concurrency=min(workers, len(units)), use_process=native)  # on Ray an actor is a process already
    class Worker:
        def __init__(self, guarded: _Guarded[U]) -> None:
            self.guarded = guarded
            if native:
                _begin_worker()

        @daft.method.batch(return_dtype=daft.DataType.string(), batch_size=1)
        def run(self, index: Any) -> Any:
            return [self.guarded(i) for i in index.to_pylist()]

    frame = daft.from_pydict({"index": list(range(len(units)))})
    if not native:
        frame = frame.into_partitions(len(units))
    rows = _rows(frame.select(Worker(guarded).run(daft.col("index")).alias("answer")))
    left = len(units)
    try:
        for row in rows:
            left -= 1
            yield _unwrapped(row["answer"])
        if left:  # Daft ends so on Ctrl-C
            raise EngineError(f"the engine stopped {left} units early")
    finally:
        if left and native:
            _end_workers()
        rows.close()


def _rows(frame: Any) -> Generator[dict[str, str], None, None]:
    try:
        yield from frame.iter_rows()
    except Exception as error:
        words = " ".join(str(error).split())
        raise EngineError(words if len(words) <= 600 else f"{words[:300]} ... {words[-300:]}") from error


def _end_workers() -> None:
    """Kills them, for Daft would first go through all units that are left; and waits until its threads know.

    A thread that is still in Python's code when the interpreter ends would abort the process.
    """
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if WORKER_MODULE in child.cmdline():
                child.kill()
    deadline = time.monotonic() + MOST_SECONDS_TO_END
    while any(map(_serves_worker, sys._current_frames().values())) and time.monotonic() < deadline:
        time.sleep(0.01)


def _serves_worker(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == UDF_MODULE:
            return True
        frame = frame.f_back
    return False


def minhash(texts: pa.LargeStringArray, permutations: int, ngram: int, seed: int) -> NDArray[np.uint32]:
    """MinHash signatures (texts, permutations) over n-grams of what single spaces part in each text.

    A text of fewer than `ngram` words is its own one n-gram. Runs in this process, on one core, without a runner.
    """
    if not len(texts):
        return np.zeros((0, permutations), np.uint32)
    hashed = daft.Series.from_arrow(texts).minhash(permutations, ngram, seed, "xxhash")
    return np.asarray(hashed.to_arrow().flatten(), dtype=np.uint32).reshape(len(texts), permutations)
