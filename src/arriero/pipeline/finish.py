"""What a run does when its stages are made: the report, and three answers of the final model."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from arriero.artifacts import Artifact, Machine
from arriero.dialogue import first_user
from arriero.generation import SamplingConfig, answer
from arriero.model import load_model
from arriero.pipeline.runs import Run, Runs
from arriero.report import RunView, StageView, build_report


def write_report(runs: Runs, run: Run) -> Path:
    """Writes the report over the stages that are made; returns its path."""
    stages = []
    for label, id in run.stages.items():
        if runs.store.has(id):
            artifact = runs.store.artifact(id)
            manifest = asdict(artifact.manifest)
            stages.append(StageView(label, artifact.manifest.stage, id, manifest, artifact.path))
    path = run.folder / "report.html"
    build_report(RunView(run.name, run.recipe, stages), path)
    return path


def answer_prompts(model: Artifact, prompts: Sequence[str], machine: Machine) -> list[tuple[str, str]]:
    """(prompt, greedy answer) of each prompt."""
    loaded = load_model(model, machine, dtype=getattr(torch, machine.dtype))
    sampling = SamplingConfig(temperature=0.0, max_new_tokens=96)
    answers = answer(loaded, [first_user(prompt) for prompt in prompts], sampling, seed=1)
    return list(zip(prompts, answers, strict=True))
