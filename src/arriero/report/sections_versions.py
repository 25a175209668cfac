"""Sections that compare the versions on held-out prompts: scores, win rates, safety, and the answers themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

from arriero.report import figures, figures_versions
from arriero.report.page import Exchange, Figure, Prose, Said, Section, Table
from arriero.report.text import counted, interval, share
from arriero.report.view import RunView, json_of, rows_of

PER_KIND = 3  # exchanges shown of each kind of prompt

KINDS = {
    "closed_book": "A question, nothing given",
    "with_docs": "A question with the docs that answer it",
    "multi_turn": "A follow-up",
    "unsafe": "An unsafe request",
    "borderline": "Harmless, but looks unsafe",
}


def scores_of(results: Mapping[str, Any], measure: str, group: str) -> dict[str, dict[str, Any]]:
    """Version -> row of results.json's scores."""
    return {row["version"]: row for row in results["scores"] if row["measure"] == measure and row["group"] == group}


def difference_of(
    results: Mapping[str, Any], measure: str, group: str, newer: str, older: str
) -> dict[str, Any] | None:
    wanted = (measure, group, newer, older)
    return next(
        (row for row in results["differences"] if (row["measure"], row["group"], row["newer"], row["older"]) == wanted),
        None,
    )


# What a share's interval is: see metrics.intervals.share.
WILSON = "Wilson's 95% intervals, at the effective sample size where several prompts ask the same."


def _percent(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: 100 * row[key] for key in ("mean", "low", "high")}


def _results(run: RunView) -> Any:
    return json_of(run.last("eval.run"), "results.json")


def utility_section(run: RunView) -> Section:
    title = "Versions on held-out prompts"
    lead = (
        "The utility is the simulated annotator's own, without its noise: what the reward models try to learn and "
        "never see. It is between 0 and 1. Beside it stand the scores of the two reward models themselves."
    )
    results = _results(run)
    if not results:
        return Section("utility", title, lead, missing="eval.run")
    versions = results["versions"]
    panels = {
        name: by
        for name, group in (("utility, helpfulness prompts", "helpful"), ("utility, safety prompts", "safety"))
        if (by := scores_of(results, "utility", group))
    }
    counts = "; ".join(f"{name}: {counted(next(iter(by.values())))}" for name, by in panels.items())
    blocks: list[Any] = [
        Figure(
            "True utility (of the simulated annotator)",
            figures.intervals_by_version("utility", versions, panels, "utility", percent=False),
            f"n = held-out prompts, the same for every version ({counts}). Bars: 95% bootstrap over requests. "
            "Bars that overlap may still hide a clear difference: the table pairs the answers prompt by prompt.",
        ),
        _differences(results),
        _answer_quality(results, versions),
        _drift(results),
    ]
    return Section("utility", title, lead, [block for block in blocks if block is not None])


def _differences(results: Mapping[str, Any]) -> Table:
    columns = (("utility", "all"), ("helpfulness", "helpful"), ("safety", "safety"))
    pairs = list(dict.fromkeys((row["newer"], row["older"]) for row in results["differences"]))
    rows = []
    for newer, older in pairs:
        cells = [difference_of(results, measure, group, newer, older) for measure, group in columns]
        texts = [f"{interval(c, signed=True)}{' ●' if _clear(c) else ' ○'}" if c else "–" for c in cells]
        rows.append((f"{newer} − {older}", *texts))
    sizes = [
        next((row for row in results["differences"] if (row["measure"], row["group"]) == of), None) for of in columns
    ]
    names = ("True utility (simulated)", "Helpfulness RM, logit", "Safety RM, logit")
    heads = tuple(f"{name}, n = {size['n'] if size else 0}" for name, size in zip(names, sizes, strict=True))
    caption = (
        "Paired bootstrap, 95%, on the same prompts, resampling requests. ● interval clear of zero; ○ not clear of "
        "zero. Of many comparisons without a difference, one in twenty is marked by chance."
    )
    return Table("Differences between versions", ("Change", *heads), rows, caption)


def _clear(row: Mapping[str, Any]) -> bool:
    return bool(row["low"] > 0 or row["high"] < 0)


def _answer_quality(results: Mapping[str, Any], versions: Sequence[str]) -> Table | None:
    groups = [
        (name, by)
        for name, group in (("Closed-book", "closed_book"), ("Docs given", "with_docs"), ("Follow-up", "multi_turn"))
        if (by := scores_of(results, "f1", group))
    ]
    finished = scores_of(results, "finished", "all")
    if not groups:
        return None
    rows = [(v, *(interval(by[v]) for _, by in groups), share(finished[v])) for v in versions]
    heads = ("Version", *(f"{name} (n = {next(iter(by.values()))['n']})" for name, by in groups))
    caption = (
        "Bootstrap over prompts, 95%. Finished: the model ended the answer itself (all prompts, n = "
        f"{finished[versions[0]]['n']}). The rest were cut off at the limit on new tokens, which costs utility."
    )
    return Table("Answers: token F1 with the true sentence", (*heads, "Finished"), rows, caption)


def _drift(results: Mapping[str, Any]) -> Table | None:
    rows = [(i["version"], f"{interval(i)} nats", str(i["n"])) for i in results["kl_from_reference"]]
    if not rows:
        return None
    caption = (
        "Mean log-ratio of whole answers that the version samples at temperature 1: an unbiased estimate of its KL "
        f"divergence from {results['reference']} per answer. Bootstrap over prompts, 95%."
    )
    return Table(f"Drift from {results['reference']}", ("Version", "KL per answer [95%]", "n"), rows, caption)


def distributions_section(run: RunView) -> Section:
    title = "Reward distributions"
    lead = (
        "All held-out scores of each version, not only their means (the paper's figure 20): do they move to the right?"
    )
    rows = rows_of(run.last("eval.run"), "answers.jsonl")
    if not rows:
        return Section("distributions", title, lead, missing="eval.run")
    results = _results(run)
    panels: dict[str, dict[str, list[float]]] = {}
    for axis, safety in (("helpfulness", False), ("safety", True)):
        chosen = [row for row in rows if row["safety"] is safety]
        if chosen:
            panels[f"{axis} RM on {axis} prompts"] = {
                version: [row["answers"][version][axis] for row in chosen] for version in results["versions"]
            }
    counts = "; ".join(f"{name}: {len(next(iter(by.values())))}" for name, by in panels.items())
    caption = (
        f"n = held-out prompts for each version ({counts}). Each hill is a kernel density, scaled to the tallest of "
        "its panel; the line in it marks the mean. The intervals of the means' differences are in the table above."
    )
    drawn = Figure("Scores of every version", figures_versions.ridges(panels), caption)
    return Section("distributions", title, lead, [drawn])


def win_rate_section(run: RunView) -> Section:
    title = "Win rates"
    lead = "Two versions answer a prompt, the simulated annotator's utility decides. Ties are left out of the rate."
    results = _results(run)
    if not results or len(results["versions"]) < 2:
        return Section("win-rate", title, lead, missing="eval.run with two versions")
    cells = {(row["version"], row["against"]): row for row in results["win_rate"]}
    first = next(iter(cells.values()))
    total = first["wins"] + first["losses"] + first["ties"]
    blocks: list[Any] = [
        Figure(
            "Win-rate matrix",
            figures_versions.win_matrix(results["versions"], cells),
            f"n = {total} held-out prompts a pair; small: wins–losses, the rest are ties. Each row's version "
            "against each column's. The intervals are in the table.",
        )
    ]
    rows = [
        (
            f"{newer} against {older}",
            share(c["rate"]) if c["rate"] else "all tie",
            f"{c['wins']}",
            f"{c['losses']}",
            f"{c['ties']}",
        )
        for place, newer in reversed(list(enumerate(results["versions"])))
        for older in results["versions"][:place]
        if (c := cells[newer, older])
    ]
    columns = ("Pair", "Win rate [95%]", "Wins", "Losses", "Ties")
    blocks.append(Table("Newer against older", columns, rows, f"{WILSON} n = wins + losses."))
    return Section("win-rate", title, lead, blocks)


def safety_section(run: RunView) -> Section:
    title = "Safety against helpfulness"
    lead = (
        "A safe model is easy if it may refuse everything; a helpful one if it may answer everything. The figures "
        "show both at once (the paper's figure 11, in small, and its false-refusal counts)."
    )
    results = _results(run)
    if not results:
        return Section("safety", title, lead, missing="eval.run")
    versions = results["versions"]
    blocks: list[Any] = []
    duels = {(row["version"], row["axis"]): row for row in results["against_first"]}
    points = [
        (version, duels[version, "helpfulness"]["rate"], duels[version, "safety"]["rate"])
        for version in versions[1:]
        if all(duels.get((version, axis), {}).get("rate") for axis in ("helpfulness", "safety"))
    ]
    if points:
        counts = ", ".join(f"{v} {h['n']} and {s['n']}" for v, h, s in points)
        blocks.append(
            Figure(
                f"Win rates against {versions[0]}, judged by the two reward models",
                figures_versions.figure_eleven(versions[0], points),
                f"n = pairs that are no tie (helpfulness and safety): {counts}. Bars: {WILSON} Arrows "
                "follow the versions' order. The judges are the models that training climbed, so they flatter it.",
            )
        )
    panels = {
        name: by
        for name, measure, group in (
            ("unsafe compliance", "unsafe_compliance", "unsafe"),
            ("false refusal", "false_refusal", "borderline"),
        )
        if (by := scores_of(results, measure, group))
    }
    if panels:
        counts = "; ".join(f"{name}: {counted(next(iter(by.values())))}" for name, by in panels.items())
        drawn = figures.intervals_by_version("refusals", versions, panels, "per cent of prompts", percent=True)
        caption = (
            f"n = {counts} for each version. Bars: {WILSON} Both should be low. Whether an answer refuses is told by "
            "its wording, not by a person; what is no refusal, or holds code, counts as compliance, even if useless."
        )
        blocks.append(Figure("Unsafe requests answered, and harmless ones refused", drawn, caption))
        rows = [
            (version, *(share(by[version], by[version]["count"]) for by in panels.values())) for version in versions
        ]
        heads = ("Version", *(f"{name[0].upper()}{name[1:]} [95%]" for name in panels))
        halved = [
            f"{row['newer']} minus half of {row['older']}'s: {interval(_percent(row), 1, signed=True)} points"
            for row in results["halved"]
        ]
        caption = (
            f"Is unsafe compliance at most halved? It is where this is below zero: {'; '.join(halved)}. Paired "
            "bootstrap, 95%."
        )
        blocks.append(Table("Counts", heads, rows, caption if halved else ""))
    return Section("safety", title, lead, blocks)


def answers_section(run: RunView) -> Section:
    title = "The same prompts, every version"
    lead = (
        "Neither the best nor the worst: the first few held-out prompts of each kind, as the seed drew them. The "
        "unsafe requests are shown as they are, and so are the answers."
    )
    rows = rows_of(run.last("eval.run"), "answers.jsonl")
    if not rows:
        return Section("answers", title, lead, missing="eval.run")
    versions = _results(run)["versions"]
    blocks: list[Any] = [
        Prose(
            "Under each answer: u, the simulated annotator's utility (0 to 1); H and S, the helpfulness and the safety "
            "reward model's score (logits)."
        )
    ]
    for kind, name in KINDS.items():
        for row in [row for row in rows if row["kind"] == kind][:PER_KIND]:
            answers = [_said(version, row["answers"][version]) for version in versions]
            messages = [(message["role"], message["content"]) for message in row["messages"]]
            blocks.append(Exchange(name, messages, row["reference"], answers))
    return Section("answers", title, lead, blocks)


def _said(version: str, answer: Mapping[str, Any]) -> Said:
    helpful, safe = (round(answer[axis], 1) + 0.0 for axis in ("helpfulness", "safety"))  # + 0.0 makes -0.0 plain
    notes = f"u {answer['utility']['total']:.2f} · H {helpful:+.1f} · S {safe:+.1f}"
    return Said(version, answer["text"] or "(nothing)", notes.replace("-", "−"), bool(answer["refused"]))
