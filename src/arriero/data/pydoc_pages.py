"""Pages of the standard library, written by pydoc. `pydoc_process.py` runs this file as a script.

It speaks JSON lines: a module's name in, its page out. What depends on the machine is left out: the values of data,
addresses in memory, paths of files. This file must import nothing but the standard library.
"""

import json
import os
import pydoc
import re
import sys
import warnings
from pathlib import Path
from typing import Any

ADDRESS = re.compile(r" at (?:0x)?[0-9a-fA-F]{6,16}|0x[0-9a-fA-F]{8,16}")
LOCAL_LINK = re.compile(r'<a href="file:[^"]*">.*?</a>', re.DOTALL)
# What a class inherits is told on the page of the module that it comes from, which may be held out.
INHERITED = re.compile(r"<hr>\s*[\w ]+ inherited from .*?(?=<hr>|</td></tr></table>)", re.DOTALL)
PLAIN_WORDS = re.compile(r"[\w .,-]{1,60}")
# Variables that a Python needs to start where its own library is a shared one; no page may show them.
LOADER = re.compile(r"LD_LIBRARY_PATH|DYLD_\w+")
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


def serve() -> None:
    """Answers each module's name on standard input with its page, or null if pydoc finds or makes none here."""
    for name in filter(LOADER.fullmatch, list(os.environ)):
        del os.environ[name]
    replies, sys.stdout = sys.stdout, sys.stderr  # what an import prints must not mix with the replies
    for line in sys.stdin:
        try:
            reply = page(json.loads(line))
        except Exception:  # noqa: BLE001 - whatever an odd module does to pydoc, the others have their pages
            reply = None
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    serve()
