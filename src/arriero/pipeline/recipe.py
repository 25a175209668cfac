"""A recipe: a TOML file whose tables are stages, and whose `[[iteration]]` tables unfold into stages.

name = "micro"                    # the run's folder
seed = 1                          # given to every stage that has a seed and does not set its own
model = "final"                   # the stage whose model `arriero chat` talks to
ask = ["What does os.walk do?"]   # answered by that model when the run ends

[machine]                         # optional: dtype, compile, threads, device; "auto" measures
[sft]                             # a label of one's own
stage = "train.sft"               # a name of pipeline.table.STAGES
inputs = { base = "imported", dialogues = ["chat"] }   # labels of other stages
epochs = 2                        # fields of the stage's config
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arriero.config import apply_overrides, config, load_toml, nearest, parse, setting
from arriero.errors import ConfigError
from arriero.pipeline.iteration import unfold
from arriero.pipeline.machine import MachineConfig

LABEL = re.compile(r"[a-z][a-z0-9_-]*")


@config
class RunConfig:
    """The top level of a recipe, beside its stages."""

    name: str = setting(..., "folder of the run below the runs folder", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = setting(1, "seed of every stage that does not set its own")
    model: str | None = setting(None, "label of the stage whose model `arriero chat` talks to")
    ask: list[str] = setting([], "prompts that the model answers when the run ends")
    machine: MachineConfig = setting(MachineConfig(), "device, dtype, compile, threads")


@dataclass(frozen=True)
class Step:
    """One stage of a recipe: its label, the stage's name, input name -> labels, and the config as written."""

    label: str
    stage: str
    inputs: dict[str, list[str]]
    values: dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A recipe whose iterations are unfolded. `folder` is what its relative paths start from."""

    run: RunConfig
    steps: dict[str, Step]
    folder: Path
    tables: dict[str, Any] = field(repr=False)


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Reads and unfolds a recipe, then applies `--set label.field=value`. Raises ConfigError or InputError."""
    return build_recipe(load_toml(path), overrides, path.parent, str(path))


def build_recipe(tables: Mapping[str, Any], overrides: Iterable[str], folder: Path, where: str) -> Recipe:
    """The recipe that `tables` states; `where` names it in errors."""
    iterations = tables.get("iteration", [])
    if not isinstance(iterations, list) or not all(isinstance(iteration, dict) for iteration in iterations):
        raise ConfigError(f"{where}: an iteration is a table under [[iteration]], with two brackets on each side.")
    plain = {key: value for key, value in tables.items() if key != "iteration"}
    unfolded = plain | unfold(iterations, set(plain), where)
    top = set(RunConfig.__pydantic_fields__)  # type: ignore[attr-defined]
    for text in overrides:
        label = text.partition("=")[0].split(".")[0].strip()
        if label not in unfolded and label not in top:
            raise ConfigError(f"--set {text}: the recipe has no {label!r}. {nearest(label, {*unfolded, *top})}")
    unfolded = apply_overrides(unfolded, overrides)
    run = parse(RunConfig, {key: value for key, value in unfolded.items() if key in top}, where)
    steps = {label: _step(label, table, where) for label, table in unfolded.items() if label not in top}
    for step in steps.values():
        for name, labels in step.inputs.items():
            for label in labels:
                if label not in steps:
                    raise ConfigError(
                        f"{where}: {step.label}.inputs.{name} names {label!r}, which is no stage. "
                        f"{nearest(label, steps)}"
                    )
    if run.model is not None and run.model not in steps:
        raise ConfigError(f"{where}: model names {run.model!r}, which is no stage. {nearest(run.model, steps)}")
    return Recipe(run, _ordered(steps, where), folder, unfolded)


def _step(label: str, table: Any, where: str) -> Step:
    if not isinstance(table, dict):
        known = RunConfig.__pydantic_fields__  # type: ignore[attr-defined]
        raise ConfigError(f"{where}: unknown key {label}. {nearest(label, known)}")
    if not LABEL.fullmatch(label):
        raise ConfigError(f"{where}: a stage's label must be small letters, digits, - and _, not {label!r}.")
    if not isinstance(table.get("stage"), str):
        raise ConfigError(f'{where}: the table [{label}] has no `stage = "..."`, so it is not known what to run.')
    inputs = table.get("inputs", {})
    if not isinstance(inputs, dict):
        raise ConfigError(f'{where}: {label}.inputs must be a table such as {{ base = "sft" }}.')
    edges = {name: _labels(labels, f"{where}: {label}.inputs.{name}") for name, labels in inputs.items()}
    values = {key: value for key, value in table.items() if key not in ("stage", "inputs")}
    return Step(label, table["stage"], edges, values)


def _labels(value: Any, where: str) -> list[str]:
    labels = value if isinstance(value, list) else [value]
    if not all(isinstance(label, str) for label in labels):
        raise ConfigError(f'{where} must be a stage\'s label such as "sft", or a list of labels, not {value!r}.')
    return labels


def _ordered(steps: Mapping[str, Step], where: str) -> dict[str, Step]:
    """Inputs before what they make; otherwise as written. Raises ConfigError on a circle."""
    ordered: dict[str, Step] = {}
    path: list[str] = []

    def visit(label: str) -> None:
        if label in ordered:
            return
        if label in path:
            circle = " -> ".join([*path[path.index(label) :], label])
            raise ConfigError(f"{where}: the stages need each other in a circle: {circle}. Break one of these inputs.")
        path.append(label)
        for labels in steps[label].inputs.values():
            for source in labels:
                visit(source)
        path.pop()
        ordered[label] = steps[label]

    for label in steps:
        visit(label)
    return ordered
