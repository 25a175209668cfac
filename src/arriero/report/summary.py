"""The head of the report: what was trained, the main figures with their intervals, and what they do not carry."""

from collections.abc import Mapping
from typing import Any

from arriero.report.model_card import final_model
from arriero.report.page import Fact, Facts, Points, Prose, Section
from arriero.report.sections_versions import difference_of, scores_of
from arriero.report.text import counted, duration, interval, share
from arriero.report.view import RunView, json_of

FEW = 200  # prompts below which the report says that the sample is small


def summary_section(run: RunView) -> Section:
    results = json_of(run.last("eval.run"), "results.json")
    facts = _facts(run, results) if results else []
    blocks: list[Any] = [Prose(_told(run))]
    if facts:
        blocks.append(Facts(facts))
    blocks += [Prose("What these figures do not carry:"), Points(_limits(run, results))]
    return Section("summary", "In short", "", blocks)


def _told(run: RunView) -> str:
    seconds = run.wall_seconds()
    found = final_model(run)
    start = "imported weights" if run.of("model.import") else "randomly initialised weights"
    steps = [
        name
        for stage, name in (
            ("train.pretrain", "pretraining"),
            ("train.sft", "supervised fine-tuning"),
            ("reward.train", "two reward models"),
            ("rlhf.rejection_sampling", "rejection sampling"),
            ("rlhf.ppo", "PPO"),
            ("rlhf.gatt", "Ghost Attention"),
            ("safety.context_distillation", "context distillation"),
        )
        if run.of(stage)
    ]
    model = f" Its final model is “{found[0]}”." if found else ""
    return (
        f"The run “{run.name}” started from {start} and went through {', '.join(steps) or 'its data stages'}: "
        f"{len(run.stages)} stages, {duration(seconds)} of computing.{model}"
    )


def _facts(run: RunView, results: Mapping[str, Any]) -> list[Fact]:
    versions, reference = results["versions"], results["reference"]
    found = final_model(run)
    newest = found[0] if found and found[0] in versions else versions[-1]
    facts = [
        _paired("Held-out bits per byte", f"{c['newer']} − {c['older']}", c, 3, "documents", "modules")
        for c in results["bits_per_byte"]["changes"]
    ]
    baselines = results["bits_per_byte"].get("baselines")
    if baselines:
        best = min(baselines["by_document"], key=lambda baseline: baseline["mean"])
        what = f"From scratch, against {best['name']}, the best by document"
        facts.append(_paired(what, "bits per byte", best["scratch_minus"], 2, "documents", "modules"))
        facts.append(_against_xz(results["bits_per_byte"]))
    for older in dict.fromkeys((reference, versions[0])):
        change = difference_of(results, "utility", "all", newest, older)
        if change:
            facts.append(_paired("True utility (simulated annotator)", f"{newest} − {older}", change, 3, "prompts"))
    for name, measure, group in (
        ("Unsafe requests answered", "unsafe_compliance", "unsafe"),
        ("Harmless requests refused", "false_refusal", "borderline"),
    ):
        by = scores_of(results, measure, group)
        if newest in by:
            changes = {
                older: difference_of(results, measure, group, newest, older) for older in (reference, versions[0])
            }
            facts.append(_shares(name, newest, by, {older: row for older, row in changes.items() if row}))
    for row in results["gatt_changes"]:
        if row["newer"] == newest:
            what = f"Instruction kept from turn {row['from_turn']} on"
            facts.append(_paired(what, f"{newest} − {row['older']}", row, 2, "answers", "dialogues"))
    return facts


def _against_xz(found: Mapping[str, Any]) -> Fact:
    """xz compresses the text as a whole, so there is nothing to resample."""
    scratch = next(row["mean"] for row in found["models"] if row["model"] == "scratch")
    xz = found["baselines"]["xz"]
    below = scratch < xz["alone"]
    return Fact(
        "From scratch, against xz of all documents in one, bits per byte",
        f"{scratch - xz['alone']:+.2f}".replace("-", "−"),
        f"{scratch:.2f} against {xz['alone']:.2f}; no interval, n = {found['documents']} documents",
        f"{'below' if below else 'not below'} xz; xz that first reads the training text: "
        f"{xz['after_training_text']:.2f}",
        below,
    )


def _paired(what: str, between: str, row: Mapping[str, Any], digits: int, unit: str, grouped: str = "requests") -> Fact:
    clear = row["low"] > 0 or row["high"] < 0
    value, _, bounds = interval(row, digits, signed=True).partition(" ")
    verdict = f"{'above' if row['low'] > 0 else 'below'} zero" if clear else "not clear of zero: may be chance"
    return Fact(f"{what}, {between}", value, f"95% {bounds}, n = {counted(row, unit, grouped)}", verdict, bool(clear))


def _shares(what: str, newest: str, by: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]) -> Fact:
    """The newest version's share beside that of the older ones; `changes` holds newest minus older."""
    row = by[newest]
    told = [f"{older}: {100 * by[older]['mean']:.0f}%, {_direction(change)}" for older, change in changes.items()]
    clear = all(_direction(change) != _UNCLEAR for change in changes.values())
    bounds = f"{share(row, row['count']).partition(' ')[2]}, n = {counted(row)}"
    return Fact(f"{what}, {newest}", f"{100 * row['mean']:.0f}%", bounds, "; ".join(told), clear)


_UNCLEAR = "not clear of zero"


def _direction(change: Mapping[str, Any]) -> str:
    return "clearly lower" if change["high"] < 0 else "clearly higher" if change["low"] > 0 else _UNCLEAR


def _limits(run: RunView, results: Mapping[str, Any] | None) -> list[str]:
    limits = []
    if run.of("preference.simulate"):
        limits.append(
            "A simulated annotator, a program with a known utility, compared the answers. Gains show that the "
            "recipe climbs what it is given, not that people would like the answers better."
        )
    if run.of("model.import"):
        limits.append(
            "The imported model may have been tuned for chat before. What it already could is no merit of this run; "
            "read each figure as a change from it."
        )
    if results:
        total = sum(results["prompts"].values())
        if total < FEW:
            limits.append(
                f"{total} held-out prompts are few: intervals are wide, and a figure not clear of zero claims nothing."
            )
        limits.append("Prompts cover a narrow domain; nothing is claimed beyond prompts of their kind.")
        limits.append("Refusals are recognised by their wording, so an evasive answer counts as an answer.")
        limits.append(
            "Reward models judge the versions that were trained on them; where their scores and the true utility part, "
            "believe the utility."
        )
    limits.append("One seed, one machine: intervals hold for new prompts, not for another course of training.")
    return limits
