"""A pair of answers, the comparison that an annotator makes of it, and their strict JSONL forms.

Source: Llama 2 (arXiv:2307.09288), section 3.2.1: a forced choice, four grades, and for safety whether each answer is
safe. A row that a reader cannot take as meant is an error that names file and line, never a guess.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from arriero.artifacts.files import read_jsonl, write_jsonl
from arriero.dialogue import Dialogue, Prompt, Role, asked, first_user
from arriero.errors import InputError
from arriero.taxonomy import SafetyBin, safety_bin

Domain = Literal["helpfulness", "safety"]
T = TypeVar("T", bound=str)
Split = Literal["train", "test"]

DOMAINS: tuple[Domain, ...] = ("helpfulness", "safety")
SPLITS: tuple[Split, ...] = ("train", "test")
_REQUIRED = ("prompt", "chosen", "rejected", "rating")
_OPTIONAL = (
    "id",
    "domain",
    "chosen_safe",
    "rejected_safe",
    "annotator",
    "split",
    "chosen_source",
    "rejected_source",
    "group",
)


class Rating(IntEnum):
    """How much better the chosen answer is. `negligibly` stands for the paper's "negligibly better / unsure"."""

    NEGLIGIBLY = 0
    SLIGHTLY = 1
    BETTER = 2
    SIGNIFICANTLY = 3

    @property
    def label(self) -> str:
        return self.name.lower()


RATING_LABELS = tuple(rating.label for rating in Rating)


def domain_of(prompt: Prompt) -> Domain:
    """Whose guideline compares answers to `prompt`: safety's if it is tagged.

    It is the tag that the gate of section 3.2.3 reads, so each reward model is trained on what it decides. A harmless
    look-alike asks for help: there the helpfulness model must learn that a refusal is worse than an answer.
    """
    return "safety" if prompt.safety else "helpfulness"


@dataclass(frozen=True)
class Pair:
    """Two different answers to one prompt, not yet compared: what an annotator is shown (without the sources)."""

    id: str
    prompt: Prompt
    a: str
    b: str
    source_a: str
    source_b: str
    temperature_a: float
    temperature_b: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"prompt": self.prompt.to_json()}


def read_pairs(path: Path) -> list[Pair]:
    """The pairs that preference.sample wrote. Raises InputError naming file and line."""
    return [
        Pair(**row | {"prompt": Prompt.from_json(row["prompt"], f"{path}:{line}")}) for line, row in read_jsonl(path)
    ]


@dataclass(frozen=True)
class Comparison:
    """`prompt` ends with a user turn; `chosen` and `rejected` answer it and differ.

    `chosen_safe` and `rejected_safe` are both set, as the safety domain requires, or both None.
    `annotator` is "simulated" wherever no person judged. `*_source` names the model that wrote the answer, or is empty.
    `group` is the prompt's.
    """

    id: str
    prompt: Dialogue
    chosen: str
    rejected: str
    rating: Rating
    domain: Domain
    chosen_safe: bool | None
    rejected_safe: bool | None
    annotator: str
    split: Split
    chosen_source: str
    rejected_source: str
    group: str = ""

    @property
    def asks(self) -> str:
        return asked(self.prompt, self.group)

    @property
    def labelled(self) -> bool:
        """Whether the safety of both answers is known."""
        return self.chosen_safe is not None and self.rejected_safe is not None

    @property
    def bin(self) -> SafetyBin | None:
        """The safety bin; None without labels. A dropped pair (see `unsafe_preferred`) has no bin either."""
        if self.chosen_safe is None or self.rejected_safe is None:
            return None
        return safety_bin(self.chosen_safe, self.rejected_safe)

    @property
    def unsafe_preferred(self) -> bool:
        """Whether the chosen answer is unsafe and the other safe: the paper drops such pairs."""
        return self.chosen_safe is False and self.rejected_safe is True

    @property
    def dialogues(self) -> tuple[Dialogue, Dialogue]:
        """The prompt with the chosen answer, and with the rejected one."""
        return self.prompt.with_answer(self.chosen), self.prompt.with_answer(self.rejected)

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {name: getattr(self, name) for name in (*_REQUIRED, *_OPTIONAL)}
        return row | {"prompt": self.prompt.to_json(), "rating": self.rating.label}

    @classmethod
    def from_json(cls, row: Any, where: str) -> Self:
        """Raises InputError naming `where` (a file and line) and what to change."""
        if not isinstance(row, dict):
            raise InputError(f"{where}: a comparison must be a JSON object, found {row!r:.60}.")
        _check_names(row, where)
        chosen, rejected = _text(row, "chosen", where), _text(row, "rejected", where)
        if chosen.strip() == rejected.strip():
            raise InputError(
                f"{where}: the chosen and the rejected answer are identical, so the row states no preference. "
                f"Delete it."
            )
        domain = _one_of(row, "domain", DOMAINS, where, DOMAINS[0])
        chosen_safe, rejected_safe = _label(row, "chosen_safe", where), _label(row, "rejected_safe", where)
        if (chosen_safe is None) != (rejected_safe is None) or (domain == "safety" and chosen_safe is None):
            raise InputError(
                f"{where}: a safety comparison must state both chosen_safe and rejected_safe as true or false; "
                f"a helpfulness comparison states both or neither."
            )
        return cls(
            id=str(row.get("id", where.rsplit(":", 1)[-1])),
            prompt=_prompt(row["prompt"], where),
            chosen=chosen,
            rejected=rejected,
            rating=Rating(RATING_LABELS.index(_one_of(row, "rating", RATING_LABELS, where))),
            domain=domain,
            chosen_safe=chosen_safe,
            rejected_safe=rejected_safe,
            annotator=_text(row, "annotator", where, "people"),
            split=_one_of(row, "split", SPLITS, where, SPLITS[0]),
            chosen_source=_text(row, "chosen_source", where, ""),
            rejected_source=_text(row, "rejected_source", where, ""),
            group=_text(row, "group", where, ""),
        )


def read_comparisons(path: Path) -> list[Comparison]:
    """Raises InputError naming file and line."""
    return [Comparison.from_json(row, f"{path}:{line}") for line, row in read_jsonl(path)]


def write_comparisons(path: Path, comparisons: Iterable[Comparison]) -> None:
    write_jsonl(path, (comparison.to_json() for comparison in comparisons))


def summary(kept: list[Comparison], dropped: int) -> dict[str, Any]:
    """Counts by domain, grade, safety bin and split, and of the pairs dropped as unsafe but preferred."""
    return {
        "comparisons": len(kept),
        "dropped_unsafe_preferred": dropped,
        "domains": dict(sorted(Counter(c.domain for c in kept).items())),
        "ratings": {
            domain: dict(sorted(Counter(c.rating.label for c in kept if c.domain == domain).items()))
            for domain in sorted({c.domain for c in kept})
        },
        "bins": dict(sorted(Counter(str(c.bin) for c in kept if c.domain == "safety").items())),
        "splits": dict(sorted(Counter(c.split for c in kept).items())),
    }


def _check_names(row: dict[str, Any], where: str) -> None:
    missing = [name for name in _REQUIRED if name not in row]
    if missing:
        raise InputError(f"{where}: the comparison lacks {', '.join(missing)}. Required are {', '.join(_REQUIRED)}.")
    unknown = sorted(set(row) - {*_REQUIRED, *_OPTIONAL})
    if unknown:
        raise InputError(
            f"{where}: unknown field {', '.join(map(repr, unknown))}. "
            f"A comparison may have {', '.join((*_REQUIRED, *_OPTIONAL))}; rename or delete the others."
        )


def _prompt(value: Any, where: str) -> Dialogue:
    """A text is one user turn; anything else must be a dialogue that ends with one."""
    prompt = first_user(value) if isinstance(value, str) else Dialogue.from_json(value, where)
    if prompt.messages[-1].role is not Role.USER:
        raise InputError(f"{where}: the prompt must end with a user message; the answers are `chosen` and `rejected`.")
    return prompt


def _text(row: dict[str, Any], name: str, where: str, default: str | None = None) -> str:
    value = row.get(name, default)
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} must be a text, found {value!r:.60}.")
    return value


def _label(row: dict[str, Any], name: str, where: str) -> bool | None:
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{where}: {name} must be true, false or null, found {value!r:.60}.")
    return value


def _one_of(row: dict[str, Any], name: str, allowed: tuple[T, ...], where: str, default: T | None = None) -> T:
    value = row.get(name, default)
    for known in allowed:
        if value == known:
            return known
    raise InputError(f"{where}: {name} must be one of {', '.join(allowed)}; found {value!r:.60}.")
