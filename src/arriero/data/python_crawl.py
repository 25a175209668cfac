"""data.python_crawl: real text that every machine with Python has, as a crawl of three sources.

*web*: a WARC of HTML pages, one site per package that this one requires (the descriptions in their metadata) and one
site of the standard library's modules (pydoc). *reference*: the language reference's topics and the library's
docstrings. *code*: the library's sources. No package is imported to be described. Stands in for the public mix of
section 2.1, which the paper does not list; `reference` is the most factual, which the mixture then up-samples.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Any

from arriero.artifacts import Inputs, Stage, StageContext
from arriero.config import config, setting
from arriero.data import package_pages, stdlib
from arriero.data.pydoc_process import PydocProcess
from arriero.data.python_docs import is_public, read_docs
from arriero.data.sources import (
    Document,
    SourceKind,
    heldout_modules,
    seeded_fraction,
    summarise,
    write_documents,
    write_sources,
)
from arriero.data.warc import WebPage, write_warc
from arriero.errors import InputError

LANGUAGE = "python-language"  # the unit of what belongs to no module; it is never held out
WEB_FILE, REFERENCE_FILE, CODE_FILE = "web.warc.gz", "reference.jsonl", "code.jsonl"
NEARLY_FULL = 0.9  # a source counts as full from this share of its cap on, so that few documents are made in vain
MB = 1_000_000


@config
class PythonCrawlConfig:
    """How much of each source to take. A source smaller than its cap is taken whole."""

    web_bytes: int = setting(32 * MB, "cap on the HTML of training pages", unit="bytes", gt=0)
    reference_bytes: int = setting(32 * MB, "cap on the reference text for training", unit="bytes", gt=0)
    code_bytes: int = setting(32 * MB, "cap on the source code for training", unit="bytes", gt=0)
    heldout_bytes: int = setting(2 * MB, "cap on the held-out text of each source", unit="bytes", gt=0)
    heldout_share: float = setting(0.035, "share of modules and packages held out", ge=0, lt=1)
    heldout_seed: int = setting(15, "which modules are held out")
    seed: int = setting(0, "which documents a cap leaves in")


@dataclass(frozen=True)
class Candidate:
    """Documents that are made together: a module, a file, or a whole site. `make` gives none if they do not exist."""

    name: str
    unit: str
    make: Callable[[], list[Document]]


def run(cfg: PythonCrawlConfig, _: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes the crawl. Raises InputError if this Python has no library as files, or a cap leaves a source empty."""
    files = stdlib.files()
    distributions = package_pages.required_distributions()
    names = {stdlib.unit(file.module) for file in files} | {stdlib.unit(module) for module in stdlib.PAGE_MODULES}
    names |= {package_pages.canonical(distribution.metadata["Name"]) for distribution in distributions}
    heldout = heldout_modules(names, cfg.heldout_seed, cfg.heldout_share)
    sources = []
    with PydocProcess() as pydoc:
        plans = (
            ("web", SourceKind.WEB, WEB_FILE, _web(distributions, pydoc), cfg.web_bytes),
            ("reference", SourceKind.REFERENCE, REFERENCE_FILE, _reference(files), cfg.reference_bytes),
            ("code", SourceKind.CODE, CODE_FILE, _code(files), cfg.code_bytes),
        )
        for name, kind, file, candidates, cap in plans:
            documents = take(list(candidates), set(heldout), cap, cfg.heldout_bytes, cfg.seed, context)
            if not documents:
                raise InputError(f"The source {name!r} is empty under a cap of {cap} bytes. Raise {name}_bytes.")
            if kind is SourceKind.WEB:
                write_warc(context.out / file, (WebPage(d.url, d.module, d.text, d.licence) for d in documents))
            else:
                write_documents(context.out / file, documents)
            sources.append(summarise(name, kind, documents, file, stdlib.python_version()))
    write_sources(context.out, sources, heldout)
    return {
        "python_version": stdlib.python_version(),
        "heldout_modules": len(heldout),
        "sources": {s.name: {"documents": s.documents, "bytes": s.bytes, "licences": s.licences} for s in sources},
    }


def take(
    candidates: list[Candidate], heldout: set[str], cap: int, heldout_cap: int, seed: int, context: StageContext
) -> list[Document]:
    """Documents in a seeded order until both sides of the split are full; what would pass a cap is left out."""
    ordered = sorted(candidates, key=lambda candidate: (seeded_fraction(seed, candidate.name), candidate.name))
    used, caps = {True: 0, False: 0}, {True: heldout_cap, False: cap}
    taken: list[Document] = []
    with context.progress(len(ordered), "documents") as bar:
        for candidate in ordered:
            context.check_stop()
            side = candidate.unit in heldout
            if used[side] < NEARLY_FULL * caps[side]:
                documents = candidate.make()
                size = sum(len(document.text.encode()) for document in documents)
                if used[side] + size <= caps[side]:
                    used[side] += size
                    taken += documents
            bar.advance()
    return taken


def _web(distributions: Iterable[Any], pydoc: PydocProcess) -> Iterator[Candidate]:
    for distribution in distributions:
        name = package_pages.canonical(distribution.metadata["Name"])
        yield Candidate(f"site/{name}", name, lambda d=distribution, n=name: _site(d, n))  # type: ignore[misc]
    for module in stdlib.PAGE_MODULES:
        yield Candidate(f"page/{module}", stdlib.unit(module), lambda m=module: _module_page(m, pydoc))  # type: ignore[misc]


def _site(distribution: Any, name: str) -> list[Document]:
    licence = package_pages.licence(distribution)
    pages = package_pages.package_pages(distribution)
    return [Document(page.url, "web", name, page.html, licence) for page in pages]


def _module_page(module: str, pydoc: PydocProcess) -> list[Document]:
    body = pydoc.page(module)
    if body is None:
        return []
    site = "https://python.example/library/"
    links = {site: "Library", f"{site}{module}.html": module, "https://python.example/": "Python"}
    html = package_pages.frame(module, body, links, "The Python standard library")
    return [Document(f"{site}{module}.html", "web", stdlib.unit(module), html, stdlib.LICENCE)]


def _reference(files: Iterable[stdlib.SourceFile]) -> Iterator[Candidate]:
    for topic, text in sorted(topics.items()):
        url = f"https://python.example/reference/{topic}"
        document = Document(url, "reference", LANGUAGE, str(text).strip() + "\n", stdlib.LICENCE)
        yield Candidate(f"topic/{topic}", LANGUAGE, lambda d=document: [d])  # type: ignore[misc]
    for file in files:
        if is_public(file.module):
            yield Candidate(f"docs/{file.relative}", stdlib.unit(file.module), lambda f=file: _docs(f))  # type: ignore[misc]


def _docs(file: stdlib.SourceFile) -> list[Document]:
    docs = read_docs(file)
    if not docs.doc and not docs.items:
        return []
    url = f"https://python.example/docstrings/{file.relative}"
    return [Document(url, "reference", stdlib.unit(file.module), docs.text, stdlib.LICENCE)]


def _code(files: Iterable[stdlib.SourceFile]) -> Iterator[Candidate]:
    for file in files:
        yield Candidate(f"code/{file.relative}", stdlib.unit(file.module), lambda f=file: _source(f))  # type: ignore[misc]


def _source(file: stdlib.SourceFile) -> list[Document]:
    text = file.read()
    if not text.strip():
        return []
    url = f"https://python.example/source/{file.relative}"
    return [Document(url, "code", stdlib.unit(file.module), text, stdlib.LICENCE)]


def outside(_: PythonCrawlConfig) -> dict[str, str]:
    """Digests of what the crawl is made of: the Python version, its library's files, the packages' metadata."""
    digests = {"python": stdlib.python_version(), "standard_library": stdlib.digest()}
    for distribution in package_pages.required_distributions():
        name = package_pages.canonical(distribution.metadata["Name"])
        digests[f"package/{name}"] = package_pages.metadata_digest(distribution)
    return digests


STAGE = Stage("data.python_crawl", PythonCrawlConfig, (), "crawl", run, outside)
