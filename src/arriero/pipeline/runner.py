"""Makes what a plan states and the store does not hold yet."""

import ctypes
import gc
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import psutil
import torch

from arriero.artifacts import Artifact, Inputs, Machine, Manifest, StageContext, Store
from arriero.artifacts.files import read_json, write_json
from arriero.config import resolved
from arriero.errors import InputError, at
from arriero.pipeline.machine import environment
from arriero.pipeline.plan import Planned, outside_digests

Say = Callable[[str], None]


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Inside, SIGINT and SIGTERM ask the running stage to save and stop; a second SIGINT interrupts at once."""
    asked = threading.Event()

    def ask(number: int, _: FrameType | None) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()
        print("\nStopping after the current step; what is done is kept.", file=sys.stderr)  # noqa: T201

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def release_memory(device: str) -> None:
    """Gives a finished stage's memory back to the system, so that stages do not pile up in one process."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    if sys.platform == "linux":  # glibc keeps freed blocks of a few MB, which most weights are
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


class _Meter:
    """Wall time, CPU time and peak resident memory (this process and its children) while a stage runs."""

    def __init__(self, before: dict[str, float]) -> None:
        self._before = before
        self._process = psutil.Process()
        self._started = time.perf_counter()
        self._cpu = self._cpu_seconds()
        self._peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)

    def _watch(self) -> None:
        while True:
            total = 0
            for process in (self._process, *self._process.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self._peak = max(self._peak, total)
            if self._over.wait(0.5):
                return

    def read(self) -> dict[str, float]:
        """Totals so far, with those of earlier, stopped tries at the stage."""
        return {
            "wall_seconds": self._before.get("wall_seconds", 0.0) + time.perf_counter() - self._started,
            "cpu_seconds": self._before.get("cpu_seconds", 0.0) + self._cpu_seconds() - self._cpu,
            "peak_memory_bytes": max(self._before.get("peak_memory_bytes", 0.0), float(self._peak)),
        }

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def _finished(store: Store, id: str) -> Artifact:
    # A kill between completing an artifact and clearing up leaves its scratch.
    shutil.rmtree(store.working / id, ignore_errors=True)
    return store.artifact(id)


def run_stage(
    store: Store,
    planned: Planned,
    machine: Machine,
    *,
    heading: str = "",
    stop_requested: Callable[[], bool] = lambda: False,
    show_progress: bool = False,
) -> Artifact:
    """The artifact of a planned stage, made now unless the store holds it whole.

    Raises Stopped if asked to stop, and whatever error the stage raises; then the store holds no trace of the
    artifact but its working folder, from which the next try goes on.
    """
    if store.complete(planned.id):
        return _finished(store, planned.id)
    inputs = Inputs(
        {name: {label: store.artifact(id) for label, id in given.items()} for name, given in planned.inputs.items()}
    )
    with store.work(planned.id) as (out, scratch):
        if store.complete(planned.id):  # another process made it in the meantime
            return _finished(store, planned.id)
        spent_file = scratch.parent / "spent.json"
        meter = _Meter(read_json(spent_file) if spent_file.is_file() else {})
        context = StageContext(
            out,
            scratch,
            machine,
            label=heading or planned.label,
            show_progress=show_progress,
            stop_requested=stop_requested,
            outside=planned.outside,
        )
        try:
            metrics = planned.stage.run(planned.config, inputs, context)
        finally:
            meter.stop()
            if scratch.is_dir():
                write_json(spent_file, meter.read())
            release_memory(machine.device)
        if outside_digests(planned.stage, planned.config) != planned.outside:
            shutil.rmtree(scratch.parent, ignore_errors=True)  # made from the old content, the new one, or both
            raise InputError("The files that it reads were changed while it ran. Run again.")
        manifest = Manifest(
            id=planned.id,
            stage=planned.stage.name,
            kind=planned.stage.output,
            config=resolved(planned.config),
            inputs=planned.inputs,
            code=planned.code,
            outside=planned.outside,
            machine=machine.identity(),
            metrics=metrics,
            timings=meter.read() | context.timings,
            environment=environment(machine.device),
        )
        return store.commit(manifest)


def run_plan(
    store: Store, plan: Sequence[Planned], machine: Machine, *, say: Say, show_progress: bool
) -> dict[str, Artifact]:
    """Makes every missing artifact of the plan, in order. Returns label -> artifact."""
    made: dict[str, Artifact] = {}
    reused = 0
    with store.in_use(), stop_signals() as stop_requested:
        for number, planned in enumerate(plan, 1):
            heading = f"[{number}/{len(plan)}] {planned.label}"
            finished = store.complete(planned.id)
            if not finished:
                say(f"{heading}: {planned.stage.name}")
            with at(planned.label):
                artifact = run_stage(
                    store,
                    planned,
                    machine,
                    heading=heading,
                    stop_requested=stop_requested,
                    show_progress=show_progress,
                )
            made[planned.label] = artifact
            reused += finished
            if not finished:
                say(f"{heading}: {artifact.manifest.timings['wall_seconds']:.0f} s, {artifact.id}")
    say(f"{len(plan) - reused} stages made, {reused} reused.")
    return made
