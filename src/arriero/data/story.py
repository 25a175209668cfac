"""The story of one document: where it was read, what each step did to it, and how it ended."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_json
from arriero.corpus import DROPPED
from arriero.data.places import MOST, FileKey, Found, Group, Place, find, groups_of
from arriero.data.reasons import Reasons
from arriero.data.samples import Sample
from arriero.data.shown import Piece, Shown
from arriero.data.sources import SOURCES_FILE
from arriero.errors import InputError

BEGINNING = 300  # characters of the text
ENDS = {"train": "kept for training", "heldout": "kept, held out", DROPPED: "dropped"}


@dataclass(frozen=True)
class Story:
    """A title, (label, text) rows, and how the text begins. All is fit to be shown."""

    title: str
    rows: list[tuple[str, str]]
    beginning: list[Piece] = field(default_factory=list)


@dataclass(frozen=True)
class _Corpus:
    """What the stories of one corpus draw on."""

    steps: list[str]
    sources: Mapping[str, Mapping[str, Any]]
    mixture: Mapping[str, Mapping[str, Any]]
    reasons: Reasons
    shown: Shown


def stories(corpus: Path, name: str, reasons: Reasons, shown: Shown) -> list[Story]:
    """The stories of the documents that `name` means, or of the file. Raises InputError if it is nothing, or not one.

    `name` is an id, the start of one, a URL, an origin, or a file that a source has or that was quarantined.
    """
    found = find(corpus, name)
    places, more = found.exact, found.exact_count - len(found.exact)
    if not places and found.by_prefix:
        places, more = found.by_prefix, found.prefix_count - len(found.by_prefix)
        if len({place.id for place in places}) > 1:
            raise InputError(_ambiguous(name, found, shown))
    if not places and not found.files and not found.quarantined:
        raise InputError(_unknown(name, found, shown))
    known = _Corpus(
        [step["step"] for step in read_json(corpus / "funnel.json")["steps"]],
        _by_name(read_json(corpus / SOURCES_FILE)),
        _by_name(read_json(corpus / "mixture.json")["sources"]),
        reasons,
        shown,
    )
    if not places:
        return _of_files(found, known)
    samples = [Sample.of(place.file.split, next(iter(place.file.rows([place.row])))) for place in places]
    keepers = [sample.detail if sample.names_kept else sample.id for sample in samples]
    groups = groups_of(corpus, set(filter(None, keepers)))
    told = [
        _story(place, sample, groups.get(keeper, Group()), known)
        for place, sample, keeper in zip(places, samples, keepers, strict=True)
    ]
    return [*told, Story(f"and {more} more", [])] if more else told


def _by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def _ambiguous(name: str, found: Found, shown: Shown) -> str:
    listed = "; ".join(f"{shown.id(place.id)} ({shown.line(place.url)})" for place in found.by_prefix)
    more = ", and more" if found.prefix_count > len(found.by_prefix) else ""
    return f"{found.prefix_count} documents have an id that starts with {name!r}: {listed}{more}. Give more of the id."


def _unknown(name: str, found: Found, shown: Shown) -> str:
    near = "; ".join(shown.line(text) for text in found.near)
    hint = f"Near: {near}." if near else "`arriero data inspect` shows some."
    return f"The corpus knows no document with the id or URL {name!r}, and no file of this name. {hint}"


def _story(place: Place, sample: Sample, group: Group, known: _Corpus) -> Story:
    line = known.shown.line
    file, _, at = sample.origin.rpartition(":")
    rows = [
        ("url", line(sample.url)),
        ("source", line(sample.source) + _licence(known.sources.get(sample.source, {}))),
        ("read from", f"{line(file)}, at {line(at)}" if file else ""),
        ("language", line(sample.language)),
        *(_dropped(sample, group, known) if place.file.split == DROPPED else _kept(place, sample, group, known)),
    ]
    return Story(
        f"{known.shown.id(place.id)}: {ENDS[place.file.split]}",
        [(label, text) for label, text in rows if text],
        known.shown.beginning(sample.text, BEGINNING),
    )


def _licence(source: Mapping[str, Any]) -> str:
    licences: Mapping[str, int] = source.get("licences") or {}
    kind = f" ({source['kind']})" if "kind" in source else ""
    if len(licences) > 1:
        return f"{kind}, under one of: " + ", ".join(f"{name} ({n:,} documents)" for name, n in licences.items())
    licence = next(iter(licences), source.get("licence", ""))
    return f"{kind}, licence: {licence}" if licence else kind


def _kept(place: Place, sample: Sample, group: Group, known: _Corpus) -> Iterator[tuple[str, str]]:
    edits: dict[str, list[str]] = {}
    for edit in filter(None, sample.edits.split("; ")):
        step, _, what = edit.partition(" ")
        edits.setdefault(step, []).append(what)
    for step in dict.fromkeys([*known.steps, *edits]):
        yield step, known.shown.line("; ".join(edits.get(step, ["left it as it was"])))
    yield "lies in", f"{place.file.name}, row {place.row}"
    if place.file.split == "heldout":
        yield "is read", "never in training: its module is held out"
    elif sample.source in known.mixture:
        epochs = known.mixture[sample.source]["epochs"]
        often = "once" if epochs == 1 else f"{epochs:.4g} times"
        yield "is read", f"{often} in one pass over the mixture, as all of its source"
    yield from _duplicates(group, known, "in place of")


def _dropped(sample: Sample, group: Group, known: _Corpus) -> Iterator[tuple[str, str]]:
    line = known.shown.line
    place = known.steps.index(sample.step) if sample.step in known.steps else 0
    yield "passed", ", ".join(known.steps[:place]) or "nothing: this was the first step"
    yield "dropped by", f"{line(sample.step)}: {line(sample.reason)}"
    yield "why", line(known.reasons.in_words(sample.reason, sample.source))
    if not sample.names_kept:
        yield "detail", line(sample.detail)
        return
    kept = group.kept
    if kept is not None:
        yield "kept instead", f"{known.shown.id(kept.id)}, {line(kept.url)} ({kept.file.name}, row {kept.row})"
    elif sample.detail:
        yield "kept instead", f"{known.shown.id(sample.detail)}, which is not in this corpus"
    yield from _duplicates(group, known, "as were", sample.id)


def _duplicates(group: Group, known: _Corpus, label: str, but: str = "") -> Iterator[tuple[str, str]]:
    """The documents that were dropped for the one that was kept."""
    others = [(step, place) for step, place in group.dropped if place.id != but]
    total = group.counts.total() - (1 if but else 0)
    for step, place in others:
        yield label, f"{known.shown.id(place.id)}, {known.shown.line(place.url)} ({step})"
        label = ""
    if total > len(others) and others:
        yield "", f"and {total - len(others)} more"


def _of_files(found: Found, known: _Corpus) -> list[Story]:
    """One story a file: what became of its documents, and what of it could not be read."""
    line = known.shown.line
    bad: dict[FileKey, list[dict[str, Any]]] = {key: [] for key in found.files}
    for row in found.quarantined:
        alike = [key for key in found.files if key.name == row["file"] and row.get("source", key.source) == key.source]
        bad.setdefault(alike[0] if alike else FileKey(row.get("source", ""), row["file"]), []).append(row)
    told = []
    for key, rows in bad.items():
        counts = found.files.get(key, Counter())
        ends = [
            ("documents", f"{count:,} {ENDS[split]}" + (f" by {line(step)}: {line(reason)}" if step else ""))
            for (split, step, reason), count in sorted(counts.items())
        ]
        places = [
            ("quarantined", f"at {row['offset']}: {line(row['reason'])}" + _detail(line(row.get("detail") or "")))
            for row in rows[:MOST]
        ]
        more = [("", f"and {len(rows) - MOST:,} more")] if len(rows) > MOST else []
        source = [("source", line(key.source) + _licence(known.sources.get(key.source, {})))] if key.source else []
        told.append(Story(f"file {line(key.name)}", [*source, *(ends or [("documents", "none")]), *places, *more]))
    return told


def _detail(text: str) -> str:
    return f" ({text})" if text else ""
