"""The funnel: what every step dropped and why, adding up to the document."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Step -> source -> reason -> documents dropped.
Drops = Mapping[str, Mapping[str, Mapping[str, int]]]


def added(drops: Iterable[Drops]) -> dict[str, dict[str, Counter[str]]]:
    """What several parts of a corpus dropped, steps in the order in which they first appear."""
    total: dict[str, dict[str, Counter[str]]] = {}
    for part in drops:
        for step, by_source in part.items():
            found = total.setdefault(step, {})
            for source, reasons in by_source.items():
                found.setdefault(source, Counter()).update(reasons)
    return total


def funnel(came_in: Mapping[str, int], drops: Drops, kept: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """The funnel of a corpus. `came_in` counts documents by source, `kept` by split and source.

    Asserts that it adds up to the document: over all, by step, and by source.
    """
    steps: list[dict[str, Any]] = []
    left = sum(came_in.values())
    for step, by_source in drops.items():
        reasons: Counter[str] = Counter()
        for found in by_source.values():
            reasons.update(found)
        out_of_step = left - reasons.total()
        steps.append({"step": step, "in": left, "out": out_of_step, "dropped": dict(sorted(reasons.items()))})
        left = out_of_step
    out: Counter[str] = Counter()
    for by_source_kept in kept.values():
        out.update(by_source_kept)
    assert left == out.total(), f"{left} documents should be left, {out.total()} are"
    by_source_rows: dict[str, dict[str, Any]] = {}
    for name, count in sorted(came_in.items()):
        gone = {step: sum(found[name].values()) for step, found in drops.items() if found.get(name)}
        assert count == out[name] + sum(gone.values()), name
        by_source_rows[name] = {"in": count, "out": out[name], "dropped": gone}
    return {
        "documents_in": sum(came_in.values()),
        "documents_out": left,
        **{split: sum(counted.values()) for split, counted in kept.items()},
        "steps": steps,
        "by_source": by_source_rows,
    }


def worst_step(steps: Sequence[Mapping[str, Any]]) -> str:
    """The step that dropped most, with its reasons, in words for an error message."""
    worst = max(steps, key=lambda step: sum(step["dropped"].values()))
    reasons = ", ".join(f"{reason} {count}" for reason, count in worst["dropped"].items())
    return f"the step `{worst['step']}` dropped {sum(worst['dropped'].values())} ({reasons})"
