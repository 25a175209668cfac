"""The funnel: what every step dropped and why, adding up to the document."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass
class Funnel:
    """Collects the dropped documents of each step, in the order of the steps."""

    sources: Counter[str]  # documents in, by source
    steps: list[dict[str, Any]] = field(default_factory=list)
    dropped_by_source: dict[str, Counter[str]] = field(default_factory=dict)
    dropped: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, table: pa.Table) -> "Funnel":
        return cls(Counter(table["source"].to_pylist()))

    def add(self, step: str, kept: pa.Table, dropped: pa.Table) -> None:
        """Counts a step's outcome; `dropped` carries the reasons."""
        reasons = Counter(dropped["reason"].to_pylist())
        self.steps.append(
            {
                "step": step,
                "in": kept.num_rows + dropped.num_rows,
                "out": kept.num_rows,
                "dropped": dict(sorted(reasons.items())),
            }
        )
        for row in dropped.select(["id", "source", "reason"]).to_pylist():
            self.dropped.append({"id": row["id"], "source": row["source"], "step": step, "reason": row["reason"]})
            self.dropped_by_source.setdefault(row["source"], Counter())[step] += 1

    def dropped_table(self) -> pa.Table:
        """Columns id, source, step, reason, sorted by id."""
        schema = pa.schema([(name, pa.string()) for name in ("id", "source", "step", "reason")])
        return pa.Table.from_pylist(sorted(self.dropped, key=lambda row: row["id"]), schema=schema)

    def worst_step(self) -> str:
        """The step that dropped most, with its reasons, in words for an error message."""
        worst = max(self.steps, key=lambda step: sum(step["dropped"].values()))
        reasons = ", ".join(f"{reason} {count}" for reason, count in worst["dropped"].items())
        return f"the step `{worst['step']}` dropped {sum(worst['dropped'].values())} ({reasons})"

    def to_json(self, train: pa.Table, heldout: pa.Table) -> dict[str, Any]:
        """The funnel of a corpus split into `train` and `heldout`. Asserts that it adds up to the document."""
        documents_in, documents_out = self.sources.total(), train.num_rows + heldout.num_rows
        out = Counter(train["source"].to_pylist()) + Counter(heldout["source"].to_pylist())
        by_source: dict[str, dict[str, Any]] = {
            name: {"in": count, "out": out[name], "dropped": dict(self.dropped_by_source.get(name, Counter()))}
            for name, count in sorted(self.sources.items())
        }
        left = documents_in
        for step in self.steps:
            assert left == step["in"] == step["out"] + sum(step["dropped"].values()), step
            left = step["out"]
        assert left == documents_out == documents_in - len(self.dropped)
        for name, row in by_source.items():
            assert row["in"] == row["out"] + sum(row["dropped"].values()), name
        return {
            "documents_in": documents_in,
            "documents_out": documents_out,
            "train": train.num_rows,
            "heldout": heldout.num_rows,
            "steps": self.steps,
            "by_source": by_source,
        }
