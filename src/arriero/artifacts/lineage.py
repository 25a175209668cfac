"""What came from what: the graph of input ids in the manifests."""

from arriero.artifacts.store import Store


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
