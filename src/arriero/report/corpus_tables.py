"""What a corpus is made of, as tables: its funnel, sources, mixture, quarantine and statistics."""

from collections import Counter
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_json
from arriero.data.places import quarantine_rows
from arriero.report.page import Table
from arriero.report.text import size

FILES = ("funnel", "mixture", "statistics", "sources", "parts")
SHOWN_ROWS = 25  # of a table of statistics


def joined(corpus: Path) -> dict[str, Any]:
    """The corpus's files in one value, those that it has; of the quarantine, counts by source and reason."""
    found = {name: read_json(corpus / f"{name}.json") for name in FILES if (corpus / f"{name}.json").is_file()}
    counts: dict[str, Counter[str]] = {}
    for row in quarantine_rows(corpus):
        counts.setdefault(row.get("source", ""), Counter())[row["reason"]] += 1
    return found | {"quarantine": counts}


def corpus_tables(corpus: Path) -> list[Table]:
    """Raises InputError if the folder is not a corpus."""
    found = joined(corpus)
    kinds = {source["name"]: source["kind"] for source in found.get("sources", [])}
    tables = [
        _steps(found["funnel"]),
        _reasons(found["funnel"]),
        _by_source(found["funnel"], kinds),
        _mixture(found["mixture"]),
        _quarantine(found["quarantine"]),
    ]
    return [table for table in tables if table.rows]


def percent(part: float, whole: float = 1) -> str:
    return f"{100 * part / whole:.2f}%" if whole else "-"


def _steps(funnel: dict[str, Any]) -> Table:
    rows = [
        (step["step"], f"{step['in']:,}", f"{dropped:,}", percent(dropped, step["in"]), f"{step['out']:,}")
        for step in funnel["steps"]
        for dropped in [sum(step["dropped"].values())]
    ]
    caption = (
        f"{funnel['documents_in']:,} documents came in, {funnel['documents_out']:,} are left: "
        f"{funnel['train']:,} for training, {funnel['heldout']:,} held out."
    )
    return Table("Funnel", ("step", "in", "dropped", "share", "out"), rows, caption)


def _reasons(funnel: dict[str, Any]) -> Table:
    rows = [
        (step["step"], reason, f"{count:,}", percent(count, step["in"]))
        for step in funnel["steps"]
        for reason, count in sorted(step["dropped"].items(), key=lambda item: (-item[1], item[0]))
    ]
    return Table("Reasons", ("step", "reason", "dropped", "of those that came"), rows, numbers_from=2)


def _by_source(funnel: dict[str, Any], kinds: dict[str, str]) -> Table:
    steps = [step["step"] for step in funnel["steps"] if step["dropped"]]
    rows = [
        (
            *(name, kinds.get(name, ""), f"{row['in']:,}"),
            *(f"{row['dropped'].get(step, 0):,}" for step in steps),
            *(f"{row['out']:,}", percent(row["out"], row["in"])),
        )
        for name, row in funnel["by_source"].items()
    ]
    columns = ("source", "kind", "in", *steps, "out", "kept")
    return Table("Sources", columns, rows, "How many documents of a source each step dropped.", numbers_from=2)


def _mixture(mixture: dict[str, Any]) -> Table:
    rows = [
        (
            *(row["name"], row["kind"], f"{row['documents']:,}", size(row["bytes"]), percent(row["share_before"])),
            *(f"{row['epochs']:.3g}", size(row["bytes"] * row["epochs"]), percent(row["share_after"])),
        )
        for row in mixture["sources"]
    ]
    columns = ("source", "kind", "documents", "text", "share", "epochs", "in a pass", "share of a pass")
    caption = (
        f"Text for training: {size(mixture['bytes'])}, {size(mixture['bytes_per_pass'])} in one pass over the mixture."
    )
    return Table("Mixture", columns, rows, caption, numbers_from=2)


def _quarantine(counts: dict[str, Counter[str]]) -> Table:
    rows = [
        (source, reason, f"{count:,}")
        for source, reasons in sorted(counts.items())
        for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]
    return Table("Quarantine", ("source", "reason", "records"), rows, "What could not be read.", numbers_from=2)
