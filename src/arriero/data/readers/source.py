"""What a source is: where it lies, in which format, under which licence, how often it is passed over.

A folder of a crawl artifact (`data.sources`) gives the same description, so the readers know one kind of source.
"""

from enum import StrEnum
from pathlib import Path

from arriero.config import SourcePath, config, setting
from arriero.data.sources import SOURCES_FILE, Source, SourceKind
from arriero.data.text_files import CODE_SUFFIXES
from arriero.errors import InputError


class SourceFormat(StrEnum):
    """How a source's files are written. AUTO is by their endings (ENDINGS), if those agree on one format."""

    AUTO = "auto"
    WARC = "warc"  # response records: a crawl's pages
    WET = "wet"  # conversion records: their plain text
    HTML = "html"  # one page a file
    JSONL = "jsonl"  # one document a line; plain, gzip or zstd
    PARQUET = "parquet"
    TEXT = "text"  # one document a file: prose or code


# The files of a folder that belong to a format. `.warc.wet.gz` is a WET file, so WET stands before WARC.
ENDINGS = {
    SourceFormat.WET: (".wet", ".wet.gz"),
    SourceFormat.WARC: (".warc", ".warc.gz"),
    SourceFormat.HTML: (".html", ".htm", ".xhtml"),
    SourceFormat.JSONL: (".jsonl", ".jsonl.gz", ".jsonl.zst"),
    SourceFormat.PARQUET: (".parquet",),
    SourceFormat.TEXT: (".txt", ".md", ".rst"),
}


@config
class SourceConfig:
    """One source. A document's `module`, the unit that is held out whole, is the one that it states itself (the field
    `module` of its row, the header X-Arriero-Module of its WARC record); else the registrable domain of its URL; else,
    where a file is a document, the file; else the document alone.
    """

    name: str = setting(..., "name of the source, in the mixture and the corpus", pattern=r"^[A-Za-z0-9][\w.-]*$")
    path: SourcePath = setting(
        ...,
        "a file, a folder (with its subfolders; hidden files and virtual environments are left out) or a pattern of "
        "*, ? and **; on this machine, or s3://bucket/..., gs://bucket/..., hf://datasets/owner/name/...",
        min_length=1,
    )
    kind: SourceKind = setting(..., "what it is in the mixture and to the rules: web, reference, code or text")
    format: SourceFormat = setting(
        SourceFormat.AUTO,
        "warc, wet, html, jsonl, parquet or text; auto: by the files' endings, an error where they do not agree",
    )
    licence: str = setting(..., "licence of the texts, as the manifest and the model card state it", min_length=1)
    epochs: float | None = setting(
        None, "passes over the source in one pass over the mixture; null: by its kind", unit="epochs", gt=0
    )
    suffixes: list[str] = setting([], "endings of the files to read from a folder; empty: those of the format")
    text_field: str = setting("text", "field of a JSONL row, column of a Parquet file, that holds the text")
    html: bool = setting(False, "the text field of its rows holds HTML pages (WARC and HTML files always do)")
    id_field: str = setting("id", "field or column with the document's id; where missing, the id comes from the place")
    url_field: str = setting("url", "field or column with the document's URL; it may be missing")
    base_url: str = setting("", "URL of an HTML or text folder's root; empty: documents are named file:path")
    rows_of: list[str] = setting(
        [], "sources that share these JSONL files: a row's field `source` says whose it is; empty: all rows are its own"
    )

    def holds_html(self, format: SourceFormat) -> bool:
        """Whether its texts are pages, whose main text is to be extracted."""
        return self.html or format in (SourceFormat.WARC, SourceFormat.HTML)

    def endings(self, format: SourceFormat) -> tuple[str, ...]:
        """The endings of the files to read from a folder."""
        if self.suffixes:
            return tuple(suffix.lower() for suffix in self.suffixes)
        if format is SourceFormat.TEXT and self.kind is SourceKind.CODE:
            return CODE_SUFFIXES
        return ENDINGS[format]


def crawl_sources(folder: Path, sources: list[Source]) -> list[SourceConfig]:
    """The sources of a crawl artifact as the readers know them.

    Raises InputError if a file is missing, or a WARC is not of one source alone.
    """
    described = []
    for source in sources:
        path = folder / source.file
        sharing = sorted(other.name for other in sources if other.file == source.file)
        if not path.is_file():
            raise InputError(f"There is no file {path}, though {SOURCES_FILE} names it. Make the crawl anew.")
        is_warc = source.file.endswith(ENDINGS[SourceFormat.WARC])
        if is_warc and len(sharing) != 1:
            names = ", ".join(sharing)
            raise InputError(f"{path}: {SOURCES_FILE} must list exactly one source for a WARC, not {names}.")
        described.append(
            SourceConfig(
                name=source.name,
                path=str(path),
                kind=source.kind,
                format=SourceFormat.WARC if is_warc else SourceFormat.JSONL,
                licence=", ".join(source.licences) or "not stated",
                rows_of=[] if is_warc else sharing,
            )
        )
    return described
