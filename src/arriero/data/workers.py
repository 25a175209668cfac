"""Runs work in processes that are started anew (spawned), so that they inherit no lock and no thread."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from arriero.errors import ArrieroError

State = TypeVar("State")
Unit = TypeVar("Unit")
Result = TypeVar("Result")

_state: list[Any] = []  # of a worker process


def _begin(start: Callable[[], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when to stop
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the cores are taken
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _state.append(start())


def _end_with_parent() -> None:
    """A killed parent does not close the pool's queue: its workers would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(work: Callable[[Any, Unit], Result], unit: Unit) -> Result:
    return work(_state[0], unit)


def run_work(
    work: Callable[[State, Unit], Result],
    units: Sequence[Unit],
    start: Callable[[], State],
    workers: int,
    check_stop: Callable[[], None],
) -> Iterator[tuple[Unit, Result]]:
    """Each unit with `work(start(), unit)`, as they are finished. `start` runs once in a process.

    With one worker all happens in this process. `check_stop` is called between units; if it raises, units in work are
    finished and those waiting dropped. Raises ArrieroError if a worker is killed.
    """
    workers = min(workers, len(units))
    if workers <= 1:
        state = start()
        for unit in units:
            check_stop()
            yield unit, work(state, unit)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin, initargs=(start,))
    try:
        waiting = {pool.submit(_do, work, unit): unit for unit in units}
        while waiting:
            check_stop()
            finished, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool:
        raise ArrieroError(
            "A worker process has ended, killed or out of memory. What is finished is kept: run again, with fewer "
            "`workers` if memory was short."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
