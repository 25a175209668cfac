"""What a run does when its stages are made: the report, and three answers of the final model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
import torch

from arriero.artifacts import Artifact, Machine
from arriero.dialogue import first_user
from arriero.generation import SamplingConfig, answer
from arriero.model import load_model
from arriero.pipeline.plan import Planned
from arriero.pipeline.recipe import Recipe
from arriero.pipeline.runs import Run, Runs
from arriero.report.build import build_report
from arriero.report.view import RunView


def write_report(runs: Runs, run: Run) -> Path:
    """Writes the report over the stages that are made; returns its path."""
    stages = {label: runs.store.artifact(id) for label, id in run.stages.items() if runs.store.has(id)}
    build_report(RunView(run.name, run.recipe, resolved_toml(run, stages), stages), run.report)
    return run.report


def report_is_current(runs: Runs, recipe: Recipe, plan: Sequence[Planned]) -> bool:
    """Whether the run's report is there, and about this very recipe with all its stages made."""
    if recipe.run.name not in runs.names():
        return False
    run = runs.load(recipe.run.name)
    same = run.recipe == recipe.tables and run.stages == {planned.label: planned.id for planned in plan}
    return same and run.report.is_file() and all(runs.store.complete(planned.id) for planned in plan)


def resolved_toml(run: Run, stages: dict[str, Artifact]) -> str:
    """The recipe as TOML with iterations unfolded and, where a stage is made, every default filled in."""
    tables = {key: value for key, value in run.recipe.items() if key not in run.stages}
    for label in run.stages:
        table = run.recipe[label]
        config = stages[label].manifest.config if label in stages else {}
        tables[label] = {"stage": table["stage"], "inputs": table.get("inputs", {})} | config
    plain = _without_nulls(tables)
    assert isinstance(plain, dict)
    return tomli_w.dumps(plain)


def _without_nulls(value: Any) -> Any:
    """TOML has no null: an optional field that is off is left out."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def answer_prompts(model: Artifact, prompts: Sequence[str], machine: Machine) -> list[tuple[str, str]]:
    """(prompt, greedy answer) of each prompt."""
    loaded = load_model(model, machine, dtype=getattr(torch, machine.dtype))
    sampling = SamplingConfig(temperature=0.0, max_new_tokens=96)
    answers = answer(loaded, [first_user(prompt) for prompt in prompts], sampling, seed=1)
    return list(zip(prompts, answers, strict=True))
