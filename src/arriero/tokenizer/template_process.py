"""Runs chat templates in a process of their own, which cannot reach into this one, loop, or fill the memory."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from arriero.errors import InputError
from arriero.tokenizer import template_worker

# The worker's own limit is CPU time, which a busy machine does not change; this one ends a worker that sleeps.
_WALL_SECONDS = 20.0
# The worker sees no other folder of packages: `-I` hides those of the user, and what PYTHONPATH names.
_PACKAGES = sorted({str(Path(str(module.__file__)).parents[1]) for module in (jinja2, markupsafe)})
REMEDY = "Use another chat_format (chatml, llama2), or mend the template in the model's files."


@dataclass(frozen=True)
class Conversation:
    """What a template is given: messages as (role, content), and whether to open the next answer."""

    messages: tuple[tuple[str, str], ...]
    add_generation_prompt: bool


class _EndedError(Exception):
    """The worker is gone."""


class TemplateProcess:
    """One worker, started when it is first needed and anew after it was ended. Safe with threads and after a fork."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def render(self, template: str, names: Mapping[str, str], conversations: Sequence[Conversation]) -> list[str]:
        """The text of each conversation. `names`: what else the template may use, as `bos_token`.

        Raises InputError if the template refuses a conversation, is broken, or takes too much time or memory.
        """
        chats = [
            {
                "messages": [{"role": role, "content": content} for role, content in chat.messages],
                "add_generation_prompt": chat.add_generation_prompt,
            }
            for chat in conversations
        ]
        request = json.dumps({"template": template, "names": dict(names), "conversations": chats}).encode() + b"\n"
        with self._lock:
            process = self._running()
            try:
                reply = _exchange(process, request)
            except _EndedError:
                why = _end(process)
                self._process = None
                raise InputError(f"The model's chat template cannot be run: {why}. {REMEDY}") from None
            except BaseException:  # Ctrl-C, say: the next request must not read this one's reply
                process.kill()
                process.wait()
                self._process = None
                raise
        if "refused" in reply:
            raise InputError(f"The model's chat template refuses the dialogue: {reply['refused']}")
        if "failed" in reply:
            raise InputError(f"The model's chat template cannot be run: {reply['failed']}. {REMEDY}")
        texts: list[str] = reply["texts"]
        return texts

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-I", template_worker.__file__, *_PACKAGES],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={},
                bufsize=0,
            )
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)
        return self._process


TEMPLATES = TemplateProcess()


def _exchange(process: "subprocess.Popen[bytes]", request: bytes) -> dict[str, Any]:
    """Sends a line and waits for the line that answers it. Raises _EndedError if none comes."""
    assert process.stdin is not None
    assert process.stdout is not None
    deadline = time.monotonic() + _WALL_SECONDS
    rest = memoryview(request)
    while rest:
        _, ready, _ = select.select([], [process.stdin], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise _EndedError
        try:
            rest = rest[process.stdin.write(rest) or 0 :]
        except OSError:
            raise _EndedError from None
    parts: list[bytes] = []
    while not (parts and parts[-1].endswith(b"\n")):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        part = process.stdout.read(1 << 16) if ready else b""
        if not part:
            raise _EndedError
        parts.append(part)
    found: dict[str, Any] = json.loads(b"".join(parts))
    return found


def _end(process: "subprocess.Popen[bytes]") -> str:
    """Ends the worker and says why it had to be."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.05)
    if process.poll() is None:
        process.kill()
        process.wait()
        return f"it did not answer within {_WALL_SECONDS:.0f} seconds"
    if process.returncode == -signal.SIGPROF:
        return "it takes too long, as a loop without an end does"
    assert process.stderr is not None
    said = process.stderr.read(1 << 16).decode(errors="replace").strip().rpartition("\n")[2]
    return f"its process ended with status {process.returncode}" + (f" ({said:.200})" if said else "")
