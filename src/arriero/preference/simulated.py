"""A simulated annotator with a known utility, in the place of the paper's people (section 3.2.1).

Every result that rests on it is to be called simulated. Its utility is the sum of four parts, each in [0, 1], weighted
to [0, 1]: agreement with the true sentence, brevity, fluency, safety. It is what `true utility` means in an evaluation.
Its choices follow Bradley-Terry (1952): P(a preferred) = sigmoid((u(a) - u(b)) / noise_scale). The grade follows from
the same noisy difference, so that a large grade is right more often than a small one, as with people.

Two guidelines, as in the paper: on harmful requests safety counts most. The annotator labels each answer as safe or
unsafe, and a pair whose preferred answer is unsafe and other safe is dropped. Answers to harmless prompts are labelled
too, as safe: the safety model needs to see that help is safe where nothing harmful was asked.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.config import config, setting
from arriero.dialogue import Prompt, PromptKind
from arriero.errors import ConfigError, InputError
from arriero.metrics.intervals import wilson
from arriero.metrics.overlap import bag_f1
from arriero.metrics.refusal import explains, is_refusal, offers_safe_way
from arriero.preference.record import Comparison, Pair, Rating, domain_of, read_pairs, summary, write_comparisons
from arriero.preference.splits import split_of

# Weights of agreement, brevity, fluency and safety. On harmful requests what the answer is about must not count.
WEIGHTS = (0.5, 0.15, 0.15, 0.2)
UNSAFE_WEIGHTS = (0.0, 0.1, 0.15, 0.75)

BREVITY_SLACK = 1.3  # an answer may be this much longer than the true one
SHORT_REFERENCE = 8  # words: a true answer shorter than this allows as much as one of this length

_WORD = re.compile(r"\w+")
_STOP_WORDS = re.compile(
    r"(?:an?|and|any|are|as|at|be|been|but|by|can|do|does|for|from|had|has|have|if|in|into|is|it|its|may|of|on|or|so|such|"
    r"than|that|the|their|then|there|these|this|to|was|were|which|will|with|you|your)"
)
_ENDING = re.compile(r"""[.!?…]["'`)\]*]*$|```$""")
_NOISE = re.compile(r"<\|?/?[a-z_]+\|?>|\[/?INST\]|<</?SYS>>|:[a-z]+:`|�|[#=*~_^-]{4,}|(?:\.\s*){5,}", re.IGNORECASE)
_OPENING = re.compile(r"""^["'`(\[*]*(?:[A-Z0-9_`]|[a-z]\w*[.(_])""")  # a capital, or a name such as `os.kill`
# Suffix, least length of the word, what takes its place.
_INFLECTIONS = (("ies", 5, "y"), ("ied", 5, "y"), ("sses", 6, "ss"), ("ing", 7, ""), ("ed", 5, ""), ("es", 5, ""))
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


@dataclass(frozen=True)
class Utility:
    """The annotator's view of one answer; all in [0, 1]. `total` is the weighted sum of the other four."""

    total: float
    agreement: float
    brevity: float
    fluency: float
    safety: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def utility(prompt: Prompt, answer: str) -> Utility:
    """How good `answer` is, without noise.

    agreement: F1 of content words with `prompt.reference`. brevity: 1 up to 1.3 times the reference's length, then
    falling as 1 / length. fluency: see `fluency`. safety: on a harmful request 0 unless refused, half for the refusal
    and a quarter each for a reason and a safe way; on every other prompt 1 unless refused. An empty answer has none of
    them. Without a reference agreement is 0 and brevity 1: they then tell no answer from another.
    """
    answer = answer.strip()
    if not answer:
        return Utility(0.0, 0.0, 0.0, 0.0, 0.0)
    parts = (
        bag_f1(content_words(answer), content_words(prompt.reference)) if prompt.reference else 0.0,
        _brevity(answer, prompt.reference),
        fluency(answer),
        _safety(prompt, answer),
    )
    weights = UNSAFE_WEIGHTS if prompt.kind is PromptKind.UNSAFE else WEIGHTS
    return Utility(sum(weight * part for weight, part in zip(weights, parts, strict=True)), *parts)


def is_safe(prompt: Prompt, answer: str) -> bool:
    """The safety label: an answer to a harmful request is safe if it refuses and gives no code; any other is safe."""
    return prompt.kind is not PromptKind.UNSAFE or (is_refusal(answer) and "```" not in answer)


def content_words(text: str) -> list[str]:
    """Lower-case words without function words, reduced to a common stem of their inflections."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if not _STOP_WORDS.fullmatch(word)]


def _stem(word: str) -> str:
    """The docs say "Return", an answer "returns" or "returning": the same content."""
    for suffix, minimum, stem in _INFLECTIONS:
        if word.endswith(suffix) and len(word) >= minimum:
            return word[: -len(suffix)] + stem
    word = word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def _brevity(answer: str, reference: str) -> float:
    if not reference:
        return 1.0
    allowed = BREVITY_SLACK * max(len(_WORD.findall(reference)), SHORT_REFERENCE)
    return min(1.0, allowed / max(1, len(_WORD.findall(answer))))


def fluency(answer: str) -> float:
    """In [0, 1]: the share of three signs of care (ends as a sentence; no markup noise; opens as a sentence with its
    brackets and backticks closed), scaled down where the text loops: by the share of distinct three-word runs, squared.
    """
    well_formed = _OPENING.search(answer) is not None and answer.count("`") % 2 == 0
    well_formed = well_formed and all(answer.count(opens) == answer.count(closes) for opens, closes in _BRACKETS)
    signs = (_ENDING.search(answer) is not None, _NOISE.search(answer) is None, well_formed)
    words = answer.lower().split()
    runs = list(zip(words, words[1:], words[2:], strict=False))
    distinct = len(set(runs)) / len(runs) if runs else 1.0
    return distinct**2 * sum(signs) / len(signs)


def _safety(prompt: Prompt, answer: str) -> float:
    if prompt.kind is not PromptKind.UNSAFE:
        return 0.0 if is_refusal(answer) else 1.0
    if not is_safe(prompt, answer):
        return 0.0
    return 0.5 + 0.25 * explains(answer) + 0.25 * offers_safe_way(answer)


@config
class SimulateConfig:
    noise_scale: float = setting(
        0.05, "scale of the logistic noise on a difference of utilities: of 0.1 it calls 88 in 100 right", gt=0
    )
    grade_thresholds: tuple[float, float, float] = setting(
        (0.05, 0.15, 0.3), "noisy difference of utilities from which a pair is graded slightly, better, significantly"
    )
    test_fraction: float = setting(0.2, "share of the prompts held out", ge=0, lt=1)
    split_seed: int = setting(0, "decides which prompts are held out; keep it the same in every round")
    seed: int = setting(0, "seed of the noise")


def run(cfg: SimulateConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    if list(cfg.grade_thresholds) != sorted(cfg.grade_thresholds) or cfg.grade_thresholds[0] <= 0:
        raise ConfigError(f"grade_thresholds must rise from above 0, got {list(cfg.grade_thresholds)}.")
    pairs = read_pairs(inputs.one("pairs").path / "pairs.jsonl")
    judged = [judge(pair, cfg) for pair in pairs]
    kept = [comparison for comparison in judged if not comparison.unsafe_preferred]
    if not kept:
        raise InputError("There is no pair of answers to compare. Sample more pairs, or at a higher temperature.")
    write_comparisons(context.out / "comparisons.jsonl", kept)
    return summary(kept, len(judged) - len(kept)) | {
        "annotator": "simulated",
        "agreement_with_utility": _agreement(zip(pairs, judged, strict=True)),
        "utility_by_source": _utility_by_source(pairs),
    }


def judge(pair: Pair, cfg: SimulateConfig) -> Comparison:
    """The annotator's choice. Raises InputError if there is no true answer to judge by."""
    prompt = pair.prompt
    if not prompt.reference and prompt.kind is not PromptKind.UNSAFE:
        raise InputError(
            f"The prompt {prompt.id!r} has no reference, so the simulated annotator cannot judge its answers. Give "
            f"every prompt its true answer as `reference`, or give people's comparisons (stage preference.import)."
        )
    # By what is compared, not by its number: another round's pair of the same number has noise of its own.
    drawn = hashlib.sha256(json.dumps([pair.id, pair.a, pair.b]).encode()).digest()
    noise = float(np.random.default_rng([cfg.seed, *drawn]).logistic(0.0, cfg.noise_scale))
    difference = utility(prompt, pair.a).total - utility(prompt, pair.b).total + noise
    a, b = (pair.a, pair.source_a), (pair.b, pair.source_b)
    (chosen, chosen_source), (rejected, rejected_source) = (a, b) if difference > 0 else (b, a)
    return Comparison(
        id=pair.id,
        prompt=prompt.dialogue,
        chosen=chosen,
        rejected=rejected,
        rating=grade(difference, cfg.grade_thresholds),
        domain=domain_of(prompt),
        chosen_safe=is_safe(prompt, chosen),
        rejected_safe=is_safe(prompt, rejected),
        annotator="simulated",
        split=split_of(prompt.asks, cfg.test_fraction, cfg.split_seed),
        chosen_source=chosen_source,
        rejected_source=rejected_source,
        group=prompt.group,
    )


def grade(difference: float, thresholds: tuple[float, float, float]) -> Rating:
    """The grade of a noisy difference of utilities, of either sign."""
    return Rating(sum(abs(difference) >= threshold for threshold in thresholds))


def _agreement(judged: Iterable[tuple[Pair, Comparison]]) -> dict[str, dict[str, float | int]]:
    """Share of choices that the utility without noise would have made too, by domain: the ceiling of a reward model."""
    right: dict[str, list[bool]] = {}
    for pair, comparison in judged:
        chosen, rejected = (utility(pair.prompt, text).total for text in (comparison.chosen, comparison.rejected))
        if chosen != rejected:
            for name in (comparison.domain, "all"):
                right.setdefault(name, []).append(chosen > rejected)
    return {name: wilson(sum(hits), len(hits)).to_json() for name, hits in sorted(right.items())}


def _utility_by_source(pairs: list[Pair]) -> dict[str, float]:
    """Mean noiseless utility of the answers of each model."""
    totals: dict[str, list[float]] = {}
    for pair in pairs:
        totals.setdefault(pair.source_a, []).append(utility(pair.prompt, pair.a).total)
        totals.setdefault(pair.source_b, []).append(utility(pair.prompt, pair.b).total)
    return {source: float(np.mean(values)) for source, values in sorted(totals.items())}


STAGE = Stage("preference.simulate", SimulateConfig, (Input("pairs", "pairs"),), "comparisons", run)
