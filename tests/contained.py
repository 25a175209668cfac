"""A hostile file's reader in a process of its own, which cannot take the tests' memory or time along."""

import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from arriero.errors import InputError

MEGABYTES, SECONDS = 64, 2
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")


def fuzz(examples: int = 40) -> hypothesis.settings:
    """Of a test that reads hostile files: under the profile of `make test-full` 2,000 examples, others each time."""
    return hypothesis.settings(max_examples=examples if hypothesis.settings.default.derandomize else 2000)


def contained(work: Callable[[], object]) -> str | None:
    """Runs `work`; gives the text of its InputError, or None. Fails on any other error, and beyond the bounds above.

    They are bounds of the CPU's time, of memory that is asked for, and of memory that is used.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = _bounded(work)
        except BaseException:  # noqa: BLE001 (it goes to the parent)
            said = "!" + traceback.format_exc()
        os.write(writing, said.encode(errors="replace")[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    assert status == 0, f"ended by signal {os.WTERMSIG(status)}: it takes more than {SECONDS} s"
    assert not said.startswith("!"), said[1:]
    return said or None


def _bounded(work: Callable[[], object]) -> str:
    """What the InputError says, or nothing."""
    page = resource.getpagesize()
    asked, used = (int(number) * page for number in Path("/proc/self/statm").read_text().split()[:2])
    resource.setrlimit(resource.RLIMIT_AS, (asked + (MEGABYTES << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    said = ""
    try:
        work()
    except InputError as error:
        said = str(error)
        cause: BaseException | None = error
        while cause is not None:  # also where the reader took it for a fault of the file
            if isinstance(cause, MemoryError) or "allocate memory" in str(cause):
                raise AssertionError(f"it asks for more than {MEGABYTES} MB") from error
            cause = cause.__cause__ or cause.__context__
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - used
    assert most < MEGABYTES << 20, f"it uses {most >> 20} MB"
    return said
