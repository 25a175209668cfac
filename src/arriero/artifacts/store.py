"""The store: one folder per artifact, named by its id, complete or absent.

`objects/<id>/` holds a finished artifact: its files and `manifest.json`. `working/<id>/` holds `out/` and
`scratch/` of one that is being made; it survives a kill, and the same id finds it again. `kept/<id>` marks what was
made by itself, in no run.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from arriero.artifacts.files import file_digest, sync_folder, write_json
from arriero.errors import ArtifactError


@dataclass(frozen=True)
class Manifest:
    """What an artifact is, and what it came from.

    `config` is resolved (every default filled in). `inputs` maps input name -> label -> artifact id. `files` maps a
    relative name to its SHA-256 and bytes. `metrics` never holds a time; `timings` holds all of them, in seconds.
    """

    id: str
    stage: str
    kind: str
    config: dict[str, Any]
    inputs: dict[str, dict[str, str]]
    code: str
    outside: dict[str, str]
    machine: dict[str, Any]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def input_ids(self) -> list[str]:
        return [id for labelled in self.inputs.values() for id in labelled.values()]


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: its files lie in `path`."""

    id: str
    path: Path
    manifest: Manifest
    store: "Store"


class Store:
    """Artifacts under one folder. Safe against kills; one process at a time makes a given artifact."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = root / "objects"
        self.working = root / "working"
        self.kept = root / "kept"

    def ids(self) -> list[str]:
        """Ids of all finished artifacts, sorted."""
        return sorted(p.name for p in self.objects.iterdir()) if self.objects.is_dir() else []

    def has(self, id: str) -> bool:
        return (self.objects / id / "manifest.json").is_file()

    def artifact(self, id: str) -> Artifact:
        """The finished artifact. Raises ArtifactError if it is absent or its manifest unreadable."""
        path = self.objects / id
        try:
            manifest = Manifest(**json.loads((path / "manifest.json").read_bytes()))
        except FileNotFoundError:
            raise ArtifactError(f"There is no artifact {id} in {self.root}. Run the recipe that makes it.") from None
        except (ValueError, TypeError) as error:
            raise ArtifactError(
                f"The manifest of artifact {id} in {self.root} is damaged ({error}). Delete {path} and run again."
            ) from None
        return Artifact(id, path, manifest, self)

    def find(self, prefix: str) -> Artifact:
        """The artifact whose id starts with `prefix`. Raises ArtifactError unless exactly one does."""
        found = [id for id in self.ids() if id.startswith(prefix)]
        if len(found) != 1:
            problem = "No artifact has" if not found else f"{len(found)} artifacts have"
            raise ArtifactError(f"{problem} an id that starts with {prefix!r} in {self.root}. See `arriero runs show`.")
        return self.artifact(found[0])

    @contextmanager
    def work(self, id: str) -> Iterator[tuple[Path, Path]]:
        """(out, scratch) of the artifact in the making, locked against other processes."""
        folder = self.working / id
        out, scratch = folder / "out", folder / "scratch"
        out.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(exist_ok=True)
        with (folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArtifactError(f"Another process is making artifact {id}. Wait for it, or stop it.") from None
            yield out, scratch

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, no other process can be `alone`: nothing that a plan counts on is removed."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, what is to be `in_use` waits. Raises ArtifactError if the store is in use now."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArtifactError(f"Something is being made in {self.root}. Wait for it, or stop it.") from None
            yield

    def commit(self, manifest: Manifest) -> Artifact:
        """Completes `working/<id>`: syncs and digests its files, writes the manifest, moves it into place."""
        folder = self.working / manifest.id
        out, target = folder / "out", self.objects / manifest.id
        for leftover in out.rglob(".*.partial"):
            leftover.unlink()
        names = sorted(p for p in out.rglob("*") if p.is_file() and p != out / "manifest.json")
        files = {}
        for path in names:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            name = path.relative_to(out).as_posix()
            files[name] = {"sha256": file_digest(path), "bytes": path.stat().st_size}
        write_json(out / "manifest.json", asdict(manifest) | {"files": files})
        self.objects.mkdir(parents=True, exist_ok=True)
        if target.exists():  # a folder without a readable manifest: the remains of a damaged artifact
            shutil.rmtree(target)
        os.replace(out, target)
        sync_folder(self.objects)
        shutil.rmtree(folder, ignore_errors=True)
        return self.artifact(manifest.id)

    def verify(self, id: str) -> None:
        """Raises ArtifactError if a file of the artifact is missing or its digest differs."""
        artifact = self.artifact(id)
        for name, expected in artifact.manifest.files.items():
            path = artifact.path / name
            if not path.is_file() or file_digest(path) != expected["sha256"]:
                raise ArtifactError(f"{path} is missing or damaged. Delete {artifact.path} and run the recipe again.")

    def complete(self, id: str) -> bool:
        """Whether the artifact is there and its files have the sizes that its manifest states."""
        if not self.has(id):
            return False
        artifact = self.artifact(id)
        return all(
            (artifact.path / name).is_file() and (artifact.path / name).stat().st_size == expected["bytes"]
            for name, expected in artifact.manifest.files.items()
        )

    def keep(self, id: str) -> None:
        """Marks an artifact, made or not, as wanted though no run names it."""
        self.kept.mkdir(parents=True, exist_ok=True)
        (self.kept / id).touch()

    def remove(self, id: str) -> int:
        """Deletes a finished or unfinished artifact; returns the bytes freed. Call it inside `alone`."""
        freed = 0
        for folder in (self.objects / id, self.working / id):
            if folder.is_dir():
                freed += sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                shutil.rmtree(folder)
        return freed
