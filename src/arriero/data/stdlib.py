"""The running Python's standard library as files: which belong to the corpus, and the names they go by.

Nothing is imported here: files are listed and read as text.
"""

import hashlib
import platform
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arriero.errors import InputError

LICENCE = "PSF-2.0"

# fmt: off
# Tests and demos, other projects' code, tables of numbers, and files that hold the paths of the build.
EXCLUDED_FOLDERS = frozenset((
    "__pycache__", "__phello__", "dist-packages", "encodings", "ensurepip", "idlelib", "idle_test", "lib-dynload",
    "lib2to3", "pydoc_data", "site-packages", "test", "tests", "tkinter", "turtledemo", "_pyrepl",
))
EXCLUDED_FILES = frozenset(("__hello__.py", "antigravity.py", "this.py", "turtle.py"))

# The public name of what is written under a private one.
PUBLIC_NAMES = {
    "_collections_abc": "collections.abc",
    "_markupbase": "html.parser",
    "_py_abc": "abc",
    "_pydatetime": "datetime",
    "_pydecimal": "decimal",
    "_pyio": "io",
    "_pylong": "int",
    "_sitebuiltins": "site",
    "_strptime": "time",
    "_threading_local": "threading",
    "_weakrefset": "weakref",
    "posixpath": "os.path",
    "genericpath": "os.path",
    "ntpath": "os.path",
    "sre_compile": "re",
    "sre_constants": "re",
    "sre_parse": "re",
}

# Modules whose import has no effect outside of the process; only they are shown as pages.
PAGE_MODULES = (
    "abc", "argparse", "array", "ast", "asyncio", "atexit", "base64", "binascii", "bisect", "builtins", "bz2",
    "calendar", "cmath", "cmd", "code", "codecs", "codeop", "collections", "collections.abc", "colorsys",
    "compileall", "concurrent.futures", "configparser", "contextlib", "contextvars", "copy", "copyreg", "csv",
    "ctypes", "dataclasses", "datetime", "decimal", "difflib", "dis", "doctest", "email", "email.charset",
    "email.generator", "email.header", "email.headerregistry", "email.message", "email.mime.text", "email.parser",
    "email.policy", "email.utils", "enum", "errno", "faulthandler", "filecmp", "fileinput", "fnmatch", "fractions",
    "ftplib", "functools", "gc", "getopt", "getpass", "gettext", "glob", "graphlib", "gzip", "hashlib", "heapq",
    "hmac", "html", "html.entities", "html.parser", "http", "http.client", "http.cookiejar", "http.cookies",
    "http.server", "imaplib", "importlib", "importlib.abc", "importlib.metadata", "importlib.resources",
    "importlib.util", "inspect", "io", "ipaddress", "itertools", "json", "json.decoder", "json.encoder", "keyword",
    "linecache", "locale", "logging", "logging.config", "logging.handlers", "lzma", "mailbox", "marshal", "math",
    "mimetypes", "mmap", "modulefinder", "multiprocessing", "multiprocessing.pool", "multiprocessing.shared_memory",
    "netrc", "numbers", "operator", "optparse", "os", "os.path", "pathlib", "pdb", "pickle", "pickletools",
    "pkgutil", "platform", "plistlib", "poplib", "pprint", "profile", "pstats", "py_compile", "pyclbr", "queue",
    "quopri", "random", "re", "reprlib", "runpy", "sched", "secrets", "select", "selectors", "shelve", "shlex",
    "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "stat", "statistics", "string",
    "stringprep", "struct", "subprocess", "symtable", "sys", "sysconfig", "tabnanny", "tarfile", "tempfile",
    "textwrap", "threading", "time", "timeit", "token", "tokenize", "tomllib", "trace", "traceback", "tracemalloc",
    "types", "typing", "unicodedata", "unittest", "unittest.mock", "urllib.error", "urllib.parse", "urllib.request",
    "urllib.response", "urllib.robotparser", "uuid", "venv", "warnings", "wave", "weakref", "webbrowser", "wsgiref",
    "wsgiref.handlers", "wsgiref.headers", "wsgiref.simple_server", "wsgiref.util", "xml.dom.minidom",
    "xml.dom.pulldom", "xml.etree.ElementTree", "xml.sax", "xml.sax.handler", "xmlrpc.client", "xmlrpc.server",
    "zipapp", "zipfile", "zipimport", "zlib", "zoneinfo",
)
# fmt: on


@dataclass(frozen=True)
class SourceFile:
    """A file of the standard library and the dotted name that it is imported by."""

    path: Path
    relative: str
    module: str

    def read(self) -> str:
        """The text in the encoding that the file declares."""
        with tokenize.open(self.path) as file:
            return file.read()


def python_version() -> str:
    return platform.python_version()


def folder() -> Path:
    """Raises InputError if this Python keeps its library elsewhere than in a folder."""
    path = Path(sysconfig.get_path("stdlib"))
    if not (path / "shutil.py").is_file():
        raise InputError(
            f"The sources of Python's standard library are not in {path}. Use a Python that ships them as files, "
            f"as those of python.org, Debian, Homebrew, conda and uv do."
        )
    return path


def files() -> list[SourceFile]:
    """The library's modules in order of their path, without tests, demos, tables and build settings."""
    root = folder()
    return [
        SourceFile(path, path.relative_to(root).as_posix(), dotted_name(path.relative_to(root)))
        for path in sorted(_walk(root), key=lambda path: path.relative_to(root).as_posix())
    ]


def _walk(root: Path) -> Iterator[Path]:
    for path in root.iterdir():
        if path.is_dir():
            if path.name not in EXCLUDED_FOLDERS and path.name.isidentifier():
                yield from _walk(path)
        elif path.suffix == ".py" and path.name not in EXCLUDED_FILES and not path.name.startswith("_sysconfigdata"):
            yield path


def dotted_name(relative: Path) -> str:
    """`email/message.py` -> `email.message`; a private module goes by the public name that it is used under."""
    parts = [*relative.parts[:-1], relative.stem]
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return PUBLIC_NAMES.get(name, name)


def unit(module: str) -> str:
    """The held-out unit of a module: its top-level name, so that `json.decoder` goes with `json`, `_json` too."""
    return module.split(".")[0].strip("_")


def digest() -> str:
    """SHA-256 of the names and contents of `files()`; takes about 0.1 s."""
    total = hashlib.sha256()
    for file in files():
        total.update(f"{file.relative}\0{hashlib.sha256(file.path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()
