"""From a recipe to ids: what each stage is, before anything runs.

An id is the hash of all that decides the result: the stage's name, the digest of its code, its config without
operational fields, what the machine resolved, the inputs' ids, and the content of outside files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arriero.artifacts import Machine, Stage
from arriero.artifacts.files import tree_digest
from arriero.config import digest, identity, input_paths, nearest, parse, with_resolved_paths
from arriero.errors import ConfigError, at
from arriero.pipeline.code import code_digest
from arriero.pipeline.recipe import Recipe, Step
from arriero.pipeline.table import stage_named

ID_LENGTH = 16


@dataclass(frozen=True)
class Planned:
    """A stage ready to run. `inputs`: input name -> label -> artifact id."""

    label: str
    stage: Stage
    config: Any
    inputs: dict[str, dict[str, str]]
    code: str
    outside: dict[str, str]
    id: str


def outside_digests(stage: Stage, config: Any) -> dict[str, str]:
    """Field -> digest of what lies there now. Raises InputError if an outside file is missing."""
    own = {} if stage.outside is None else stage.outside(config)
    return own | {field: tree_digest(path) for field, path in input_paths(config).items() if field not in own}


def stage_id(stage: Stage, config: Any, inputs: Mapping[str, Mapping[str, str]], machine: Machine) -> Planned:
    """The plan of one stage; its label is the stage's name.

    Raises InputError if an outside file is missing, ConfigError if the config does not fit the inputs.
    """
    if stage.check is not None:
        stage.check(config, inputs)
    outside = outside_digests(stage, config)
    code = code_digest(stage.run.__module__)
    # Labels count only where several artifacts come in: there they name rows and columns of the result.
    many = {edge.name for edge in stage.inputs if edge.many}
    edges = {name: list(given.items()) if name in many else list(given.values()) for name, given in inputs.items()}
    parts = {
        "stage": stage.name,
        "code": code,
        "config": identity(config),
        "machine": machine.identity(),
        "inputs": edges,
        "outside": outside,
    }
    given_ids = {name: dict(given) for name, given in inputs.items()}
    return Planned(stage.name, stage, config, given_ids, code, outside, digest(parts)[:ID_LENGTH])


def parse_stage_config(stage: Stage, values: Mapping[str, Any], seed: int, folder: Path, where: str) -> Any:
    """The stage's config from a recipe's values: relative paths start at `folder`, the seed is the recipe's."""
    fields = stage.config.__pydantic_fields__  # type: ignore[attr-defined]
    seeded = {"seed": seed} | dict(values) if "seed" in fields else dict(values)
    return parse(stage.config, with_resolved_paths(stage.config, seeded, folder), where)


def check_inputs(stage: Stage, given: Mapping[str, Mapping[str, str]], where: str) -> None:
    """`given`: input name -> label -> kind. Raises ConfigError on an unknown, missing, surplus or wrong input."""
    edges = {edge.name: edge for edge in stage.inputs}
    for name, labelled in given.items():
        if name not in edges:
            raise ConfigError(f"{where}: {stage.name} has no input {name!r}. {nearest(name, edges)}")
        if len(labelled) > 1 and not edges[name].many:
            raise ConfigError(f"{where}: {stage.name}'s input {name!r} takes one, got {', '.join(labelled)}.")
        for label, kind in labelled.items():
            if kind not in edges[name].kinds:
                expected = " or ".join(edges[name].kinds)
                raise ConfigError(f"{where}: input {name!r} must be of kind {expected}; {label!r} is of kind {kind}.")
    for edge in stage.inputs:
        if not edge.optional and not given.get(edge.name):
            raise ConfigError(f"{where}: {stage.name} needs the input {edge.name!r} ({' or '.join(edge.kinds)}).")


def plan_recipe(recipe: Recipe, machine: Machine) -> list[Planned]:
    """Every stage of the recipe in order, checked as far as is possible before anything runs."""
    planned: dict[str, Planned] = {}
    for label, step in recipe.steps.items():
        stage = stage_named(step.stage, label)
        kinds = {name: {source: planned[source].stage.output for source in edge} for name, edge in step.inputs.items()}
        check_inputs(stage, kinds, label)
        config = parse_stage_config(stage, step.values, recipe.run.seed, recipe.folder, label)
        inputs = {name: {source: planned[source].id for source in edge} for name, edge in step.inputs.items()}
        with at(label):
            planned[label] = replace(stage_id(stage, config, inputs, machine), label=label)
    model = recipe.run.model
    if model is not None and planned[model].stage.output != "model":
        kind = planned[model].stage.output
        raise ConfigError(f"model names {model!r}, which makes no model but a {kind}. Name another stage.")
    return list(planned.values())


def needed(steps: Mapping[str, Step], label: str) -> set[str]:
    """The label and all that it is made from. Raises ConfigError if there is no such stage."""
    if label not in steps:
        raise ConfigError(f"--until {label}: no such stage in the recipe. {nearest(label, steps)}")
    found: set[str] = set()
    waiting = [label]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(source for edge in steps[current].inputs.values() for source in edge)
    return found
