"""data.build on a Ray cluster of two nodes gives the native runner's bytes, whatever is lost on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from declared_corpus import built, declare, write_many

from arriero.artifacts import Artifact
from arriero.data.build import BuildConfig
from arriero.data.engine import EngineConfig
from stages import digests

pytest.importorskip("ray")
import ray_build

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    root = tmp_path_factory.mktemp("crawl")
    return declare(root, write_many(root / "given", 1000))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory, crawl: Artifact) -> dict[str, bytes]:
    cfg = BuildConfig(engine=EngineConfig(workers=1), unit_bytes=ray_build.UNIT_BYTES)
    return digests(built(tmp_path_factory.mktemp("native"), crawl, cfg).out)


def build_on_ray(crawl: Artifact, folder: Path, mode: str) -> dict[str, Any]:
    folder.mkdir()
    # Daft waits so long for a worker that a lost node should have had.
    given = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "DAFT_ACTOR_UDF_READY_TIMEOUT": "20"}
    command = [sys.executable, ray_build.__file__, str(crawl.path), str(folder), mode]
    done = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / ray_build.SEEN_FILE).read_text())
    return found


@pytest.mark.parametrize("mode", ["nothing", "worker", "node"])
def test_two_nodes_give_the_native_bytes(tmp_path: Path, crawl: Artifact, native: dict[str, bytes], mode: str) -> None:
    found = build_on_ray(crawl, tmp_path / "ray", mode)
    assert len(set(found["workers"].values())) == 2, "both nodes work"
    assert len(found["lost"]) == (mode != "nothing")
    assert digests(tmp_path / "ray/out") == native
    phases = {path.name for path in (tmp_path / "ray/scratch").iterdir() if path.is_dir()}
    assert {"read", "boilerplate", "clean", "sites", "exact_duplicates", "near_duplicates", "write"} <= phases
