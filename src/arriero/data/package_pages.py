"""Sites made from the descriptions of installed packages, as their metadata holds them. No package is imported.

A package's site is `https://<package>.example/`: `.example` is reserved, so no page is laid in a real site's mouth.
`tld` knows no such suffix and gives None; the registrable domain is then the host's last two labels, one per package.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.utils import getaddresses
from html import escape
from importlib import metadata

from docutils.core import publish_parts
from markdown_it import MarkdownIt
from packaging.requirements import InvalidRequirement, Requirement

DISTRIBUTION = "arriero"
# Packages that only the CUDA builds of torch bring: with them the corpus would depend on the build.
ACCELERATOR = re.compile(r"nvidia-.*|cuda-.*|triton")
# What differs between the builds of one version: its local label ("+cpu") and what it requires.
BUILD = re.compile(r"(?m)^(Version: [^+\n]*)\+.*$|^Requires-Dist: .*\n")
PAGE_BYTES = 6_000  # a longer description becomes several pages, cut at its headings

# Descriptions are data, not programs: reST may neither read files nor pass raw output through.
SAFE_RST = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 5,
    "syntax_highlight": "none",
    "math_output": "LaTeX",
    "embed_stylesheet": False,
    "initial_header_level": 2,
    "doctitle_xform": False,
}


@dataclass(frozen=True)
class Page:
    """One HTML page of a crawl."""

    url: str
    html: str


def canonical(name: str) -> str:
    """A distribution's normalised name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required_distributions(root: str = DISTRIBUTION) -> list[metadata.Distribution]:
    """What `root` requires, directly or not, without extras, by name; all that is installed if `root` is not.

    So neither a package that only tests need nor those that only a CUDA build of torch brings change anything.
    """
    named = {canonical(d.metadata["Name"]): d for d in metadata.distributions() if d.metadata["Name"]}
    installed = {name: d for name, d in named.items() if not ACCELERATOR.fullmatch(name)}
    if canonical(root) not in installed:
        return [installed[name] for name in sorted(installed)]
    seen: set[tuple[str, str]] = set()
    waiting = [(canonical(root), "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen or name not in installed:
            continue
        seen.add((name, extra))
        for line in installed[name].requires or []:
            waiting += _wanted(line, extra)
    return [installed[name] for name in sorted({name for name, _ in seen} - {canonical(root)})]


def _wanted(line: str, extra: str) -> list[tuple[str, str]]:
    """The (distribution, extra) pairs that a requirement asks for on this machine."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return []
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
        return []
    return [(canonical(requirement.name), name) for name in ("", *sorted(requirement.extras))]


def metadata_digest(distribution: metadata.Distribution) -> str:
    """SHA-256 of what the metadata file says of the package, in whatever build: see BUILD."""
    return hashlib.sha256(BUILD.sub(r"\1", distribution.read_text("METADATA") or "").encode()).hexdigest()


def licence(distribution: metadata.Distribution) -> str:
    """The licence as the metadata states it, in a few words, or "not stated"."""
    fields: Message = distribution.metadata  # type: ignore[assignment]
    stated = fields.get("License-Expression") or fields.get("License") or ""
    if not stated.strip() or len(stated) > 80:  # some put the licence's whole text here
        classifiers = [str(line).split(" :: ") for line in fields.get_all("Classifier") or []]
        named = {parts[-1] for parts in classifiers if parts[0] == "License"} - {"OSI Approved"}
        stated = " AND ".join(sorted(named))
    return " ".join(stated.split()) or "not stated"


def package_pages(distribution: metadata.Distribution) -> list[Page]:
    """The site of a package: its description in one or more pages, and a page about its people and links."""
    fields: Message = distribution.metadata  # type: ignore[assignment]
    name = canonical(str(fields["Name"]))
    site = f"https://{name}.example/"
    body = render(_description(fields), str(fields.get("Description-Content-Type", "")))
    parts = list(_split(body))
    links = {site: "Home"} | {f"{site}docs/{number}": title for number, (title, _) in enumerate(parts[1:], 2)}
    links[f"{site}about"] = "About"
    foot = f"{name} &middot; licence: {escape(licence(distribution))} &middot; {_people(fields)}"
    pages = [
        Page(url, frame(f"{name}: {title}", content, links, foot))
        for url, (title, content) in zip(list(links)[:-1], parts, strict=True)
        if content.strip()
    ]
    return [*pages, Page(f"{site}about", frame(f"About {name}", _about(fields), links, foot))]


def _description(fields: Message) -> str:
    """The long description: the body of the metadata, or the older field of that name."""
    body = fields.get_payload()
    return str(body) if body else re.sub(r"(?m)^ {7}[ |]", "", str(fields.get("Description", "")))


def render(text: str, content_type: str) -> str:
    """HTML of a description in Markdown, plain text or reST, which is also what an unstated type means."""
    if "markdown" in content_type:
        return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    if "plain" in content_type:
        return f"<pre>{escape(text)}</pre>"
    return str(publish_parts(text, writer="html5", settings_overrides=SAFE_RST)["body"])


def _split(body: str) -> Iterator[tuple[str, str]]:
    """(title, HTML) of each page: the body cut before headings so that no page is much longer than PAGE_BYTES."""
    current = ""
    for piece in re.split(r"(?=<h[1-3][ >])", body):
        if len(current) > PAGE_BYTES / 4 and len(current) + len(piece) > PAGE_BYTES:
            yield _title(current), current
            current = ""
        current += piece
    yield _title(current), current


def _title(html: str) -> str:
    found = re.search(r"<h[1-3][^>]*>(.*?)</h[1-3]>", html, re.DOTALL)
    words = re.sub(r"<[^>]*>|&\w+;", " ", found.group(1)).split() if found else []
    return escape(" ".join(words[:8])) or "Overview"


def _people(fields: Message) -> str:
    """Authors and maintainers with their addresses, as links."""
    stated = [str(fields[key]) for key in ("Author-email", "Maintainer-email") if fields.get(key)]
    people = sorted({(name, address) for name, address in getaddresses(stated) if "@" in address})
    return ", ".join(
        f'{escape(name)} <a href="mailto:{escape(address)}">{escape(address)}</a>' for name, address in people
    ) or escape(str(fields.get("Author", "the authors")))


def _about(fields: Message) -> str:
    """Summary, people and links."""
    urls = [str(line).partition(",") for line in fields.get_all("Project-URL") or []]
    named = [(escape(label), escape(url.strip())) for label, _, url in urls]
    links = "".join(f'<li>{label}: <a href="{url}">{url}</a></li>' for label, url in named)
    version = str(fields.get("Version")).partition("+")[0]  # without the build's label
    return (
        f"<p>{escape(str(fields.get('Name')))} {escape(version)}: "
        f"{escape(' '.join(str(fields.get('Summary', '')).split()))}</p>"
        f"<p>It is maintained by {_people(fields)}.</p><ul>{links}</ul>"
    )


def frame(title: str, content: str, links: dict[str, str], foot: str) -> str:
    """A whole page: content within a site's navigation and footer. `title`, link texts and `foot` are HTML."""
    menu = "".join(f'<li><a href="{escape(url)}">{text}</a></li>' for url, text in links.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n<body>\n'
        f'<header><nav class="menu"><ul>{menu}</ul></nav></header>\n'
        f"<main><article><h1>{title}</h1>\n{content}\n</article></main>\n"
        f'<footer><p>{foot}</p><p><a href="#top">Back to top</a> &middot; Privacy &middot; Terms of use</p></footer>\n'
        f"</body></html>\n"
    )
