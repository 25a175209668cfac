"""What a corpus is made of, as tables: its funnel, sources, mixture, quarantine and statistics.

The statistics stand beside those of the paper (Llama 2, arXiv:2307.09288, section 4.1), where it gives them.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_json
from arriero.data.places import quarantine_rows
from arriero.report.page import Table
from arriero.report.text import size

FILES = ("funnel", "mixture", "statistics", "sources", "parts")
MOST_ROWS = 25  # languages
MOST_TERMS = 5  # of an axis
# Llama 2, percent of documents.
PAPER_LANGUAGES = {"en": 89.70, "unknown": 8.38}
PAPER_PRONOUNS = {"she": 28.45, "he": 50.73}
PAPER_TOXIC = 0.2


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
    """The tables of what data.statistics counted, where there was something to count."""
    english = found.get("english_documents", 0)
    return [
        _sizes(found.get("sources", {})),
        _languages(found.get("languages", {})),
        _pronouns(found.get("pronouns", {}), english),
        _terms(found.get("axes", {}), found.get("terms", {}), english),
        _toxicity(found.get("toxicity", {})),
    ]


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _paper(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.2f}%" if name in figures else ""


def _sizes(sources: Mapping[str, Mapping[str, int]]) -> Table:
    rows = [
        (name, f"{row['documents']:,}", size(row["bytes"]), f"{row['words']:,}", f"{row['lines']:,}")
        for name, row in sources.items()
    ]
    return Table("Sizes", ("source", "documents", "text", "words", "lines"), rows, "Documents for training.")


def _languages(counts: Mapping[str, int]) -> Table:
    ranked, total = _ranked(counts), sum(counts.values())
    rows = [
        (name, f"{count:,}", percent(count, total), _paper(PAPER_LANGUAGES, name)) for name, count in ranked[:MOST_ROWS]
    ]
    more = f" And {len(ranked) - MOST_ROWS} more." if len(ranked) > MOST_ROWS else ""
    caption = f"Of {total:,} documents for training other than code.{more}"
    return Table("Languages", ("language", "documents", "share", "Llama 2"), rows, caption)


def _pronouns(counts: Mapping[str, int], english: int) -> Table:
    gendered = counts.get("gendered", 0)
    rows = [
        (
            *(name.replace("_", " "), f"{count:,}", percent(count, english)),
            percent(count, gendered) if name in ("she", "he", "they") else "",
            _paper(PAPER_PRONOUNS, name),
        )
        for name, count in _ranked(counts)
    ]
    columns = ("pronouns", "documents", "of English", "of gendered", "Llama 2")
    caption = f"Of {english:,} English documents; it is not clear which of the shares the paper's are."
    return Table("Pronouns", columns, rows, caption)


def _terms(axes: Mapping[str, int], terms: Mapping[str, Mapping[str, int]], english: int) -> Table:
    rows = []
    for axis, count in _ranked(axes):
        frequent = _ranked(terms.get(axis, {}))[:MOST_TERMS]
        listed = ", ".join(f"{term} {percent(documents, count)}" for term, documents in frequent)
        rows.append((axis.replace("_", " "), listed, f"{count:,}", percent(count, english)))
    columns = ("axis", "most frequent terms, in share of the axis's documents", "documents", "of English")
    caption = "English documents that hold a word for a group of people."
    return Table("Demographic terms", columns, rows, caption, numbers_from=2)


def _toxicity(counts: Mapping[str, int]) -> Table:
    rows = []
    if scored := counts.get("documents", 0):
        toxic, mean = counts.get("toxic", 0), counts.get("score_millionths", 0) / 1e6 / scored
        rows.append((f"{scored:,}", f"{toxic:,}", percent(toxic, scored), f"{PAPER_TOXIC:.2f}%", f"{mean:.4f}"))
    columns = ("scored", "toxic", "share", "Llama 2", "mean score")
    caption = "Of a sample of English documents, those whose lines' mean score is 0.5 or more."
    return Table("Toxicity", columns, rows, caption, numbers_from=0)
