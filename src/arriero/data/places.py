"""Finds documents in a corpus by id, start of an id, URL or origin, and files by name; no text is read."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.artifacts.files import read_jsonl
from arriero.corpus import DROPPED
from arriero.data.reasons import DUPLICATES
from arriero.data.stored import StoredFile, stored_files

QUARANTINE_FILE = "quarantine.jsonl"
MOST = 10  # places that are remembered of those that fit; all are counted
MOST_NEAR = 5
NEAR_PREFIX = 4  # characters that a near id has in common with the one asked for


@dataclass(frozen=True)
class Place:
    """Where a document lies."""

    file: StoredFile
    row: int
    id: str
    url: str


@dataclass(frozen=True)
class FileKey:
    """A file that documents were read from; `source` is empty where it is not known."""

    source: str
    name: str


@dataclass
class Found:
    """What fits a name. `files` counts the documents of a file by (split, step, reason)."""

    exact: list[Place] = field(default_factory=list)
    exact_count: int = 0
    by_prefix: list[Place] = field(default_factory=list)
    prefix_count: int = 0
    files: dict[FileKey, Counter[tuple[str, str, str]]] = field(default_factory=dict)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    near: list[str] = field(default_factory=list)


def find(corpus: Path, name: str) -> Found:
    """Everything in the corpus that `name` may mean."""
    found = Found()
    for file in stored_files(corpus):
        why = ("step", "reason") if file.split == DROPPED else ()
        for first, table in file.batches(("id", "source", "url", "origin", *why)):
            _match(found, name, file, first, table)
    for row in quarantine_rows(corpus):
        if _is_file(row["file"], name):
            found.quarantined.append(row)
        elif name.lower() in row["file"].lower():
            _add_near(found, row["file"])
    return found


def _match(found: Found, name: str, file: StoredFile, first: int, table: pa.Table) -> None:
    id, url, origin = (table[column] for column in ("id", "url", "origin"))
    exact = _rows(pc.or_(pc.or_(pc.equal(id, name), pc.equal(url, name)), pc.equal(origin, name)))
    by_prefix = _rows(pc.starts_with(id, name))
    found.exact_count += len(exact)
    found.prefix_count += len(by_prefix)
    for rows, places in ((exact, found.exact), (by_prefix, found.by_prefix)):
        for row in rows[: MOST - len(places)].tolist():
            places.append(Place(file, first + row, id[row].as_py(), url[row].as_py()))
    of_file = _rows(pc.or_(pc.starts_with(origin, f"{name}:"), pc.match_substring(origin, f"/{name}:")))
    for values in table.take(of_file).to_pylist():
        if _is_file(read_from := values["origin"].rpartition(":")[0], name):
            counts = found.files.setdefault(FileKey(values["source"], read_from), Counter())
            counts[file.split, values.get("step", ""), values.get("reason", "")] += 1
    if len(found.near) < MOST_NEAR:
        page = name.rstrip("/").rpartition("/")[2] or name
        for row in _rows(pc.match_substring(url, page, ignore_case=True))[:MOST_NEAR].tolist():
            _add_near(found, url[row].as_py())
        if len(name) > NEAR_PREFIX:
            for row in _rows(pc.starts_with(id, name[:NEAR_PREFIX]))[:MOST_NEAR].tolist():
                _add_near(found, id[row].as_py())


def _add_near(found: Found, name: str) -> None:
    if len(found.near) < MOST_NEAR and name not in found.near:
        found.near.append(name)


def _is_file(file: str, name: str) -> bool:
    return file == name or file.endswith(f"/{name}")


def _rows(mask: Any) -> NDArray[np.int64]:
    return np.flatnonzero(np.asarray(mask, dtype=bool))


def quarantine_rows(corpus: Path) -> Iterator[dict[str, Any]]:
    """What could not be read; nothing if the corpus was built without a list of it."""
    path = corpus / QUARANTINE_FILE
    if path.is_file():
        yield from (row for _, row in read_jsonl(path))


@dataclass
class Group:
    """A document that was kept, and the duplicates that were dropped for it, counted by step."""

    kept: Place | None = None
    dropped: list[tuple[str, Place]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def groups_of(corpus: Path, ids: Collection[str]) -> dict[str, Group]:
    """The groups of duplicates whose kept documents have these ids."""
    groups = {id: Group() for id in ids}
    wanted = pa.array(sorted(ids), pa.string())
    for file in stored_files(corpus) if groups else []:
        dropped = file.split == DROPPED
        for first, table in file.batches(("id", "url", "step", "detail") if dropped else ("id", "url")):
            rows = _rows(pc.is_in(table["detail" if dropped else "id"], wanted))
            for row, values in zip(rows.tolist(), table.take(rows).to_pylist(), strict=True):
                place = Place(file, first + row, values["id"], values["url"])
                if not dropped:
                    groups[place.id].kept = place
                elif values["step"] in DUPLICATES:
                    group = groups[values["detail"]]
                    group.counts[values["step"]] += 1
                    if len(group.dropped) < MOST:
                        group.dropped.append((values["step"], place))
    return groups
