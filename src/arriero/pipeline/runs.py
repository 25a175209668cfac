"""Runs: a name, the resolved recipe, and which artifact each of its stages became.

`<runs>/store/` holds the artifacts of all runs, `<runs>/<name>/run.json` one run, `<runs>/<name>/report.html` its
report.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arriero.artifacts import Artifact, Store
from arriero.artifacts.files import read_json, write_json
from arriero.config import nearest
from arriero.errors import ArtifactError, InputError
from arriero.pipeline.plan import Planned
from arriero.pipeline.recipe import Recipe


@dataclass(frozen=True)
class Run:
    """A run as its run.json tells it. `stages`: label -> artifact id, in order; some may not be made yet."""

    name: str
    folder: Path
    recipe: dict[str, Any]
    stages: dict[str, str]

    @property
    def model(self) -> str | None:
        return self.recipe.get("model")

    @property
    def report(self) -> Path:
        return self.folder / "report.html"


class Runs:
    """All runs below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "store")

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self.root.glob("*/run.json"))

    def load(self, name: str) -> Run:
        """Raises InputError naming the nearest run."""
        path = self.root / name / "run.json"
        if not path.is_file():
            names = self.names()
            hint = nearest(name, names) if names else "There are no runs yet: start with `arriero run RECIPE`."
            raise InputError(f"There is no run {name!r} in {self.root}. {hint}")
        row = read_json(path)
        return Run(name, path.parent, row["recipe"], dict(row["stages"]))

    def save(self, recipe: Recipe, plan: list[Planned]) -> Run:
        """Records the plan as the run of that name, before it runs: what it names is safe from gc."""
        stages = {planned.label: planned.id for planned in plan}
        folder = self.root / recipe.run.name
        # A list of pairs keeps the recipe's order in a file whose keys are sorted.
        write_json(folder / "run.json", {"recipe": recipe.tables, "stages": list(stages.items())})
        return Run(recipe.run.name, folder, recipe.tables, stages)

    def artifact(self, name: str, kind: str | None = None) -> Artifact:
        """`RUN:STAGE`, or an artifact's id or the start of it; of that kind. Raises InputError or ArtifactError."""
        run_name, separator, label = name.partition(":")
        if not separator:
            artifact = self.store.find(name)
        else:
            run = self.load(run_name)
            if label not in run.stages:
                raise InputError(f"The run {run_name!r} has no stage {label!r}. {nearest(label, run.stages)}")
            if not self.store.has(run.stages[label]):
                raise ArtifactError(f"The stage {label!r} of run {run_name!r} is not made yet. Run its recipe first.")
            artifact = self.store.artifact(run.stages[label])
        if kind is not None and artifact.manifest.kind != kind:
            raise InputError(f"{name} is of kind {artifact.manifest.kind}. Name a {kind}; see `arriero runs show`.")
        return artifact

    def unreferenced(self) -> list[str]:
        """Ids in the store, finished or not, that no run's stages name; sorted."""
        kept = {id for name in self.names() for id in self.load(name).stages.values()}
        there = set(self.store.ids())
        if self.store.working.is_dir():
            there |= {path.name for path in self.store.working.iterdir()}
        return sorted(there - kept)
