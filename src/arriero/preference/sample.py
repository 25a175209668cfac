"""Pairs of answers to be compared, from two models at varied temperatures.

Source: Llama 2, section 3.2.1: "two sampled model responses", "from two different model variants, and varying the
temperature hyper-parameter". The temperatures, lengths and the share of safety prompts are not stated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from arriero.artifacts import Input, Inputs, Stage, StageContext, run_units
from arriero.artifacts.files import read_jsonl, write_jsonl
from arriero.config import config, setting
from arriero.dialogue import Prompt, read_prompts
from arriero.errors import ConfigError, InputError
from arriero.generation import SamplingConfig, answer
from arriero.model import OneModel
from arriero.preference.record import Pair, domain_of

ANSWERS_PER_UNIT = 128  # answers sampled in one call, and what a killed run repeats at most


@config
class SampleConfig:
    pairs: int = setting(400, "pairs of answers to sample", ge=1)
    safety_share: float = setting(
        0.4, "share of the pairs whose prompt is of the safety domain, where there are both", ge=0, le=1
    )
    temperatures: tuple[Annotated[float, Field(ge=0)], ...] = setting(
        (0.6, 0.9, 1.2), "temperatures that the answers are drawn at", min_length=1
    )
    top_p: float = setting(1.0, "nucleus of the sampled tokens", gt=0, le=1)
    max_new_tokens: int = setting(64, "longest answer", unit="tokens", ge=1)
    seed: int = setting(0, "seed of the choice of prompts and of sampling")


@dataclass(frozen=True)
class Cell:
    """Where an answer comes from."""

    source: str
    temperature: float


@dataclass(frozen=True)
class Planned:
    """A prompt and the two different cells that answer it."""

    prompt: Prompt
    a: Cell
    b: Cell


@dataclass(frozen=True)
class Unit:
    """Answers of one cell: (number of the planned pair, "a" or "b") of each."""

    cell: Cell
    wanted: tuple[tuple[int, str], ...]


def plan(prompts: Sequence[Prompt], sources: Sequence[str], cfg: SampleConfig) -> list[Planned]:
    """`cfg.pairs` planned pairs. With two or more sources the two answers never come from the same one.

    Raises ConfigError if there is only one source and one temperature.
    """
    if len(sources) == 1 and len(set(cfg.temperatures)) < 2:
        raise ConfigError(
            "Pairs from one model at one temperature would differ by chance alone: give preference.sample a second "
            "model, or `temperatures` a second value."
        )
    drawn = _draw_prompts(prompts, cfg)
    planned = []
    for index, prompt in enumerate(drawn):
        rng = np.random.default_rng([cfg.seed, 1, index])
        if len(sources) > 1:
            pair = rng.permutation(len(sources))[:2]
            heat = rng.integers(len(cfg.temperatures), size=2)
        else:
            pair = np.zeros(2, dtype=np.int64)
            heat = rng.permutation(len(cfg.temperatures))[:2]
        a, b = (Cell(sources[s], cfg.temperatures[t]) for s, t in zip(pair, heat, strict=True))
        planned.append(Planned(prompt, a, b))
    return planned


def _draw_prompts(prompts: Sequence[Prompt], cfg: SampleConfig) -> list[Prompt]:
    """Prompts in the configured shares; none comes a second time before all of its sort came once."""
    safety = [prompt for prompt in prompts if domain_of(prompt) == "safety"]
    helpfulness = [prompt for prompt in prompts if domain_of(prompt) == "helpfulness"]
    safety_pairs = round(cfg.pairs * cfg.safety_share) if safety and helpfulness else cfg.pairs * bool(safety)
    drawn: list[Prompt] = []
    for stream, (pool, count) in enumerate(((helpfulness, cfg.pairs - safety_pairs), (safety, safety_pairs))):
        rng = np.random.default_rng([cfg.seed, 0, stream])
        laps = [rng.permutation(len(pool)) for _ in range(-(-count // len(pool)))] if count else []
        drawn.extend(pool[index] for lap in laps for index in lap)
        del drawn[len(drawn) - max(0, len(laps) * len(pool) - count) :]
    return drawn


def units(planned: Sequence[Planned]) -> list[Unit]:
    """The answers to sample, grouped so that each model is loaded once."""
    wanted: dict[Cell, list[tuple[int, str]]] = {}
    for index, pair in enumerate(planned):
        wanted.setdefault(pair.a, []).append((index, "a"))
        wanted.setdefault(pair.b, []).append((index, "b"))
    return [
        Unit(cell, tuple(rows[start : start + ANSWERS_PER_UNIT]))
        for cell, rows in sorted(wanted.items(), key=lambda item: (item[0].source, item[0].temperature))
        for start in range(0, len(rows), ANSWERS_PER_UNIT)
    ]


def run(cfg: SampleConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    models = inputs.many("models")
    prompts_path = inputs.one("chat").path / "prompts-preference.jsonl"
    prompts = read_prompts(prompts_path)
    if not prompts:
        raise InputError(f"{prompts_path} holds no prompts, so there is nothing to sample pairs for.")
    planned = plan(prompts, list(models), cfg)
    one_model = OneModel(context.machine)

    def work(index: int, unit: Unit) -> list[dict[str, Any]]:
        sampling = SamplingConfig(temperature=unit.cell.temperature, top_p=cfg.top_p, max_new_tokens=cfg.max_new_tokens)
        dialogues = [planned[pair].prompt.dialogue for pair, _ in unit.wanted]
        seed = int(np.random.SeedSequence([cfg.seed, 2, index]).generate_state(1)[0])
        texts = answer(one_model.model(models[unit.cell.source]), dialogues, sampling, seed=seed)
        return [{"pair": p, "side": side, "text": t} for (p, side), t in zip(unit.wanted, texts, strict=True)]

    path = run_units(context, "answers", units(planned), work, unit="answers", size=lambda unit: len(unit.wanted))
    answers = {(row["pair"], row["side"]): row["text"].strip() for _, row in read_jsonl(path)}
    path.unlink()  # its rows are those of pairs.jsonl
    pairs = [
        Pair(
            id=f"{index:05d}-{pair.prompt.id}",
            prompt=pair.prompt,
            a=answers[index, "a"],
            b=answers[index, "b"],
            source_a=pair.a.source,
            source_b=pair.b.source,
            temperature_a=pair.a.temperature,
            temperature_b=pair.b.temperature,
        )
        for index, pair in enumerate(planned)
        if answers[index, "a"] != answers[index, "b"]
    ]
    write_jsonl(context.out / "pairs.jsonl", (pair.to_json() for pair in pairs))
    return {
        "pairs": len(pairs),
        "skipped_identical": len(planned) - len(pairs),
        "safety_pairs": sum(domain_of(pair.prompt) == "safety" for pair in pairs),
        "prompts": len({pair.prompt.id for pair in pairs}),
    }


STAGE = Stage(
    "preference.sample", SampleConfig, (Input("models", "model", many=True), Input("chat", "chat")), "pairs", run
)
