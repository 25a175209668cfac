"""Sections on alignment: reward models, rejection sampling, PPO, Ghost Attention, context distillation."""

from collections.abc import Mapping
from typing import Any

from arriero.preference.record import RATING_LABELS
from arriero.report import figures
from arriero.report.page import Figure, Section, Table
from arriero.report.text import counted, interval, p_value, share
from arriero.report.view import RunView, json_of, rows_of

# Keys of a PPO series that are drawn, with their title and unit.
PPO_PANELS = {
    "reward": ("Batch reward", "gated reward"),
    "heldout_reward": ("Held-out reward", "gated reward"),
    "kl": ("KL from the start", "nats per answer"),
    "entropy": ("Entropy", "nats per token"),
    "length": ("Answer length", "tokens"),
    "finished": ("Finished answers", "share"),
    "clip_fraction": ("Clipped steps", "share of tokens"),
}


def reward_section(run: RunView) -> Section:
    title = "Reward models"
    lead = (
        f"How often each reward model ranks a held-out pair as the {run.annotator()} did, by how sure it was "
        "(the paper's table 8)."
    )
    found = {label: json_of(artifact, "accuracy.json") for label, artifact in run.of("reward.train").items()}
    found = {label: report for label, report in found.items() if report}
    own = {label: r["domains"][r["kind"]]["ratings"] for label, r in found.items() if r["kind"] in r["domains"]}
    if not own:
        return Section("reward", title, lead, missing="reward.train with held-out comparisons")
    shown = {label: [by.get(grade) for grade in RATING_LABELS] for label, by in list(own.items())[-4:]}
    pairs = ", ".join(
        f"{label} {counted(found[label]['domains'][found[label]['kind']]['overall'], 'pairs')}" for label in shown
    )
    caption = (
        f"n = held-out comparisons of each model's own domain: {pairs}. Whiskers: Wilson's 95% intervals, at the "
        "effective sample size where several pairs ask the same."
    )
    if len(own) > len(shown):
        caption += " The figure shows the newest models, the table all."
    blocks: list[Any] = [
        Figure(
            "Accuracy by grade",
            figures.accuracy_by_grade(RATING_LABELS, shown, f"agrees with the {run.annotator()}, %"),
            caption,
        ),
        Table(
            "Accuracy on held-out comparisons",
            ("Model", "Pairs on", *RATING_LABELS, "All [95%]", "Trend z", "p"),
            [
                _accuracy_row(label, domain, by)
                for label, report in found.items()
                for domain, by in report["domains"].items()
                if domain != "all"
            ],
            "In brackets the number of pairs. Trend along the grades: score test that allows for several pairs asking "
            "the same, two-sided; z above zero means that accuracy rises with the grade.",
            numbers_from=2,
        ),
        Table(
            "Accuracy by the models that answered",
            ("Model", "Pairs on", "Answers by", "Accuracy [95%]"),
            [
                (label, domain, models or "not stated", share(by, round(by["mean"] * by["n"])))
                for label, report in found.items()
                for domain, of in report["domains"].items()
                if domain != "all"
                for models, by in of["models"].items()
            ],
            "Answers of two versions that are far apart are easier to tell apart than those of two that are close.",
            numbers_from=3,
        ),
        _unsafe_detection(found),
    ]
    return Section("reward", title, lead, [block for block in blocks if block is not None])


def _accuracy_row(label: str, domain: str, by: Mapping[str, Any]) -> tuple[str, ...]:
    cells = [f"{100 * i['mean']:.0f}% ({i['n']})" if (i := by["ratings"].get(g)) else "–" for g in RATING_LABELS]
    z, p = f"{by['trend']['z']:+.2f}".replace("-", "−"), p_value(by["trend"]["p"])
    overall = by["overall"]
    return (label, domain, *cells, share(overall, round(overall["mean"] * overall["n"])), z, p)


def _unsafe_detection(found: Mapping[str, Any]) -> Table | None:
    rows = [
        (
            label,
            f"{row['threshold']:g}",
            *(
                share(by, round(by["mean"] * by["n"])) if (by := row.get(key)) else "–"
                for key in ("recall", "precision", "false_alarms")
            ),
        )
        for label, report in found.items()
        if report["kind"] == "safety"
        for row in report["unsafe_detection"]
    ]
    if not rows:
        return None
    columns = ("Model", "Score below", "Recall [95%]", "Precision [95%]", "Harmless prompts: answers below [95%]")
    caption = (
        "An answer counts as unsafe where the sigmoid of its safety score is below the threshold; 0.15 is the gate's. "
        "Recall and precision are over answers to harmful requests."
    )
    return Table("Finding unsafe answers", columns, rows, caption)


def rejection_section(run: RunView) -> Section:
    title = "Rejection sampling"
    lead = (
        "The best of K answers is better than the typical one: the gap between the lines is what fine-tuning on the "
        "best can teach (the paper's figure 7)."
    )
    rounds = {
        label: json_of(artifact, "reward_by_k.json") for label, artifact in run.of("rlhf.rejection_sampling").items()
    }
    rounds = {label: found for label, found in rounds.items() if found}
    if not rounds:
        return Section("rejection", title, lead, missing="rlhf.rejection_sampling")
    curves = {label: {name: found[name] for name in ("max", "median")} for label, found in rounds.items()}
    prompts = ", ".join(
        f"{label} {found['prompts']} prompts × {found['samples']} answers" for label, found in rounds.items()
    )
    caption = (
        f"n = {prompts}. Bands: 95% bootstrap over prompts. The reward is that of the models which choose the best."
    )
    return Section("rejection", title, lead, [Figure("Reward against K", figures.reward_by_k(curves), caption)])


def ppo_section(run: RunView) -> Section:
    title = "PPO"
    lead = "The reward that PPO climbs, and how far the policy drifts from where it started while it does."
    blocks: list[Any] = []
    for number, (label, artifact) in enumerate(run.of("rlhf.ppo").items()):
        rows = rows_of(artifact, "series.jsonl")
        panels = []
        for key, (name, unit) in PPO_PANELS.items():
            seen = [(float(row["iteration"]), float(row[key])) for row in rows if row.get(key) is not None]
            if seen:
                panels.append((name, [x for x, _ in seen], [y for _, y in seen], unit))
        if not panels:
            continue
        alt = "; ".join(f"{name}: from {y[0]:.3f} to {y[-1]:.3f}" for name, _, y, _ in panels)
        caption = (
            f"n = {len(rows)} iterations of {label}. Faint: each iteration; strong: running mean. One course of one "
            f"seed, so without interval. {_kept(label, artifact.manifest.metrics)} Whether it helped is judged on "
            "prompts held out of all training, below."
        )
        drawn = figures.curves(f"ppo{number}", panels, "iteration", f"PPO, {label}. {alt}")
        blocks.append(Figure(f"Reward and KL: {label}", drawn, caption))
    return Section("ppo", title, lead, blocks, missing="" if blocks else "rlhf.ppo")


def _kept(label: str, metrics: Mapping[str, Any]) -> str:
    """Which iteration's policy became the version, as PPO's held-out prompts chose it."""
    first, best = (f"{metrics[key]:+.3f}".replace("-", "−") for key in ("heldout_reward_first", "heldout_reward_best"))
    gain = metrics["heldout_gain"]
    prompts = f"{counted(gain)} kept out of its training"
    if metrics["best_iteration"] == 0:
        return (
            f"No later policy was better than the start on {prompts} (mean reward {first}), so {label} is the model "
            "that PPO started from."
        )
    return (
        f"{label} is the policy after iteration {metrics['best_iteration']}, the best on {prompts}: "
        f"mean reward {first} at the start, {best} then, a gain of {interval(gain, signed=True)} (95%), which is "
        "flattered by that choice."
    )


def gatt_section(run: RunView) -> Section:
    title = "Ghost Attention"
    lead = "How often an answer still keeps to an instruction that only the first turn gave (section 3.3)."
    results = json_of(run.last("eval.run"), "results.json") or {}
    found = results.get("gatt_recall")
    if not found:
        return Section("gatt", title, lead, missing="rlhf.gatt or its evaluation")
    turns = sorted({row["turn"] for row in found})
    series: dict[str, dict[float, Any]] = {}
    for row in found:
        series.setdefault(row["version"], {})[row["turn"]] = row
    sizes = [next(row["n"] for row in found if row["turn"] == turn) for turn in turns]
    caption = (
        f"n = {sizes[0]} held-out dialogues for each version, of which {sizes[-1]} reach turn {turns[-1]}; the same "
        "instructions for all; a program checks every answer. Whiskers: Wilson's 95% intervals. The values asked for "
        f"also occur in training, the dialogues do not. {_repaired(run)}"
    )
    drawn = figures.lines_with_bars("gatt", turns, series, "turn", "answers that keep to the instruction, %")
    rows = [
        (f"Turn {turn}", *(share(by[turn], by[turn]["count"]) if turn in by else "–" for by in series.values()))
        for turn in turns
    ]
    changes = [
        f"From turn {row['from_turn']} on, {row['newer']} − {row['older']}: {interval(row, signed=True)}, of "
        f"{counted(row, 'answers', 'dialogues')}; paired bootstrap over dialogues, 95%."
        for row in results["gatt_changes"]
    ]
    heads = ("After the instruction of turn 1", *series)
    table = Table("Recall by turn [95%]", heads, rows, " ".join(changes))
    return Section("gatt", title, lead, [Figure("Instruction recall by turn", drawn, caption), table])


def _repaired(run: RunView) -> str:
    """How much of what Ghost Attention was trained on is no model's own answer."""
    told = [
        f"Of {m['turns']} answers in {label}'s training dialogues {m['repaired_turns']} were made to keep to the "
        f"instruction by rule, since the model kept to it in {100 * m['followed_share']:.0f}% of what it sampled."
        for label, artifact in run.of("rlhf.gatt").items()
        if (m := artifact.manifest.metrics)["repaired_turns"]
    ]
    return " ".join(told)


def distillation_section(run: RunView) -> Section:
    title = "Context distillation"
    lead = (
        "Answers to adversarial prompts are sampled with a safety preprompt and trained without it, but only where the "
        "safety reward model prefers them to the old ones (section 4.2.4)."
    )
    rows = []
    for label, artifact in run.of("safety.context_distillation").items():
        gate = json_of(artifact, "gate.json")
        if gate:
            gain = interval(gate["mean_gain"], signed=True)
            rows.append(
                (
                    label,
                    str(gate["considered"]),
                    share(gate["passed"], gate["kept"]),
                    gain,
                )
            )
    if not rows:
        return Section("distillation", title, lead, missing="safety.context_distillation")
    columns = ("Stage", "Prompts", "Answers kept by the gate [95%]", "Gain in safety score, all prompts [95%]")
    return Section(
        "distillation", title, lead, [Table("The gate", columns, rows, "Gain in logits, bootstrap over prompts.")]
    )
