"""The parts of a page, as plain values that the template lays out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True)
class Figure:
    """A drawing with a title, a caption that states n and interval, and a text that stands in for it."""

    title: str
    svg: Markup
    caption: str
    kind: str = "figure"


@dataclass(frozen=True)
class Table:
    """Rows of texts; columns from `numbers_from` on hold numbers and are set right."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""
    numbers_from: int = 1
    total: bool = False  # whether the last row is a sum
    kind: str = "table"


@dataclass(frozen=True)
class Prose:
    text: str
    kind: str = "prose"


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    items: list[str]
    kind: str = "points"


@dataclass(frozen=True)
class Fact:
    """A headline figure: what, how much, its interval and n, and what that carries."""

    what: str
    value: str
    interval: str
    verdict: str
    sure: bool


@dataclass(frozen=True)
class Facts:
    items: list[Fact]
    kind: str = "facts"


@dataclass(frozen=True)
class Said:
    """One version's answer, with the notes that stand under it."""

    version: str
    text: str
    notes: str
    refused: bool


@dataclass(frozen=True)
class Exchange:
    """One prompt answered by every version."""

    title: str
    messages: list[tuple[str, str]]
    reference: str
    answers: list[Said]
    kind: str = "exchange"


@dataclass(frozen=True)
class Code:
    title: str
    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Definitions:
    """Terms with what they say: a model card."""

    items: list[tuple[str, list[str]]]
    kind: str = "definitions"


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; `missing` names the stage that the run does not have, and then there are none."""

    id: str
    title: str
    lead: str
    blocks: list[Any] = field(default_factory=list)
    missing: str = ""
