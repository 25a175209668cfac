"""Prompts from the hand-written lists, dealt to SFT, preferences, RL and testing.

Half of the questions and of the look-alikes for training are dealt to SFT, and a quarter of the harmful requests, of
which SFT wants few; preferences and RL halve the rest. Where its part is short, RL or preferences take from the
other's, never from that of SFT. Test material is the lists' own test split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from arriero.data.chat_layout import generator, prompt_of
from arriero.data.prompt_lists import REFUSAL_PARTS, Pair, Request, Split, UnsafeList
from arriero.dialogue import Prompt, PromptKind, first_user

FILES = ("sft", "preference", "rl", "test")

T = TypeVar("T")


class _Listed(Protocol):
    @property
    def split(self) -> Split: ...


L = TypeVar("L", bound=_Listed)


@dataclass(frozen=True)
class SafetyPrompts:
    """The hand-written material of one file of prompts, in the order in which it is used up."""

    unsafe: list[tuple[Prompt, dict[str, str]]]  # with its tags: risk, attack, theme
    borderline: list[Prompt]


def shuffled(material: Sequence[T], seed: int, name: str) -> list[T]:
    """A copy in an order that depends on the seed and the name alone."""
    copy = list(material)
    generator(seed, "shuffle", name).shuffle(copy)
    return copy


def deal(material: Sequence[T], seed: int, name: str, every: int = 2) -> dict[str, tuple[list[T], list[T]]]:
    """Training material for each file: its own, and what it may take once that is used up. SFT gets one of `every`.

    SFT takes nothing else; preferences and RL take each other's.
    """
    ordered = shuffled(material, seed, name)
    sft = ordered[::every]
    rest = [row for index, row in enumerate(ordered) if index % every]
    preference, rl = rest[::2], rest[1::2]
    return {"sft": (sft, []), "preference": (preference, rl), "rl": (rl, preference)}


def safety_prompts(unsafe: UnsafeList, borderline: Sequence[Pair], seed: int) -> dict[str, SafetyPrompts]:
    """What each of FILES draws from."""
    requests = _by_file(unsafe.requests, seed, "unsafe", 4)
    pairs = _by_file(borderline, seed, "borderline", 2)
    return {
        name: SafetyPrompts(
            [prompt for part in requests[name] for prompt in _unsafe_prompts(part, unsafe, name, seed)],
            [_borderline_prompt(pair) for part in pairs[name] for pair in part],
        )
        for name in FILES
    }


def _by_file(material: Sequence[L], seed: int, name: str, every: int) -> dict[str, tuple[list[L], list[L]]]:
    dealt = deal([row for row in material if row.split is Split.TRAIN], seed, name, every)
    return dealt | {"test": (shuffled([row for row in material if row.split is Split.TEST], seed, name), [])}


def _borderline_prompt(pair: Pair) -> Prompt:
    return prompt_of(first_user(pair.question).with_answer(pair.answer), PromptKind.BORDERLINE)


def _unsafe_prompts(
    requests: list[Request], unsafe: UnsafeList, name: str, seed: int
) -> list[tuple[Prompt, dict[str, str]]]:
    """Prompts with their tags: every request in its own words, then the wrapped ones."""
    variants = [unsafe.variants(request) for request in requests]
    wrapped = shuffled([(request, own) for own, *others in variants for request in others], seed, f"wrapped-{name}")
    made = []
    for request, own in [(own, own) for own, *_ in variants] + wrapped:
        rng = generator(seed, name, request.text)
        refusal = " ".join(rng.choice(unsafe.refusal_parts(request, part)) for part in REFUSAL_PARTS)
        tag = {"risk": str(request.risk), "attack": str(request.attack), "theme": request.theme}
        asked = first_user(request.text).with_answer(refusal)
        made.append((prompt_of(asked, PromptKind.UNSAFE, group=own.text), tag))
    return made
