"""Runs: a name, the resolved recipe, and which artifact each of its stages became.

`<runs>/store/` holds the artifacts of all runs, `<runs>/<name>/run.json` one run, `<runs>/<name>/report.html` its
report.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arriero.artifacts import Artifact, Store
from arriero.artifacts.files import read_json, write_json
from arriero.artifacts.lineage import with_ancestors
from arriero.config import nearest
from arriero.errors import ArtifactError, InputError
from arriero.pipeline.plan import Planned
from arriero.pipeline.recipe import Recipe


@dataclass(frozen=True)
class Run:
    """A run as its run.json tells it. `stages`: label -> artifact id, in order; some may not be made yet.

    `before`: until all of them are made, the last plan of that name of which all were.
    """

    name: str
    folder: Path
    recipe: dict[str, Any]
    stages: dict[str, str]
    before: "Run | None" = None

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
        run = Run(name, path.parent, row["recipe"], dict(row["stages"]))
        if "before" not in row or self._whole(run):
            return run
        return replace(run, before=Run(name, path.parent, row["before"]["recipe"], dict(row["before"]["stages"])))

    def _whole(self, run: Run) -> bool:
        return all(self.store.has(id) for id in run.stages.values())

    def save(self, recipe: Recipe, plan: list[Planned]) -> Run:
        """Records the plan as the run of that name, before it runs: what it names is safe from gc."""
        stages = {planned.label: planned.id for planned in plan}
        run = Run(recipe.run.name, self.root / recipe.run.name, recipe.tables, stages)
        row = _row(run)
        if run.name in self.names():
            last = self.load(run.name)
            before = last if self._whole(last) else last.before
            if before is not None and before.stages != stages:
                row["before"] = _row(before)
        write_json(run.folder / "run.json", row)
        return run

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
                made = run.before is not None and run.before.stages.get(label)
                hint = f" The plan before made {made}." if made else ""
                raise ArtifactError(
                    f"The stage {label!r} of run {run_name!r} is not made yet. Run its recipe first.{hint}"
                )
            artifact = self.store.artifact(run.stages[label])
        if kind is not None and artifact.manifest.kind != kind:
            raise InputError(f"{name} is of kind {artifact.manifest.kind}. Name a {kind}; see `arriero runs show`.")
        return artifact

    def unreferenced(self) -> list[str]:
        """Ids in the store, finished or not, that no run wants, no verb of one stage, and nothing made from them."""
        planned = [self.load(name) for name in self.names()]
        wanted = [id for run in planned for plan in (run, run.before) if plan for id in plan.stages.values()]
        if self.store.kept.is_dir():
            wanted += [path.name for path in self.store.kept.iterdir()]
        kept = with_ancestors(self.store, wanted)
        there = set(self.store.ids())
        if self.store.working.is_dir():
            there |= {path.name for path in self.store.working.iterdir()}
        return sorted(there - kept)


def _row(run: Run) -> dict[str, Any]:
    # A list of pairs keeps the recipe's order in a file whose keys are sorted.
    return {"recipe": run.recipe, "stages": list(run.stages.items())}
