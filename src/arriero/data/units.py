"""Work units: an input group becomes a deterministically named folder of files and a manifest, or nothing.

A unit's folder appears under its name only when it is whole: it is written under another name, synced and renamed. So
a run that was killed goes on where it was, a unit that was computed twice is the same, and no order counts.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from arriero.artifacts import Progress, StageContext
from arriero.artifacts.files import file_digest, read_json, replacing, sync_folder, write_json
from arriero.data.engine import EngineConfig, EngineError, run_units
from arriero.errors import InputError

MANIFEST_FILE = "unit.json"
BUCKET_ROWS = 8_000_000  # about 200 MB of hashes and numbers
ALONE_ROWS = 1_000_000  # fewer are gone through before other processes have started
MOST_FAILURES = 3  # of the engine, one after the other, in which no unit was finished


class Unit(Protocol):
    """What a unit is computed from; equal names mean equal results within a phase."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Bucket:
    """A unit of what is told by a hash: the rows whose hash falls into one of `of` parts; of MinHash, in some bands."""

    number: int
    of: int
    bands: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        bands = f"bands-{self.bands[0]:02}-{self.bands[-1]:02}-" if self.bands else ""
        return f"{bands}{self.number:05}-of-{self.of:05}"


U = TypeVar("U", bound=Unit)
Timings = dict[str, float]  # seconds by step
# Writes a unit's files into an empty folder; gives a summary (JSON) that depends on the unit alone, and what it took.
Work = Callable[[Path, U], tuple[dict[str, Any], Timings]]


@dataclass(frozen=True)
class _Job(Generic[U]):
    folder: Path
    work: Work[U]

    def __call__(self, unit: U) -> Timings:
        target = self.folder / unit.name
        partial = self.folder / f".{unit.name}.{os.uname().nodename}.{os.getpid()}.partial"
        try:
            partial.mkdir(parents=True)
            summary, timings = self.work(partial, unit)
            files = sorted(path for path in partial.iterdir())
            for path in files:
                _sync(path)
            digests = {path.name: file_digest(path) for path in files}
            write_json(partial / MANIFEST_FILE, {"summary": summary, "files": digests})
            _rename(partial, target)
        finally:  # on a full disk, half a unit would take the room of the next try
            shutil.rmtree(partial, ignore_errors=True)
        sync_folder(self.folder)
        return timings


def _rename(folder: Path, target: Path) -> None:
    """Unless the target is there: a worker that was thought lost may have made it."""
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _remove_halves(folder: Path) -> None:
    """What workers left that were killed."""
    for half in folder.glob(".*.partial"):
        shutil.rmtree(half, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _intact(folder: Path) -> bool:
    """Whether a unit's folder is there, whole and undamaged; what is damaged is removed."""
    if not folder.is_dir():
        return False
    try:
        digests = read_json(folder / MANIFEST_FILE)["files"]
        whole = all((folder / name).is_file() and file_digest(folder / name) == d for name, d in digests.items())
    except (InputError, KeyError, TypeError):
        whole = False
    if not whole:
        shutil.rmtree(folder)
    return whole


@dataclass(frozen=True)
class Phase:
    """Runs units under `context.scratch/name`, each once, however often the run is stopped and begun again."""

    context: StageContext
    engine: EngineConfig

    def run(self, name: str, units: Sequence[U], work: Work[U]) -> list[dict[str, Any]]:
        """The summaries of all units, in their order. Raises InputError if the workers keep dying."""
        folder = self.context.scratch / name
        folder.mkdir(parents=True, exist_ok=True)
        _remove_halves(folder)
        pending = [unit for unit in units if not _intact(folder / unit.name)]
        started = time.perf_counter()
        try:
            with self.context.progress(len(units), f"units: {name}", len(units) - len(pending)) as bar:
                timings = self._finish(folder, pending, work, bar)
        finally:
            _remove_halves(folder)  # of workers that were ended
        for step, seconds in timings.items():
            self.context.timing(f"{step}_seconds", seconds)
        self.context.timing(f"phase_{name}_seconds", time.perf_counter() - started)
        return [read_json(folder / unit.name / MANIFEST_FILE)["summary"] for unit in units]

    def _finish(self, folder: Path, pending: list[U], work: Work[U], bar: Progress) -> Counter[str]:
        """Runs the units until none is left, whatever becomes of the workers; gives what it took."""
        timings: Counter[str] = Counter()
        failures = 0
        while pending:
            try:
                for _, seconds in run_units(_Job(folder, work), pending, self.engine, self.context.machine.threads):
                    timings.update(seconds)
                    bar.advance()
                    self.context.check_stop()
                return timings
            except EngineError as error:
                self.context.check_stop()  # a signal to the whole group ends the workers too
                left = [unit for unit in pending if not _intact(folder / unit.name)]
                failures = failures + 1 if len(left) == len(pending) else 0
                if failures == MOST_FAILURES:
                    raise InputError(
                        f"The workers end before `{folder.name}` of {left[0].name} is done ({error}). Most likely the "
                        "memory does not suffice: allow fewer workers."
                    ) from None
            _remove_halves(folder)
            pending = left
        return timings

    def suited(self, size: int, least: int) -> "Phase":
        """The same; but on this machine in this process alone, if of rows or bytes there are fewer than `least`."""
        few = size < least and self.engine.runner == "native"
        return Phase(self.context, EngineConfig(workers=1)) if few else self

    def folder(self, name: str, unit: str) -> Path:
        """Where a finished unit's files lie."""
        return self.context.scratch / name / unit


def group(sizes: Sequence[int], most: int) -> list[range]:
    """Consecutive items in groups of at most `most` in total, a larger item alone."""
    groups: list[range] = []
    start, total = 0, 0
    for index, size in enumerate(sizes):
        if index > start and total + size > most:
            groups.append(range(start, index))
            start, total = index, 0
        total += size
    return [*groups, range(start, len(sizes))] if sizes else groups


def place(file: Path, target: Path) -> None:
    """The file under another name as well: a link, or a copy where the file system has none."""
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError:
        with file.open("rb") as source, replacing(target) as copy:
            shutil.copyfileobj(source, copy)
