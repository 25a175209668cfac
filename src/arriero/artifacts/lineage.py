"""What came from what: the graph of input ids in the manifests."""

from arriero.artifacts.store import Artifact, Store


def ancestors(store: Store, id: str) -> list[Artifact]:
    """The artifact and all it was made from, each once, inputs before what they made."""
    ordered: dict[str, Artifact] = {}

    def visit(current: str) -> None:
        if current in ordered:
            return
        artifact = store.artifact(current)
        for source in artifact.manifest.input_ids():
            visit(source)
        ordered[current] = artifact

    visit(id)
    return list(ordered.values())


def lineage_lines(store: Store, id: str, names: dict[str, str]) -> list[str]:
    """The lineage as an indented tree, the artifact first; `names` maps ids to a run's stage labels.

    An artifact that was already shown above is marked and not unfolded again.
    """
    lines: list[str] = []
    shown: set[str] = set()

    def visit(current: str, edge: str, depth: int) -> None:
        artifact = store.artifact(current)
        repeated = current in shown
        shown.add(current)
        label = names.get(current, artifact.manifest.stage)
        mark = " (above)" if repeated and artifact.manifest.input_ids() else ""
        lines.append(f"{'  ' * depth}{edge}{label} [{artifact.manifest.stage}] {current}{mark}")
        if repeated:
            return
        for name, labelled in artifact.manifest.inputs.items():
            for source in labelled.values():
                visit(source, f"{name}: ", depth + 1)

    visit(id, "", 0)
    return lines
