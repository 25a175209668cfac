"""Scores of a reward model for the answers of comparisons: a stage of its own, and the last part of training."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from arriero.artifacts import Artifact, Input, Inputs, Stage, StageContext, run_units
from arriero.artifacts.files import read_jsonl
from arriero.config import config
from arriero.preference.record import Comparison, read_comparisons
from arriero.reward.accuracy import Scored, accuracy, unsafe_detection
from arriero.reward.model import RewardModel, load_reward_model

COMPARISONS_PER_UNIT = 64


@config
class ScoreConfig:
    """Nothing to choose: the reward model and the comparisons say it all."""


def gather(artifacts: dict[str, Artifact]) -> list[Comparison]:
    """All comparisons of several artifacts, their ids made unique by the artifact's label."""
    return [
        replace(comparison, id=f"{label}/{comparison.id}")
        for label, artifact in artifacts.items()
        for comparison in read_comparisons(artifact.path / "comparisons.jsonl")
    ]


def score_comparisons(
    context: StageContext, name: str, reward_model: Callable[[], RewardModel], comparisons: Sequence[Comparison]
) -> list[Scored]:
    """Scores both answers of every comparison and writes `out/<name>.jsonl`. The model is asked for only if needed."""
    units = [comparisons[i : i + COMPARISONS_PER_UNIT] for i in range(0, len(comparisons), COMPARISONS_PER_UNIT)]

    def work(_: int, unit: Sequence[Comparison]) -> list[dict[str, Any]]:
        scores = reward_model().score([dialogue for c in unit for dialogue in c.dialogues]).tolist()
        return [Scored(c, scores[2 * i], scores[2 * i + 1]).to_json() for i, c in enumerate(unit)]

    path = run_units(context, name, units, work, unit="comparisons", size=len)
    rows = [row for _, row in read_jsonl(path)]
    return [Scored(c, r["chosen_score"], r["rejected_score"]) for c, r in zip(comparisons, rows, strict=True)]


def run(cfg: ScoreConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:  # noqa: ARG001 - a stage's signature
    artifact = inputs.one("reward_model")
    load = functools.cache(lambda: load_reward_model(artifact, context.machine))
    scored = score_comparisons(context, "scores", load, gather(inputs.many("comparisons")))
    return {"comparisons": len(scored), "domains": accuracy(scored), "unsafe_detection": unsafe_detection(scored)}


STAGE = Stage(
    "reward.score",
    ScoreConfig,
    (Input("reward_model", "reward_model"), Input("comparisons", "comparisons", many=True)),
    "scores",
    run,
)
