"""data.build on a Ray cluster of two nodes on this machine: `python ray_build.py CRAWL FOLDER MODE`.

A process of its own, because Daft's runner is chosen once in a process. MODE says what is lost during the run: nothing,
a `worker` (a process, by SIGKILL) or a `node` (a raylet). Writes to FOLDER/seen.json the node of each worker process
that was seen, and what was killed.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import ray
from declared_corpus import built
from ray.cluster_utils import Cluster

from arriero.artifacts import Artifact, Manifest, Store
from arriero.data import decide
from arriero.data.build import BuildConfig
from arriero.data.engine import EngineConfig

UNIT_BYTES = 300_000
SEEN_FILE = "seen.json"
WORKER_CLASS = "UDFActor"


def forced_apart() -> None:
    """Every phase on the cluster, however little there is to do."""
    decide.ALONE_ROWS = 0


def workers() -> dict[int, str]:
    """Node by process of the living workers."""
    return {
        actor["Pid"]: actor["Address"]["NodeID"]
        for actor in ray._private.state.actors().values()
        if actor["ActorClassName"] == WORKER_CLASS and actor["State"] == "ALIVE"
    }


def main(crawl: Path, folder: Path, mode: str) -> None:
    forced_apart()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    seen: dict[int, str] = {}
    lost: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            if not ray.is_initialized():
                continue
            now = workers()
            seen.update(now)
            begun = any((folder / "scratch").glob("clean/*/unit.json"))
            if begun and not lost and mode == "worker" and now:
                pid = min(now)
                os.kill(pid, signal.SIGKILL)
                lost.append(f"worker {pid}")
            if begun and not lost and mode == "node" and other.node_id in now.values():
                cluster.remove_node(other, allow_graceful=False)
                lost.append(f"node {other.node_id}")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    manifest = Manifest("crawl", "data.sources", "crawl", {}, {}, "", {}, {})
    engine = EngineConfig(runner="ray", address=cluster.address)
    built(folder, Artifact("crawl", crawl, manifest, Store(folder)), BuildConfig(engine=engine, unit_bytes=UNIT_BYTES))
    over.set()
    watcher.join()
    (folder / SEEN_FILE).write_text(json.dumps({"workers": seen, "lost": lost}))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
