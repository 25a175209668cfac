"""The Debian packages that the evaluation corpus is made of, fetched and unpacked.

Needs Debian 12 with `apt-get`, `dpkg-deb` and its package lists (`apt-get update`). What is fetched is the release's
own version; the corpus's manifest records it.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from arriero.errors import InputError


@dataclass(frozen=True)
class Site:
    """HTML pages of a package as a web site: the files below `root`, served at `https://host/prefix`."""

    package: str
    root: str
    host: str
    prefix: str
    licence: str
    language: str = "en"  # of its pages, unless the first folder below the root names it


SHARE, DOC = "usr/share", "usr/share/doc"
HELP = {"en-US": "en", "de": "de", "es": "es", "fr": "fr", "it": "it", "ru": "ru"}
SITES = (
    Site("python3.11-doc", f"{DOC}/python3.11/html", "docs.python.example", "3", "PSF-2.0"),
    Site(
        "cppreference-doc-en-html", f"{SHARE}/cppreference/doc/html/en", "en.cppreference.example", "w",
        "CC-BY-SA-3.0 or GFDL-1.3",
    ),
    Site("apache2-doc", f"{DOC}/apache2-doc/manual", "httpd.apache.example", "docs/2.4", "Apache-2.0"),
    *(
        Site(
            f"libreoffice-help-{code.lower()}", f"{SHARE}/libreoffice/help/{code}", "help.libreoffice.example",
            f"7.4/{code}", "MPL-2.0", language,
        )
        for code, language in HELP.items()
    ),
    Site("debian-handbook", f"{DOC}/debian-handbook/html", "www.handbook.example", "browse", "CC-BY-SA-3.0 or GPL-2+"),
    Site("installation-guide-amd64", f"{DOC}/installation-guide-amd64", "d-i.debian.example", "manual", "GPL-2+"),
    *(
        Site(
            f"debian-reference-{code}", f"{SHARE}/debian-reference", "www.debian.example", f"doc/reference/{code}",
            "GPL-2+", code,
        )
        for code in ("en", "de", "es", "fr", "it")
    ),
    Site("debian-policy", f"{DOC}/debian-policy", "www.debian.example", "doc/debian-policy", "GPL-2+"),
    Site(
        "developers-reference", f"{DOC}/developers-reference", "www.debian.example", "doc/developers-reference",
        "GPL-2+",
    ),
    Site("anarchism", f"{DOC}/anarchism/html", "anarchistfaq.example", "afaq", "GPL-2+ and GFDL-1.3"),
    Site("postgresql-doc-15", f"{DOC}/postgresql-doc-15/html", "www.postgresql.example", "docs/15", "PostgreSQL"),
    Site("git-doc", f"{DOC}/git-doc", "git-scm.example", "docs", "GPL-2.0"),
    Site("python-django-doc", f"{DOC}/python-django-doc/html", "docs.djangoproject.example", "en/3.2", "BSD-3-Clause"),
    Site("sqlite3-doc", f"{DOC}/sqlite3", "sqlite.example", "docs", "public domain"),
)  # fmt: skip


@dataclass(frozen=True)
class Dictionary:
    """A dictionary in dictd's format; `name` is that of its files."""

    package: str
    name: str
    licence: str


DICTIONARIES = (
    Dictionary("dict-gcide", "gcide", "GPL-3+"),
    Dictionary("dict-wn", "wn", "WordNet"),
    Dictionary("dict-foldoc", "foldoc", "GFDL-1.1+"),
    Dictionary("dict-jargon", "jargon", "public domain"),
    Dictionary("dict-devil", "devil", "public domain"),
    Dictionary("dict-elements", "elements", "public domain"),
)


@dataclass(frozen=True)
class Program:
    """Source code of a package: the files below `root` with these endings."""

    package: str
    root: str
    suffixes: tuple[str, ...]
    licence: str


PROGRAMS = (
    Program("libpython3.11-stdlib", "usr/lib/python3.11", (".py",), "PSF-2.0"),
    Program("perl-modules-5.36", f"{SHARE}/perl/5.36.0", (".pm", ".pl"), "GPL-1+ or Artistic"),
)


def fetch(cache: Path) -> dict[str, str]:
    """Downloads and unpacks what is not in `cache`; the version by package. Raises InputError where apt cannot."""
    versions = {}
    (cache / "deb").mkdir(parents=True, exist_ok=True)
    for package in sorted({part.package for table in (SITES, DICTIONARIES, PROGRAMS) for part in table}):
        if not (found := sorted((cache / "deb").glob(f"{package}_*.deb"))):
            _run(["apt-get", "download", package], cache / "deb")
            found = sorted((cache / "deb").glob(f"{package}_*.deb"))
        tree = cache / "tree" / package
        if not tree.is_dir():
            half = tree.with_name(f"{package}.part")
            half.mkdir(parents=True, exist_ok=True)
            _run(["dpkg-deb", "-x", str(found[0]), str(half)], cache)
            half.rename(tree)
        versions[package] = found[0].name.split("_")[1].replace("%3a", ":")
    return versions


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or error
        raise InputError(
            f"`{' '.join(command)}` failed: {said}. The evaluation corpus is made of Debian's packages: run this on "
            "Debian 12, after `apt-get update`, or give the folder of an earlier run with --cache."
        ) from None
