"""A stage: a function from a frozen config and input artifacts to one output artifact."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tqdm import tqdm

from arriero.artifacts.files import read_jsonl, write_jsonl
from arriero.artifacts.store import Artifact
from arriero.errors import ConfigError, Stopped

T = TypeVar("T")


@dataclass(frozen=True)
class Machine:
    """What is resolved from the machine. All but `threads` decide numbers, so they are part of a stage's id."""

    device: str = "cpu"
    dtype: str = "float32"
    compile: bool = False
    threads: int = 1
    world_size: int = 1

    def identity(self) -> dict[str, Any]:
        return {
            "device": self.device.split(":")[0],
            "dtype": self.dtype,
            "compile": self.compile,
            "world_size": self.world_size,
        }


@dataclass(frozen=True)
class Input:
    """An input edge of a stage: its name, the kinds of artifact it takes, and whether it may be many or none."""

    name: str
    kind: str | tuple[str, ...]
    many: bool = False
    optional: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        return (self.kind,) if isinstance(self.kind, str) else self.kind


class Inputs:
    """The artifacts that a stage was given: input name -> label -> artifact, labels in the recipe's order."""

    def __init__(self, artifacts: Mapping[str, Mapping[str, Artifact]]) -> None:
        self._artifacts = {name: dict(labelled) for name, labelled in artifacts.items()}

    def many(self, name: str) -> dict[str, Artifact]:
        return dict(self._artifacts.get(name, {}))

    def maybe(self, name: str) -> Artifact | None:
        found = list(self.many(name).values())
        if len(found) > 1:
            raise ConfigError(f"The input {name!r} takes one artifact, got {len(found)}: {', '.join(self.many(name))}.")
        return found[0] if found else None

    def one(self, name: str) -> Artifact:
        found = self.maybe(name)
        if found is None:
            raise ConfigError(f"The input {name!r} is required and was not given.")
        return found

    def ids(self) -> dict[str, dict[str, str]]:
        return {name: {label: a.id for label, a in labelled.items()} for name, labelled in self._artifacts.items()}


class Progress:
    """A progress bar with an ETA; a context manager."""

    def __init__(self, label: str, total: int, unit: str, done: int, show: bool) -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=f" {unit}",
            desc=label,
            disable=not show,
            dynamic_ncols=True,
            mininterval=1.0,
        )

    def advance(self, n: int = 1, **shown: object) -> None:
        """Moves on by `n`; `shown` are figures to print beside the bar."""
        if shown:
            text = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in shown.items()}
            self._bar.set_postfix(text, refresh=False)
        self._bar.update(n)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


@dataclass
class StageContext:
    """Where a stage writes and how it reports.

    `out` holds the artifact's files and `scratch` what only a resumed run needs; both survive a kill. Nothing in
    `out` may hold a time, a date or a path: a rerun must give the same bytes. Speeds go to `timing`. `outside` are the
    digests of outside content (InputPath fields, `Stage.outside`) that went into the id.
    """

    out: Path
    scratch: Path
    machine: Machine
    label: str = ""
    show_progress: bool = False
    stop_requested: Callable[[], bool] = field(default=lambda: False)
    outside: Mapping[str, str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def progress(self, total: int, unit: str, done: int = 0) -> Progress:
        return Progress(self.label, total, unit, done, self.show_progress)

    def check_stop(self) -> None:
        """Raises Stopped once the user has asked to stop. Call it after saving."""
        if self.stop_requested():
            raise Stopped

    def timing(self, name: str, value: float) -> None:
        """Records a speed or a duration; it goes to the manifest's timings, never to metrics."""
        self.timings[name] = value


@dataclass(frozen=True)
class Stage:
    """`run(config, inputs, context)` writes files to `context.out` and returns metrics (JSON values, no times).

    `outside(config)` names the digests of outside content, beyond InputPath fields, that the result depends on.
    `check(config, inputs)` raises ConfigError where they do not fit; `inputs` maps input name -> label -> artifact id.
    It is called when the stage is planned.
    """

    name: str
    config: type
    inputs: tuple[Input, ...]
    output: str
    run: Callable[[Any, Inputs, StageContext], dict[str, Any]]
    outside: Callable[[Any], dict[str, str]] | None = None
    check: Callable[[Any, Mapping[str, Mapping[str, str]]], None] | None = None


def run_units(
    context: StageContext,
    name: str,
    units: Sequence[T],
    work: Callable[[int, T], list[dict[str, Any]]],
    *,
    unit: str = "units",
    size: Callable[[T], int] = lambda _: 1,
) -> Path:
    """Runs `work(index, unit)` on every unit and joins the rows, in order, in `out/<name>.jsonl`.

    A finished unit's rows lie in `scratch/<name>/`, so a killed run repeats only the unit it was in. `work` must
    depend on its arguments alone. `size` counts what the progress bar shows.
    """
    folder = context.scratch / name
    parts = [folder / f"{index:06d}.jsonl" for index in range(len(units))]
    done = sum(size(u) for u, part in zip(units, parts, strict=True) if part.exists())
    started, fresh = time.perf_counter(), 0
    with context.progress(sum(size(u) for u in units), unit, done) as bar:
        for index, (u, part) in enumerate(zip(units, parts, strict=True)):
            if part.exists():
                continue
            context.check_stop()
            write_jsonl(part, work(index, u))
            fresh += size(u)
            bar.advance(size(u))
    if fresh:
        context.timing(f"{name}_{unit.replace(' ', '_')}_per_second", fresh / (time.perf_counter() - started))
    joined = context.out / f"{name}.jsonl"
    write_jsonl(joined, (row for part in parts for _, row in read_jsonl(part)))
    return joined
