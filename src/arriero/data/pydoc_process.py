"""The process that writes the standard library's pages.

pydoc imports what it describes. So it works in a process of its own, with no site-packages folder on its path: a
third-party package cannot be imported, and nothing that an import does can reach this process.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from arriero.data import pydoc_pages
from arriero.errors import InputError

SCRIPT = Path(pydoc_pages.__file__).resolve()
TAIL = 400  # characters of its last words to show


class PydocProcess:
    """A context manager. `page(name)` is None for a module that this Python lacks, or that pydoc cannot describe."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self._said = tempfile.TemporaryFile()
        loader = {name: value for name, value in os.environ.items() if pydoc_pages.LOADER.fullmatch(name)}
        # A fixed hash seed fixes the order of sets; an empty environment is one that no page can show.
        fixed = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "HOME": self._folder.name, "COLUMNS": "80", "TZ": "UTC"}
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-s", "-P", "-B", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            encoding="utf-8",
            cwd=self._folder.name,
            env=loader | fixed,
        )
        return self

    def page(self, module: str) -> str | None:
        """Raises InputError with the process's last words if it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(module) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            self._said.seek(0)
            words = " ".join(self._said.read().decode("utf-8", "replace").split())[-TAIL:]
            raise InputError(
                f"The Python that describes the standard library ended at the module {module!r}: "
                f"{words or 'it said nothing'}. See whether `{sys.executable} -S -c 'import pydoc'` works; if it does "
                "not, use another Python."
            )
        reply = json.loads(line)
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
        self._said.close()
        self._folder.cleanup()
