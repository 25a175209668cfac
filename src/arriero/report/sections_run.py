"""Sections on the run itself: lineage, time and energy, model card, recipe."""

from arriero.report.carbon import KG_PER_KWH, LAPTOP_CPU_WATTS, PUE, footprint
from arriero.report.lineage import LEGEND, lineage_svg
from arriero.report.model_card import model_card
from arriero.report.page import Code, Definitions, Figure, Section, Table
from arriero.report.text import duration, size
from arriero.report.view import RunView


def lineage_section(run: RunView) -> Section:
    title, lead = "Lineage", "What came from what. Every box is an artifact with a manifest and a digest of each file."
    labels = run.labels()
    sources = {
        label: [labels[id] for id in dict.fromkeys(artifact.manifest.input_ids()) if id in labels]
        for label, artifact in run.stages.items()
    }
    if not sources:
        return Section("lineage", title, lead, missing="any finished stage")
    about = {label: (a.manifest.stage, a.manifest.kind) for label, a in run.stages.items()}
    caption = f"n = {len(sources)} stages. {LEGEND}"
    rows = [(label, a.manifest.stage, a.id, ", ".join(sources[label]) or "–") for label, a in run.stages.items()]
    table = Table("Artifacts", ("Label", "Stage", "Id", "Made from"), rows, numbers_from=9)
    return Section(
        "lineage", title, lead, [Figure("Stages and their inputs", lineage_svg(sources, about), caption), table]
    )


def cost_section(run: RunView) -> Section:
    title, lead = "Time, energy and carbon", "What the run cost. Time and memory are measured; energy is an estimate."
    rows = []
    total_wall = total_cpu = peak = 0.0
    for label, artifact in run.stages.items():
        timings = artifact.manifest.timings
        wall, cpu, memory = (timings.get(key, 0.0) for key in ("wall_seconds", "cpu_seconds", "peak_memory_bytes"))
        total_wall, total_cpu, peak = total_wall + wall, total_cpu + cpu, max(peak, memory)
        rows.append(_cost_row(label, wall, cpu, memory))
    rows.append(_cost_row("all", total_wall, total_cpu, peak))
    caption = (
        f"Energy = hours × {LAPTOP_CPU_WATTS:g} W × PUE {PUE}; carbon = energy × {KG_PER_KWH} kg/kWh, the paper's own "
        f"formula (table 2). The {LAPTOP_CPU_WATTS:g} W are an estimate for a laptop's CPU; nothing measured the "
        "power. A stage that was reused counts with what it cost when it was made."
    )
    columns = ("Stage", "Time", "CPU time", "Peak memory", "Energy, est.", "Carbon, est.")
    return Section("cost", title, lead, [Table("Cost of each stage", columns, rows, caption, total=True)])


def _cost_row(label: str, wall: float, cpu: float, memory: float) -> tuple[str, ...]:
    cost = footprint(wall)
    return (
        label,
        duration(wall),
        duration(cpu),
        size(memory) if memory else "–",
        f"{cost.kwh * 1000:.2f} Wh",
        f"{cost.kg_co2eq * 1000:.2f} g",
    )


def card_section(run: RunView) -> Section:
    lead = "For whoever meets the final model without this report."
    return Section("card", "Model card", lead, [Definitions(model_card(run))])


def recipe_section(run: RunView) -> Section:
    lead = (
        "Everything that was set, every default filled in. Run again with the same code and packages, on the same kind "
        "of machine with as many threads, it gives the same bytes."
    )
    return Section("recipe", "Resolved recipe", lead, [Code(f"{run.name}.toml", run.toml)])
