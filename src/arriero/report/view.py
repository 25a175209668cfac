"""What the report reads: a run's stages, found by the name of the stage and never by their labels."""

from dataclasses import dataclass
from typing import Any

from arriero.artifacts import Artifact
from arriero.artifacts.files import read_json, read_jsonl


@dataclass(frozen=True)
class RunView:
    """A run to report on. `stages`: label -> finished artifact, in the recipe's order; `toml`: the resolved recipe."""

    name: str
    recipe: dict[str, Any]
    toml: str
    stages: dict[str, Artifact]

    def of(self, *names: str) -> dict[str, Artifact]:
        """Label -> artifact of the stages of these names, in the recipe's order. "train." means all of that package."""
        return {
            label: artifact
            for label, artifact in self.stages.items()
            if any(
                artifact.manifest.stage == name or (name.endswith(".") and artifact.manifest.stage.startswith(name))
                for name in names
            )
        }

    def last(self, name: str) -> Artifact | None:
        found = list(self.of(name).values())
        return found[-1] if found else None

    def annotator(self) -> str:
        """Who compared the answers, in words: never without the word simulated where a program did."""
        simulated, people = self.of("preference.simulate"), self.of("preference.import")
        return (
            f"simulated annotator{' and people' if people else ''}" if simulated else "people who compared the answers"
        )

    def labels(self) -> dict[str, str]:
        """Artifact id -> label."""
        return {artifact.id: label for label, artifact in self.stages.items()}

    def wall_seconds(self) -> float:
        return sum(artifact.manifest.timings.get("wall_seconds", 0.0) for artifact in self.stages.values())


def json_of(artifact: Artifact | None, name: str) -> Any:
    """A JSON file of the artifact; None where the stage or the file is not there."""
    return read_json(artifact.path / name) if artifact and (artifact.path / name).is_file() else None


def rows_of(artifact: Artifact | None, name: str) -> list[dict[str, Any]]:
    """The rows of a JSONL file of the artifact; none where the stage or the file is not there."""
    path = artifact.path / name if artifact else None
    return [row for _, row in read_jsonl(path)] if path is not None and path.is_file() else []
