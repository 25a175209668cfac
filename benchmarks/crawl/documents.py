"""The real documents of the evaluation corpus: web pages, dictionary entries and programs, from unpacked packages."""

import gzip
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from crawl.packages import DICTIONARIES, PROGRAMS, SITES, Dictionary, Program, Site

HTML = re.compile(r"\.x?html?$")
DECLARED = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.IGNORECASE)
# Folders and endings of pages in other languages than their site's: /de/, /pt-br/, .de.html
LANGUAGE = re.compile(r"^([a-z]{2})(?:[-_][A-Za-z]{2,4})?/|\.([a-z]{2})\.html$")
LEAST_ENTRY = 300  # bytes of a dictionary's entry; shorter ones are mostly references to another


@dataclass(frozen=True)
class Page:
    """A document: HTML for the web, plain text else. `package` is where it comes from, empty for what is made up."""

    url: str
    text: str
    package: str
    language: str

    @property
    def host(self) -> str:
        return self.url.split("/")[2]


def pages(tree: Path, site: Site) -> Iterator[Page]:
    """The site's pages in order of their path. They are read as their bytes declare, and stored as UTF-8."""
    root = tree / site.package / site.root
    for path in sorted(root.rglob("*"), key=lambda path: path.as_posix()):
        if HTML.search(path.name) and path.is_file() and not path.is_symlink():
            name, data = path.relative_to(root).as_posix(), path.read_bytes()
            declared = DECLARED.search(data[:2048])
            encoding = declared[1].decode() if declared else detect_encoding(data) or "utf-8"
            stated = LANGUAGE.search(name)
            language = next(filter(None, stated.groups())) if stated else site.language
            url = f"https://{site.host}/{site.prefix}/{quote(name)}"
            yield Page(url, bytes_to_str(data, encoding).replace("\0", ""), site.package, language)


DIGITS = {
    digit: value for value, digit in enumerate(f"{string.ascii_uppercase}{string.ascii_lowercase}{string.digits}+/")
}


def _number(text: str) -> int:
    """dictd's numbers: base 64, the highest digit first."""
    value = 0
    for digit in text:
        value = 64 * value + DIGITS[digit]
    return value


def entries(tree: Path, dictionary: Dictionary) -> Iterator[Page]:
    """The dictionary's entries in its order, each under the first of its headwords."""
    base = tree / dictionary.package / "usr/share/dictd" / dictionary.name
    data = gzip.decompress(base.with_suffix(".dict.dz").read_bytes())  # dictzip is gzip with an index
    first: dict[tuple[int, int], str] = {}
    for line in base.with_suffix(".index").read_text("utf-8").splitlines():
        word, start, size = line.split("\t")[:3]
        if not word.startswith("00"):  # notes on the dictionary itself
            first.setdefault((_number(start), _number(size)), word)
    for (start, size), word in sorted(first.items()):
        text = data[start : start + size].decode("utf-8", "replace").strip()
        if size >= LEAST_ENTRY:
            yield Page(
                f"https://dict.example/{dictionary.name}/{quote(word)}?at={start}", text, dictionary.package, "en"
            )


def programs(tree: Path, program: Program) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of each source file, in order."""
    root = tree / program.package / program.root
    for path in sorted(root.rglob("*"), key=lambda path: path.as_posix()):
        if path.suffix in program.suffixes and path.is_file() and not path.is_symlink():
            yield f"{program.package}/{path.relative_to(root).as_posix()}", path.read_bytes()


def all_pages(tree: Path) -> list[Page]:
    found = [page for site in SITES for page in pages(tree, site)]
    assert len({page.url for page in found}) == len(found)
    return found


def all_entries(tree: Path) -> list[Page]:
    return [entry for dictionary in DICTIONARIES for entry in entries(tree, dictionary)]


def all_programs(tree: Path) -> list[tuple[str, bytes]]:
    return [file for program in PROGRAMS for file in programs(tree, program)]
