"""data.build by the command line, killed, stopped, out of disk: the next run goes on and gives the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomli_w
from declared_corpus import write_many

from arriero.artifacts import Artifact, Store
from arriero.config import resolved
from arriero.data.build import ALONE_BYTES

pytestmark = pytest.mark.full

DOCUMENTS, KILLS = 3000, 10
BUILD = ("data", "build", "--set", "unit_bytes=300_000", "--set", "engine.workers=2", "--crawl")


class Command:
    """`arriero ...`, a process group of its own."""

    def __init__(self, runs: Path, *arguments: str) -> None:
        self.runs = runs
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arriero.cli.main", *arguments, "--runs", str(runs)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def finish(self) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        out, errors = self.process.communicate()
        return self.process.returncode, out, errors

    def wait_until(self, done: Callable[[], object]) -> bool:
        """False if it ends before."""
        while not done():
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def units(self) -> int:
        """How many units are finished, of all phases."""
        return sum(1 for _ in self.runs.glob("store/working/*/scratch/*/*/unit.json"))

    def kill_group(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def group(self) -> list[psutil.Process]:
        """Its living processes."""
        return [process for process in psutil.process_iter() if self._has(process)]

    def _has(self, process: psutil.Process) -> bool:
        try:
            return os.getpgid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False


def finished(runs: Path, *arguments: str) -> Artifact:
    code, out, errors = Command(runs, *arguments).finish()
    assert code == 0, errors
    return Store(runs / "store").artifact(out.split()[-1])


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A declared crawl in the folder of its runs."""
    root = tmp_path_factory.mktemp("crawl")
    sources = write_many(root / "given", DOCUMENTS)
    rows = [{key: value for key, value in resolved(one).items() if value is not None} for one in sources]
    (root / "sources.toml").write_text(tomli_w.dumps({"sources": rows}))
    return finished(root / "runs", "data", "sources", "--config", str(root / "sources.toml"))


@dataclass(frozen=True)
class Whole:
    """The files of an undisturbed build, and how many units it took."""

    files: dict[str, Any]
    units: int


@pytest.fixture(scope="module")
def whole(crawl: Artifact) -> Whole:
    assert sum(row["bytes"] for row in crawl.manifest.metrics.values()) > ALONE_BYTES, "too little for two processes"
    runs = with_crawl(crawl, crawl.path.parents[3] / "whole")
    build, most = Command(runs, *BUILD, crawl.id), 0
    while build.process.poll() is None:
        most = max(most, build.units())
        time.sleep(0.02)
    code, out, errors = build.finish()
    assert code == 0, errors
    return Whole(Store(runs / "store").artifact(out.split()[-1]).manifest.files, most)


def with_crawl(crawl: Artifact, runs: Path) -> Path:
    """A folder of runs that holds the crawl alone."""
    shutil.copytree(crawl.path, runs / "store/objects" / crawl.id)
    return runs


def check_resumed(runs: Path, crawl: Artifact, whole: Whole) -> None:
    artifact = finished(runs, *BUILD, crawl.id)
    assert artifact.manifest.files == whole.files
    artifact.store.verify(artifact.id)
    assert not list((runs / "store/working").iterdir())


@pytest.mark.parametrize("number", range(KILLS))
def test_kill_9_at_any_moment_and_resume(tmp_path: Path, crawl: Artifact, whole: Whole, number: int) -> None:
    """One kill in each tenth of the units, at any moment from the last unit before it on."""
    draw = random.Random(number)
    runs = with_crawl(crawl, tmp_path / "runs")
    build = Command(runs, *BUILD, crawl.id)
    least = int(whole.units * (number + draw.random()) / KILLS)
    assert build.wait_until(lambda: build.units() >= least)
    time.sleep(0.3 * draw.random())
    build.kill_group(signal.SIGKILL)
    code, _, _ = build.finish()
    assert code == -signal.SIGKILL
    assert not build.group()
    check_resumed(runs, crawl, whole)


def test_kill_9_of_the_parent_alone_leaves_no_worker(tmp_path: Path, crawl: Artifact, whole: Whole) -> None:
    runs = with_crawl(crawl, tmp_path / "runs")
    build = Command(runs, *BUILD, crawl.id)
    assert build.wait_until(lambda: build.units())
    assert len(build.group()) >= 3
    build.process.kill()
    build.finish()
    deadline = time.monotonic() + 10
    while build.group() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not build.group()
    check_resumed(runs, crawl, whole)


@pytest.mark.parametrize("whom", ["parent", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean(
    tmp_path: Path,
    crawl: Artifact,
    whole: Whole,
    number: signal.Signals,
    whom: str,
) -> None:
    runs = with_crawl(crawl, tmp_path / "runs")
    build = Command(runs, *BUILD, crawl.id)
    assert build.wait_until(lambda: build.units())
    build.process.send_signal(number) if whom == "parent" else build.kill_group(number)
    found, _, errors = build.finish()
    assert (found, "Traceback" in errors) == (143, False), errors
    assert "Run the same command again to go on." in errors
    deadline = time.monotonic() + 10
    while build.group() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not build.group()
    check_resumed(runs, crawl, whole)


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Path]:
    """A file system of that size. Skips where the user may not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(megabytes * 1024)}k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount(8)")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_full_disk_stops_it_in_a_sentence_and_room_lets_it_go_on(
    tmp_path: Path, crawl: Artifact, whole: Whole, share: float
) -> None:
    corpus = sum(file["bytes"] for file in whole.files.values()) / 2**20
    with small_disk(tmp_path / "disk", corpus * 4 * share) as disk:
        runs = with_crawl(crawl, disk / "runs")
        code, _, errors = Command(runs, *BUILD, crawl.id).finish()
        assert code == 2, errors
        last = errors.strip().splitlines()[-1]
        assert last.startswith("arriero: ")
        assert "No space left" in last
        assert "Traceback" not in errors
        subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
        check_resumed(runs, crawl, whole)
