"""The evaluation's units of work: reading, sampling and scoring, one model in memory at a time.

Every unit's rows depend on the config and the unit alone, so a killed evaluation goes on to the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arriero.artifacts import Artifact, StageContext, run_units
from arriero.artifacts.files import read_jsonl
from arriero.dialogue import Prompt
from arriero.eval.bits_per_byte import Document, document_bits
from arriero.generation import SamplingConfig, generate, response_logprobs
from arriero.model import LoadedModel, OneModel
from arriero.reward import RewardModel, load_reward_model
from arriero.rlhf.rollout import sample_answers

CHUNK = 128  # items in a unit: twice as many as are sampled side by side, so that a row which is done has a next one


@dataclass(frozen=True)
class Reply:
    """An answer. `finished`: the model ended it, rather than the limit on new tokens."""

    text: str
    finished: bool


@dataclass(frozen=True)
class Unit:
    """One model's share of a phase: items [start, stop) of the phase's list."""

    label: str
    start: int
    stop: int


def units_of(labels: Sequence[str], items: int) -> list[Unit]:
    """All units of one label before the next, so that each model is loaded once."""
    starts = range(0, items, CHUNK)
    return [Unit(label, start, min(start + CHUNK, items)) for label in labels for start in starts]


def unit_seed(seed: int, index: int) -> int:
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


class Shelf(OneModel):
    """The one model or reward model that was asked for last."""

    def reward_model(self, artifact: Artifact) -> RewardModel:
        return self._only(artifact, lambda: load_reward_model(artifact, self._machine))


def heldout_bits(
    context: StageContext,
    shelf: Shelf,
    versions: Mapping[str, Artifact],
    documents: Sequence[Document],
    window: tuple[int, int],
) -> dict[str, list[float]]:
    """-log2 p of each document, by version. `window` is (context, overlap) in tokens."""

    def work(_: int, unit: Unit) -> list[dict[str, Any]]:
        texts = [document.text for document in documents[unit.start : unit.stop]]
        bits = document_bits(shelf.model(versions[unit.label]), texts, *window)
        return [{"version": unit.label, "bits": value} for value in bits]

    return _by_version(context, "heldout_bits", units_of(list(versions), len(documents)), work, "bits", "documents")


def sampled_answers(
    context: StageContext,
    shelf: Shelf,
    versions: Mapping[str, Artifact],
    prompts: Sequence[Prompt],
    sampling: SamplingConfig,
    seed: int,
) -> dict[str, list[Reply]]:
    """Every version's answer to every prompt, by version."""

    def work(index: int, unit: Unit) -> list[dict[str, Any]]:
        dialogues = [prompt.dialogue for prompt in prompts[unit.start : unit.stop]]
        samples = sample_answers(shelf.model(versions[unit.label]), dialogues, sampling, seed=unit_seed(seed, index))
        return [{"version": unit.label, "reply": [sample.text, sample.finished]} for sample in samples]

    replies = _by_version(context, "sampled", units_of(list(versions), len(prompts)), work, "reply", "answers")
    return {version: [Reply(*reply) for reply in listed] for version, listed in replies.items()}


def reward_scores(
    context: StageContext,
    shelf: Shelf,
    reward_models: Mapping[str, Artifact],
    prompts: Sequence[Prompt],
    answers: Mapping[str, Sequence[Reply]],
) -> dict[str, dict[str, list[float]]]:
    """Logits of each reward model for every answer: reward model -> version -> prompt."""
    # All answers to a prompt stand together, so that the prompt is read once for them.
    dialogues = [
        prompt.dialogue.with_answer(reply.text)
        for prompt, *replies in zip(prompts, *answers.values(), strict=True)
        for reply in replies
    ]

    def work(_: int, unit: Unit) -> list[dict[str, Any]]:
        scores_B = shelf.reward_model(reward_models[unit.label]).score(dialogues[unit.start : unit.stop])
        return [{"version": unit.label, "score": score} for score in scores_B.float().tolist()]

    units = units_of(list(reward_models), len(dialogues))
    flat = _by_version(context, "scored", units, work, "score", "answers")
    return {
        kind: {version: scores[place :: len(answers)] for place, version in enumerate(answers)}
        for kind, scores in flat.items()
    }


def log_ratios(
    context: StageContext,
    shelf: Shelf,
    versions: Mapping[str, Artifact],
    reference: Artifact,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    seed: int,
) -> dict[str, list[float]]:
    """log p_version - log p_reference of answers that each version samples at temperature 1, by version.

    Their mean is an unbiased estimate of KL(version || reference) over an answer of at most `max_new_tokens` tokens,
    the decision to end it included.
    """
    sampling = SamplingConfig(temperature=1.0, top_p=1.0, max_new_tokens=max_new_tokens)

    def sample(index: int, unit: Unit) -> list[dict[str, Any]]:
        loaded = shelf.model(versions[unit.label])
        rendered = [loaded.chat_format.render_prompt(p.dialogue) for p in prompts[unit.start : unit.stop]]
        stop_ids = loaded.chat_format.stop_ids
        completions = generate(loaded.model, rendered, sampling, stop_ids=stop_ids, seed=unit_seed(seed, index))
        responses = [list(completion.chosen) for completion in completions]
        own = summed_logprobs(loaded, rendered, responses)
        return [
            {"version": unit.label, "prompt": p, "response": r, "logprob": logprob}
            for p, r, logprob in zip(rendered, responses, own, strict=True)
        ]

    path = run_units(context, "drift", units_of(list(versions), len(prompts)), sample, unit="samples", size=_size)
    drawn = [row for _, row in read_jsonl(path)]

    def compare(_: int, unit: Unit) -> list[dict[str, Any]]:
        rows = drawn[unit.start : unit.stop]
        theirs = summed_logprobs(shelf.model(reference), [r["prompt"] for r in rows], [r["response"] for r in rows])
        return [
            {"version": row["version"], "log_ratio": row["logprob"] - logprob}
            for row, logprob in zip(rows, theirs, strict=True)
        ]

    ratios = _by_version(context, "log_ratios", units_of(["reference"], len(drawn)), compare, "log_ratio", "samples")
    path.unlink()
    return ratios


def summed_logprobs(loaded: LoadedModel, prompts: list[list[int]], responses: list[list[int]]) -> list[float]:
    """log p(response | prompt) of each."""
    logprobs = response_logprobs(loaded.model, prompts, responses)
    return [float(logprobs_T.double().sum()) for logprobs_T in logprobs]


def _size(unit: Unit) -> int:
    return unit.stop - unit.start


def _by_version(
    context: StageContext, name: str, units: Sequence[Unit], work: Any, column: str, counted: str
) -> dict[str, list[Any]]:
    """Runs the units, then gathers `column` by version. The joined file is no result, so it does not stay in `out`."""
    path = run_units(context, name, units, work, unit=counted, size=_size)
    gathered: dict[str, list[Any]] = {}
    for _, row in read_jsonl(path):
        gathered.setdefault(row["version"], []).append(row[column])
    path.unlink()
    return gathered
