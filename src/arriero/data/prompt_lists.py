"""The hand-written lists of the chat domain: unsafe requests, harmless look-alikes, general questions.

Every list states on each line whether it is for training or for testing, and splits by theme: no theme, and so none of
a theme's wording, is on both sides. A harmful request is tagged with a risk category and an attack vector
(section 4.2.1); its good answer is put together from an opening, a reason and a safe alternative.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from arriero.artifacts.files import read_jsonl
from arriero.errors import InputError
from arriero.taxonomy import AttackVector, RiskCategory

E = TypeVar("E", bound=StrEnum)

FOLDER = Path(__file__).parent / "prompts"  # the lists that come with the package
REFUSAL_PARTS = ("opening", "reason", "alternative")  # in this order


class Split(StrEnum):
    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True)
class Pair:
    """A question with a short true answer; `theme` is "" where a list has none."""

    question: str
    answer: str
    theme: str
    split: Split


@dataclass(frozen=True)
class Request:
    """A harmful request."""

    text: str
    theme: str
    risk: RiskCategory
    attack: AttackVector
    split: Split


@dataclass(frozen=True)
class Wrapper:
    """A way to press for an answer; `text` holds `{request}`."""

    text: str
    attack: AttackVector
    split: Split


@dataclass(frozen=True)
class Refusal:
    """One part of a refusal. Openings have no theme."""

    part: str
    text: str
    theme: str
    split: Split


@dataclass(frozen=True)
class UnsafeList:
    """Everything that the file of unsafe requests holds, in its order."""

    requests: tuple[Request, ...]
    wrappers: tuple[Wrapper, ...]
    parts: tuple[Refusal, ...]

    def variants(self, request: Request) -> list[Request]:
        """The request, then it in each wrapper of its split; only plain requests are wrapped."""
        if request.attack is not AttackVector.NONE:
            return [request]
        wrapped = [
            Request(w.text.format(request=request.text), request.theme, request.risk, w.attack, request.split)
            for w in self.wrappers
            if w.split is request.split
        ]
        return [request, *wrapped]

    def refusal_parts(self, request: Request, part: str) -> list[str]:
        return [
            p.text for p in self.parts if p.part == part and p.split is request.split and p.theme in ("", request.theme)
        ]


def read_pairs(path: Path) -> list[Pair]:
    """Rows {"question", "answer", "split"} with an optional "theme". Raises InputError naming file and line."""
    pairs = [
        Pair(
            _text(row, "question", where),
            _text(row, "answer", where),
            str(row.get("theme", "")),
            _enum(Split, row, "split", where),
        )
        for where, row in _rows(path)
    ]
    _no_theme_on_both_sides(path, [(pair.theme, pair.split) for pair in pairs if pair.theme])
    _unique(path, [pair.question for pair in pairs])
    return pairs


def read_unsafe(path: Path) -> UnsafeList:
    """Rows whose "part" is request, wrapper, opening, reason or alternative. Raises InputError naming file and line."""
    requests: list[Request] = []
    wrappers: list[Wrapper] = []
    parts: list[Refusal] = []
    for where, row in _rows(path):
        text, split, part = _text(row, "text", where), _enum(Split, row, "split", where), row.get("part")
        if part == "request":
            risk, attack = _enum(RiskCategory, row, "risk", where), _enum(AttackVector, row, "attack", where)
            requests.append(Request(text, _text(row, "theme", where), risk, attack, split))
        elif part == "wrapper":
            if "{request}" not in text:
                raise InputError(f"{where}: a wrapper must hold {{request}} where the request goes.")
            wrappers.append(Wrapper(text, _enum(AttackVector, row, "attack", where), split))
        elif part in REFUSAL_PARTS:
            parts.append(Refusal(part, text, "" if part == "opening" else _text(row, "theme", where), split))
        else:
            raise InputError(f"{where}: part must be request, wrapper, opening, reason or alternative, found {part!r}.")
    unsafe = UnsafeList(tuple(requests), tuple(wrappers), tuple(parts))
    _no_theme_on_both_sides(path, [(request.theme, request.split) for request in requests])
    _unique(path, [request.text for request in requests])
    for request in requests:
        for part in REFUSAL_PARTS:
            if not unsafe.refusal_parts(request, part):
                raise InputError(f"{path}: the theme {request.theme!r} has no {part} for its refusals. Add one.")
    return unsafe


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line, row in read_jsonl(path):
        if not isinstance(row, dict):
            raise InputError(f"{path}:{line}: expected a JSON object, found {row!r:.60}.")
        yield f"{path}:{line}", row


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {key!r} must be a text that is not empty, found {value!r}.")
    return value


def _enum(kind: type[E], row: dict[str, Any], key: str, where: str) -> E:
    try:
        return kind(row.get(key, ""))
    except ValueError:
        raise InputError(f"{where}: {key!r} must be one of {', '.join(kind)}, found {row.get(key)!r}.") from None


def _unique(path: Path, texts: list[str]) -> None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise InputError(f"{path}: {text!r} is there twice. Remove one.")
        seen.add(text)


def _no_theme_on_both_sides(path: Path, placed: list[tuple[str, Split]]) -> None:
    first: dict[str, Split] = {}
    for theme, split in placed:
        if first.setdefault(theme, split) is not split:
            raise InputError(f"{path}: the theme {theme!r} is in both splits. Give all its rows one split.")
