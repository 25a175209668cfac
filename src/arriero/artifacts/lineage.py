"""What came from what: the graph of input ids in the manifests."""

from collections.abc import Iterable

from arriero.artifacts.store import Store


def with_ancestors(store: Store, ids: Iterable[str]) -> set[str]:
    """`ids`, made or not, and all that those that are made came from."""
    found: set[str] = set()
    waiting = list(ids)
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            if store.has(id):
                waiting += store.artifact(id).manifest.input_ids()
    return found


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
