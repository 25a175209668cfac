"""data.text_files: a folder of a user's own text files as a crawl, one document per file: prose, and code apart."""

import hashlib
import os
from pathlib import Path
from typing import Any

from arriero.artifacts import Inputs, Stage, StageContext
from arriero.artifacts.files import file_digest
from arriero.config import InputPath, config, setting
from arriero.data.sources import (
    Document,
    SourceKind,
    heldout_modules,
    seeded_fraction,
    summarise,
    write_documents,
    write_sources,
)
from arriero.errors import InputError

FILE = "text.jsonl"
# No language identification for these: a program is in no natural language.
CODE_SUFFIXES = (".c", ".cpp", ".go", ".h", ".java", ".js", ".py", ".rs", ".sh", ".sql", ".ts")
# A folder that holds one of these is not the user's text: a virtual environment, the runs with their reports.
FOREIGN = ("pyvenv.cfg", "store/objects")


@config
class TextFilesConfig:
    """The folder is read with its subfolders; hidden files, virtual environments and runs folders are left out."""

    folder: InputPath = setting(..., "folder with the text files, in UTF-8")
    suffixes: list[str] = setting([".txt", ".md", ".rst", ".py"], "endings of the files to read")
    licence: str = setting("not stated", "licence of the texts, as the manifest and the model card state it")
    heldout_share: float = setting(
        0.05, "share of the files held out, at least one file; 0: none, for a recipe that measures nothing", ge=0, lt=1
    )
    seed: int = setting(0, "which files are held out")


def run(cfg: TextFilesConfig, _: Inputs, context: StageContext) -> dict[str, Any]:
    """Raises InputError if the folder is missing, a file is not UTF-8, or too few files hold text."""
    documents = read_folder(cfg)
    heldout = heldout_files(cfg, [document.module for document in documents])
    write_documents(context.out / FILE, documents)
    kinds = [kind for kind in (SourceKind.TEXT, SourceKind.CODE) if any(d.source == kind for d in documents)]
    sources = [summarise(kind, kind, [d for d in documents if d.source == kind], FILE, None) for kind in kinds]
    write_sources(context.out, sources, heldout)
    return {
        "documents": len(documents),
        "bytes": sum(source.bytes for source in sources),
        "heldout_documents": len(heldout),
        "licence": cfg.licence,
    }


def heldout_files(cfg: TextFilesConfig, names: list[str]) -> list[str]:
    """Which of the files are held out. Raises InputError if none would be left."""
    if cfg.heldout_share == 0:
        return []
    heldout = heldout_modules(names, cfg.seed, cfg.heldout_share)
    if not heldout:
        heldout = [min(names, key=lambda name: seeded_fraction(cfg.seed, name))]
    if len(heldout) == len(names):
        raise InputError(f"Every file of {cfg.folder} would be held out. Lower heldout_share, or add files.")
    return heldout


def text_paths(cfg: TextFilesConfig) -> list[Path]:
    """The files to read, in order of their path within the folder."""
    if not cfg.folder.is_dir():
        raise InputError(f"There is no folder {cfg.folder}. Give the folder that holds your text files.")
    found: list[Path] = []
    for root, folders, files in os.walk(cfg.folder):
        here = Path(root)
        folders[:] = [
            name for name in folders if name[0] != "." and not any((here / name / mark).exists() for mark in FOREIGN)
        ]
        found += [here / name for name in files if name[0] != "." and Path(name).suffix.lower() in cfg.suffixes]
    return sorted(filter(Path.is_file, found), key=lambda path: path.as_posix())


def read_folder(cfg: TextFilesConfig) -> list[Document]:
    """The documents in order of their path within the folder; files that hold only blanks are left out."""
    documents = []
    for path in text_paths(cfg):
        name = path.relative_to(cfg.folder).as_posix()
        data = path.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(
                f"{path}:{line}: byte {error.start} of the file is not UTF-8. Convert the file to UTF-8, or drop it."
            ) from None
        if text.strip():
            kind = SourceKind.CODE if path.suffix.lower() in CODE_SUFFIXES else SourceKind.TEXT
            documents.append(Document(f"file:{name}", kind, name, text, cfg.licence))
    if len(documents) < (1 if cfg.heldout_share == 0 else 2):
        needed = "one is needed" if cfg.heldout_share == 0 else "two are needed, since one is held out to measure with"
        raise InputError(
            f"{cfg.folder} holds {len(documents)} file(s) with text that end in {', '.join(cfg.suffixes)}; at least "
            f"{needed}. Add files, or split one."
        )
    return documents


def outside(cfg: TextFilesConfig) -> dict[str, str]:
    """The digest of the files that are read, in place of the whole folder's, which may hold the runs themselves."""
    total = hashlib.sha256()
    for path in text_paths(cfg):
        total.update(f"{path.relative_to(cfg.folder).as_posix()}\0{file_digest(path)}\n".encode())
    return {"folder": total.hexdigest()}


STAGE = Stage("data.text_files", TextFilesConfig, (), "crawl", run, outside)
