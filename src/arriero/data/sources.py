"""Sources of a crawl: their record, the held-out rule, and the files that every crawl has.

A crawl's folder holds `web.warc.gz` and/or JSONL files of documents, `sources.json` (one record per source, with its
licences) and `heldout_modules.json` (sorted names). A document's `module` is its held-out unit: a top-level module,
a package's name, a user's file. It is held out exactly if its module is in `heldout_modules.json`, so that one unit
is never on both sides of the split, whatever source speaks of it.
The paper does not state how it holds text out; section 2.1 says only that factual sources are up-sampled.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_json, write_json, write_jsonl
from arriero.errors import InputError

SOURCES_FILE = "sources.json"
HELDOUT_FILE = "heldout_modules.json"


class SourceKind(StrEnum):
    """What a source holds; the mixture weights sources by name, the extraction step goes by kind."""

    WEB = "web"  # HTML pages in a WARC
    REFERENCE = "reference"  # factual prose
    CODE = "code"
    TEXT = "text"  # a user's own files, other than programs


@dataclass(frozen=True)
class Document:
    """One document of a JSONL source. `module` is its held-out unit."""

    url: str
    source: str
    module: str
    text: str
    licence: str

    @property
    def id(self) -> str:
        return document_id(self.url, self.text)

    def to_json(self) -> dict[str, str]:
        return {"id": self.id, "url": self.url, "source": self.source, "module": self.module, "text": self.text}


@dataclass(frozen=True)
class Source:
    """One source of a crawl. `licences` counts documents by licence; `bytes` is of text (of HTML for the web)."""

    name: str
    kind: SourceKind
    file: str
    licences: dict[str, int]
    documents: int
    bytes: int
    python_version: str | None = None


def document_id(url: str, text: str) -> str:
    """16 hex digits of the content and where it came from."""
    return hashlib.sha256(f"{url}\0{text}".encode()).hexdigest()[:16]


def seeded_fraction(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on nothing but `seed` and `name`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big") / 2**56


def heldout_modules(names: Iterable[str], seed: int, share: float) -> list[str]:
    """The names that are held out, sorted: each with probability `share`, whatever other names there are."""
    return sorted({name for name in names if seeded_fraction(seed, name) < share})


def summarise(name: str, kind: SourceKind, documents: Iterable[Document], file: str, python: str | None) -> Source:
    """The record of a source that holds `documents`."""
    listed = list(documents)
    licences = Counter(document.licence for document in listed)
    size = sum(len(document.text.encode()) for document in listed)
    return Source(name, kind, file, dict(sorted(licences.items())), len(listed), size, python)


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Writes the rows sorted by URL, so that equal sources give equal bytes."""
    write_jsonl(path, (document.to_json() for document in sorted(documents, key=lambda d: d.url)))


def write_sources(folder: Path, sources: Iterable[Source], heldout: Iterable[str]) -> None:
    write_json(folder / SOURCES_FILE, [asdict(source) for source in sources])
    write_json(folder / HELDOUT_FILE, sorted(heldout))


def read_sources(folder: Path) -> list[Source]:
    """Raises InputError if the folder is not a crawl."""
    rows = read_json(folder / SOURCES_FILE)
    if not isinstance(rows, list):
        raise InputError(f"{folder / SOURCES_FILE} must hold a list of sources. Make the crawl anew.")
    return [_source(row, folder / SOURCES_FILE) for row in rows]


def _source(row: Mapping[str, Any], path: Path) -> Source:
    try:
        return Source(**{**row, "kind": SourceKind(row["kind"])})
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a source record ({error}). Make the crawl anew.") from None


def read_heldout(folder: Path) -> list[str]:
    """The names of the held-out modules. Raises InputError if the folder is not a crawl."""
    names = read_json(folder / HELDOUT_FILE)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{folder / HELDOUT_FILE} must hold a list of names. Make the crawl anew.")
    return names
