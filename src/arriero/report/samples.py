"""The page of `data inspect`: documents of a corpus, kept and dropped, that can be filtered; one file by itself.

A document is written by anybody, so the page runs and loads nothing but its own style and script, which the browser
knows by their digests; texts are escaped and nothing in them is a link.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup

from arriero.data.reasons import Reasons
from arriero.data.samples import Sample
from arriero.data.shown import Piece, Shown
from arriero.data.sieve import EXCERPT_CHARACTERS

CHARACTERS = 20_000  # of a text
UNCUT = EXCERPT_CHARACTERS - 100  # the end of an excerpt may be half of a telephone number, which is not recognised


@dataclass(frozen=True)
class _Card:
    """A document as the template lays it out: all of it is fit to be shown."""

    id: str
    kept: bool
    split: str
    step: str
    reason: str
    words: str
    source: str
    facts: list[tuple[str, str]]
    text: list[Piece]


def samples_page(title: str, samples: Sequence[Sample], reasons: Reasons, shown: Shown) -> str:
    """The page as HTML; the same samples give the same text."""
    cards = [_card(sample, reasons, shown) for sample in samples]
    kept = sum(card.kept for card in cards)
    css = _file("style.css") + _file("samples.css")
    script = _file("samples.js")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(_file("samples.html")).render(
        title=title,
        subtitle=f"{kept} kept and {len(cards) - kept} dropped documents, drawn at random",
        cards=cards,
        filters=[
            ("end", "End", ["kept", "dropped"]),
            ("step", "Dropped by", _options(card.step for card in cards)),
            ("reason", "Reason", _options(card.reason for card in cards)),
            ("source", "Source", _options(card.source for card in cards)),
        ],
        personal=shown.personal,
        css=Markup(css),
        script=Markup(script),
        policy=f"default-src 'none'; style-src {_digest(css)}; script-src {_digest(script)}; base-uri 'none'; "
        "form-action 'none'",
    )


def _file(name: str) -> str:
    return (resources.files("arriero.report") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _options(values: Iterable[str]) -> list[str]:
    return sorted({*values} - {""})


def _card(sample: Sample, reasons: Reasons, shown: Shown) -> _Card:
    line, cut = shown.line, sample.step and len(sample.text) >= EXCERPT_CHARACTERS
    facts = [
        ("URL", line(sample.url)),
        ("Read from", line(sample.origin)),
        ("Language", line(sample.language)),
        ("Changed by", line(sample.edits)),
        ("Detail", (shown.id if sample.names_kept else line)(sample.detail)),
    ]
    return _Card(
        shown.id(sample.id),
        not sample.step,
        sample.split,
        line(sample.step),
        line(sample.reason),
        line(reasons.in_words(sample.reason, sample.source)) if sample.step else "",
        line(sample.source),
        [(name, text) for name, text in facts if text],
        shown.beginning(sample.text, UNCUT if cut else CHARACTERS),
    )
