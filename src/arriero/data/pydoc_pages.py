"""Pages of the standard library, written by pydoc in a process of its own.

pydoc imports what it describes. So this file is run as a script, with no site-packages folder on its path: a
third-party package cannot be imported, and nothing that an import does can reach the caller. It speaks JSON lines:
a module's name in, its page out. Values that depend on the machine are left out: the values of data, addresses in
memory, paths of files. This file must import nothing but the standard library.
"""

import contextlib
import json
import pydoc
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ADDRESS = re.compile(r" at (?:0x)?[0-9a-fA-F]{6,16}|0x[0-9a-fA-F]{8,16}")
LOCAL_LINK = re.compile(r'<a href="file:[^"]*">.*?</a>', re.DOTALL)
# What a class inherits is told on the page of the module that it comes from, which may be held out.
INHERITED = re.compile(r"<hr>\s*[\w ]+ inherited from .*?(?=<hr>|</td></tr></table>)", re.DOTALL)
PLAIN_WORDS = re.compile(r"[\w .,-]{1,60}")
LAYOUT = re.compile(r"<(/?)(?:table|tr|td)\b[^>]*>")


class PortableDoc(pydoc.HTMLDoc):
    """pydoc's pages without what depends on the machine."""

    def docother(self, object: Any, name: str | None = None, *_: Any) -> str:
        """A datum by its name and type, with its value only where that is a number or a plain word."""
        word = isinstance(object, str) and PLAIN_WORDS.fullmatch(object)
        plain = word or isinstance(object, bool | int | float)
        shown = repr(object) if plain else f"a value of type {type(object).__name__}"
        return f"<strong>{name}</strong> = {self.escape(shown)}" if name else self.escape(shown)

    def filelink(self, url: str, path: str) -> str:  # noqa: ARG002 - pydoc's signature
        return ""


def page(module: str) -> str | None:
    """The HTML of a module's page, body only; None if there is no such module here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = pydoc.locate(module)
    if target is None:
        return None
    html = PortableDoc().docmodule(target, module)
    html = INHERITED.sub("", LOCAL_LINK.sub("", ADDRESS.sub("", html)))
    html = LAYOUT.sub(r"<\1div>", html.replace("&nbsp;", " "))
    for path in sorted({sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path.home())}, key=len, reverse=True):
        if len(path) > 1:
            html = html.replace(path, "")
    return html


class PydocProcess:
    """The process that makes the pages; a context manager. `page(name)` is None for a module this Python lacks."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-s", "-P", "-B", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            cwd=self._folder.name,
            # A fixed hash seed fixes the order of sets; an empty environment is one that no page can show.
            env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "HOME": self._folder.name, "COLUMNS": "80", "TZ": "UTC"},
        )
        return self

    def page(self, module: str) -> str | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(module) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        assert reply is None or isinstance(reply, str)
        return reply

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._folder.cleanup()


def serve() -> None:
    """Answers each module's name on standard input with its page, or null if there is no such module here."""
    replies, sys.stdout = sys.stdout, sys.stderr  # what an import prints must not mix with the replies
    for line in sys.stdin:
        try:
            reply = page(json.loads(line))
        except pydoc.ErrorDuringImport:
            reply = None
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    serve()
