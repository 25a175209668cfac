"""Jobs for work units, in a module that the workers can import."""

import errno
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arriero.errors import InputError


@dataclass(frozen=True)
class Word:
    name: str


@dataclass(frozen=True)
class Spell:
    """Writes a unit's name, and a line to `log`. The unit that `fails` names fails while `broken` exists."""

    log: Path
    fails: str = ""
    broken: Path = Path("nowhere")

    def __call__(self, folder: Path, unit: Word) -> tuple[dict[str, Any], dict[str, float]]:
        with self.log.open("a") as file:
            file.write(unit.name + "\n")
        (folder / "text").write_text(unit.name * 3)
        if unit.name == self.fails and self.broken.exists():
            kind = self.broken.read_text()
            if kind == "die":
                self.broken.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "die always":
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "disk":
                raise OSError(errno.ENOSPC, "No space left on device")
            if kind == "mistake":
                raise ZeroDivisionError("division by zero")
            raise InputError("the unit is wrong")
        return {"letters": len(unit.name)}, {"spell": 0.5}
