"""data.sources: sources that lie elsewhere, as a crawl. Nothing is copied: the crawl lists the files and their digests.

The paper names none of its sources (section 2.1); here each declares its licence, kind and epochs.
"""

import hashlib
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from arriero.artifacts import Inputs, Stage, StageContext
from arriero.artifacts.files import file_digest, read_json, write_json
from arriero.config import config, resolved, setting
from arriero.data.heldout import Heldout
from arriero.data.readers.files import SourceFile, is_remote, list_files
from arriero.data.readers.source import SourceConfig, SourceFormat, crawl_sources
from arriero.data.sources import read_heldout, read_sources
from arriero.errors import ConfigError, InputError

DECLARED_FILE = "declared.json"
MOST_LIST_BYTES = 1 << 30  # of the list of files


@config
class DeclaredConfig:
    """Where the text lies, and how much of it is held out."""

    sources: list[SourceConfig] = setting(..., "the sources, each with name, path, kind and licence", min_length=1)
    heldout_share: float = setting(
        0.01, "share of each source's modules (sites, files, documents) held out; 0: none", ge=0, lt=1
    )
    heldout_seed: int = setting(0, "which modules are held out")

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"`sources` names {twice[0]!r} twice. Each source needs a name of its own.")


@dataclass(frozen=True)
class CrawlSource:
    """A source as data.build reads it. `licences` counts documents; empty: all are under `config.licence`.

    `digests` are the files' SHA-256 where they are known, which is so of those that lie outside on this machine.
    """

    config: SourceConfig
    files: tuple[SourceFile, ...]
    digests: tuple[str | None, ...]
    heldout: Heldout
    licences: dict[str, int]
    python_version: str | None = None


def declare(cfg: DeclaredConfig, _: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes declared.json. Raises InputError if a source has no file or its format is not clear."""
    rows: list[dict[str, Any]] = []
    for source in cfg.sources:
        files = list_files(source)
        with context.progress(len(files), "files") as bar:
            listed = []
            for file in files:
                context.check_stop()
                listed.append(asdict(file) | {"sha256": _digest(file)})
                bar.advance()
        rows.append({"source": resolved(source), "files": listed})
    heldout = {"share": cfg.heldout_share, "seed": cfg.heldout_seed}
    write_json(context.out / DECLARED_FILE, {"sources": rows, "heldout": heldout})
    return {
        row["source"]["name"]: {"files": len(row["files"]), "bytes": sum(file["bytes"] for file in row["files"])}
        for row in rows
    }


def _digest(file: SourceFile) -> str | None:
    """SHA-256 of a file on this machine. Of what lies in an object store only name and size are known beforehand."""
    if is_remote(file.uri) or not os.path.isfile(file.uri):
        return None
    about = os.stat(file.uri)
    return _digest_of(file.uri, about.st_size, about.st_mtime_ns)


@cache
def _digest_of(path: str, size: int, changed: int) -> str:  # noqa: ARG001 - they say whether it is the same file still
    """Read once, for the stage's id and for its list."""
    return file_digest(Path(path))


def outside(cfg: DeclaredConfig) -> dict[str, str]:
    """One digest a source: of its files' names, sizes and, on this machine, contents."""
    found = {}
    for source in cfg.sources:
        total = hashlib.sha256()
        for file in list_files(source):
            total.update(f"{file.name}\0{file.bytes}\0{_digest(file)}\n".encode())
        found[f"source/{source.name}"] = total.hexdigest()
    return found


def open_crawl(folder: Path) -> list[CrawlSource]:
    """The sources of a crawl artifact: those that it lists, or those whose files it holds.

    Raises InputError if it is no crawl, or a file is gone or has another size.
    """
    if (folder / DECLARED_FILE).is_file():
        return _declared(folder)
    kept, heldout = read_sources(folder), Heldout(frozenset(read_heldout(folder)))
    sources = []
    for source, described in zip(kept, crawl_sources(folder, kept), strict=True):
        files = tuple(list_files(described))
        unknown = (None,) * len(files)
        sources.append(CrawlSource(described, files, unknown, heldout, source.licences, source.python_version))
    return sources


def _declared(folder: Path) -> list[CrawlSource]:
    found = read_json(folder / DECLARED_FILE, most_bytes=MOST_LIST_BYTES)
    sources = []
    for row in found["sources"]:
        described = TypeAdapter(SourceConfig).validate_python(row["source"])
        files = tuple(
            SourceFile(file["uri"], file["name"], file["bytes"], SourceFormat(file["format"])) for file in row["files"]
        )
        for file in files:
            if not is_remote(file.uri) and (size := _size(file.uri)) != file.bytes:
                raise InputError(
                    f"{file.uri} has {size} bytes, and had {file.bytes} when the source {described.name!r} was "
                    "declared. Run data.sources again."
                )
        digests = tuple(file["sha256"] for file in row["files"])
        sources.append(CrawlSource(described, files, digests, Heldout(frozenset(), **found["heldout"]), {}))
    return sources


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # it could not be read then either, and will be quarantined
        return 0


STAGE = Stage("data.sources", DeclaredConfig, (), "crawl", declare, outside)
