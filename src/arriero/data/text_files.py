"""data.text_files: a folder of a user's own text files as a crawl of one source, one document per file."""

from typing import Any

from arriero.artifacts import Inputs, Stage, StageContext
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


@config
class TextFilesConfig:
    """The folder is read with its subfolders; hidden files and folders are left out."""

    folder: InputPath = setting(..., "folder with the text files, in UTF-8")
    suffixes: list[str] = setting([".txt", ".md", ".rst", ".py"], "endings of the files to read")
    licence: str = setting("not stated", "licence of the texts, as the manifest and the model card state it")
    heldout_share: float = setting(0.05, "share of the files held out, at least one file", gt=0, lt=1)
    seed: int = setting(0, "which files are held out")


def run(cfg: TextFilesConfig, _: Inputs, context: StageContext) -> dict[str, Any]:
    """Raises InputError if the folder is missing, a file is not UTF-8, or fewer than two files hold text."""
    documents = read_folder(cfg)
    names = [document.module for document in documents]
    heldout = heldout_modules(names, cfg.seed, cfg.heldout_share)
    if not heldout:
        heldout = [min(names, key=lambda name: seeded_fraction(cfg.seed, name))]
    if len(heldout) == len(names):
        raise InputError(f"Every file of {cfg.folder} would be held out. Lower heldout_share, or add files.")
    write_documents(context.out / FILE, documents)
    source = summarise("text", SourceKind.TEXT, documents, FILE, None)
    write_sources(context.out, [source], heldout)
    counts = {"documents": source.documents, "bytes": source.bytes, "heldout_documents": len(heldout)}
    return {**counts, "licence": cfg.licence}


def read_folder(cfg: TextFilesConfig) -> list[Document]:
    """The documents in order of their path within the folder; files that hold only blanks are left out."""
    if not cfg.folder.is_dir():
        raise InputError(f"There is no folder {cfg.folder}. Give the folder that holds your text files.")
    documents = []
    for path in sorted(cfg.folder.rglob("*"), key=lambda path: path.as_posix()):
        relative = path.relative_to(cfg.folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or path.suffix.lower() not in cfg.suffixes or not path.is_file():
            continue
        data = path.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(
                f"{path}:{line}: byte {error.start} of the file is not UTF-8. Convert the file to UTF-8, or drop it."
            ) from None
        if text.strip():
            documents.append(Document(f"file:{relative.as_posix()}", "text", relative.as_posix(), text, cfg.licence))
    if len(documents) < 2:
        raise InputError(
            f"{cfg.folder} holds {len(documents)} file(s) with text that end in {', '.join(cfg.suffixes)}; at least "
            f"two are needed, since one is held out to measure the model. Add files, or split one."
        )
    return documents


STAGE = Stage("data.text_files", TextFilesConfig, (), "crawl", run)
