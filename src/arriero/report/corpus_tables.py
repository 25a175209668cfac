"""What a corpus is made of, as tables: its funnel, sources, mixture, quarantine and statistics.

The statistics stand beside those of the paper (Llama 2, arXiv:2307.09288, section 4.1), where it gives them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_json
from arriero.data.places import quarantine_rows
from arriero.report.page import Table
from arriero.report.text import size

FILES = ("funnel", "mixture", "statistics", "sources", "parts")
MOST_ROWS = 25  # of a table of statistics
# Percent of documents: languages (table 10), pronouns (table 9a), toxicity of at least 0.5 (figure 13).
PAPER = {
    "languages": {"en": 89.70, "unknown": 8.38},
    "pronouns": {"she": 28.45, "he": 50.73},
    "toxicity": {"toxic": 0.2},
}


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
        *_statistics(found.get("statistics", {})),
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


def _statistics(found: Mapping[str, Any]) -> list[Table]:
    """A table of each group of counts; what is counted is documents, and shares are of `documents`."""
    documents = found.get("documents", 0)
    tables = []
    for group, counts in found.items():
        if not isinstance(counts, Mapping):
            continue
        paper = PAPER.get(group, {})
        numbers = sorted(_numbers(counts), key=lambda row: (isinstance(row[1], float), -row[1], row[0]))
        rows = [
            (name, *_count(value, documents), f"{paper[name]:.2f}%" if name in paper else "")
            for name, value in numbers[:MOST_ROWS]
        ]
        caption = f"And {len(numbers) - MOST_ROWS} more." if len(numbers) > MOST_ROWS else ""
        columns = (group, "documents", "share", "Llama 2")
        tables.append(Table(group.replace("_", " ").capitalize(), columns, rows, caption))
    return tables


def _count(value: float, documents: int) -> tuple[str, str]:
    """A count with its share; any other number as it is."""
    if isinstance(value, float):
        return f"{value:.4g}", ""
    return f"{value:,}", percent(value, documents)


def _numbers(counts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a tree by their names, outermost first."""
    for name, value in counts.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{name} ")
        elif isinstance(value, int | float):
            yield before + name, value
