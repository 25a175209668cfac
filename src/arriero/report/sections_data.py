"""Sections on the text and on what was learnt from it: funnel, mixture, loss curves, bits per byte."""

from typing import Any

from arriero.artifacts import Artifact
from arriero.report import figures, figures_proxies
from arriero.report.page import Figure, Section, Table
from arriero.report.text import interval, share, size
from arriero.report.view import RunView, json_of, rows_of

_PANELS = 9  # loss curves in one figure


def funnel_section(run: RunView) -> Section:
    found = json_of(run.last("data.build"), "funnel.json")
    title, lead = "From crawl to corpus", "Every document that came in either stayed or was dropped for a reason."
    if not found:
        return Section("funnel", title, lead, missing="data.build")
    steps = [(step["step"].replace("_", " "), step["out"], sum(step["dropped"].values())) for step in found["steps"]]
    drawn = Figure(
        "Documents left after each step",
        figures.funnel([("crawled", found["documents_in"], 0), *steps]),
        f"n = {found['documents_in']:,} documents, counted, not sampled, so without interval. Of the "
        f"{found['documents_out']:,} left, {found['train']:,} are for training and {found['heldout']:,} are held out.",
    )
    reasons = [
        (step["step"].replace("_", " "), reason.replace("_", " "), f"{count:,}", f"{100 * count / step['in']:.1f}%")
        for step in found["steps"]
        for reason, count in sorted(step["dropped"].items(), key=lambda item: -item[1])
    ]
    blocks: list[Any] = [drawn]
    if reasons:
        columns = ("Step", "Reason", "Documents dropped", "Of those that came to it")
        blocks.append(Table("Why documents were dropped", columns, reasons, numbers_from=2))
    return Section("funnel", title, lead, blocks)


def mixture_section(run: RunView) -> Section:
    found = json_of(run.last("data.build"), "mixture.json")
    title = "The mixture"
    lead = "Factual sources are read more often than once, as the paper does without giving its weights (section 2.1)."
    if not found:
        return Section("mixture", title, lead, missing="data.build")
    sources = found["sources"]
    drawn = Figure(
        "Share of each source before and after up-sampling",
        figures.mixture([(s["name"], s["epochs"], s["share_before"], s["share_after"]) for s in sources]),
        f"n = {sum(s['documents'] for s in sources):,} training documents, {size(found['bytes'])} of text, "
        f"{size(found['bytes_per_pass'])} in one pass; counted, so without interval. ×: how often a pass reads it.",
    )
    tokens: dict[str, list[str]] = {s["name"]: [] for s in sources}
    shards = {label: json_of(artifact, "shards.json") for label, artifact in run.of("data.shards").items()}
    for held in filter(None, shards.values()):
        counted = {row["name"]: row["tokens"] for row in held["sources"]}
        for name, cells in tokens.items():
            cells.append(f"{counted.get(name, 0):,}")
    rows = [
        (s["name"], s["kind"], f"{s['documents']:,}", size(s["bytes"]), f"{s['epochs']:g}", *tokens[s["name"]])
        for s in sources
    ]
    columns = (
        "Source",
        "Kind",
        "Documents",
        "Text",
        "Epochs",
        *(f"Tokens in {label}" for label in shards if shards[label]),
    )
    return Section("mixture", title, lead, [drawn, Table("Sources", columns, rows, numbers_from=2)])


def proxies_section(run: RunView) -> Section:
    found = json_of(run.last("data.proxies"), "results.json")
    title = "Mixes tried in small"
    lead = (
        "Tiny models, one for each candidate mix and seed, all trained on the same number of tokens: what up-sampling "
        "gives and what it costs. Whether a large model would choose the same, they cannot say."
    )
    if not found:
        return Section("proxies", title, lead, missing="data.proxies")
    facts, sources, sides = found["facts_source"], list(found["documents"]), list(found["facts"])
    n = " and ".join(f"{count} facts {figures_proxies.SIDES[side]}" for side, count in found["facts"].items())
    drawn = Figure(
        f"Held-out loss and recall by how often {facts} is read",
        figures_proxies.proxies(found),
        f"n = {found['seeds']} models of {found['parameters']:,} parameters for each mix, {n}, "
        f"{sum(found['documents'].values())} held-out documents. Bars: 95% bootstrap over modules, of their mean.",
    )
    rows = [
        (
            row["mix"],
            f"{row['factual_read']:.2f}",
            *(interval(row["bits_per_byte"][source], 3) for source in sources),
            *(share(row["recall"][side]) for side in sides),
        )
        for row in found["mixes"]
    ]
    columns = (
        "Mix",
        f"Times {facts} is read",
        *(f"Held-out {source}, bits per byte" for source in sources),
        *(f"Facts {figures_proxies.SIDES[side]} recalled" for side in sides),
    )
    note = f"A fact is recalled if its definition is likeliest after its own term; by chance {found['chance']:.0%} are."
    return Section("proxies", title, lead, [drawn, Table("Candidate mixes", columns, rows, note, numbers_from=1)])


def _curve(label: str, artifact: Artifact) -> tuple[str, list[float], list[float], str] | None:
    rows = [row for row in rows_of(artifact, "series.jsonl") if "loss" in row]
    if not rows:
        return None
    unit = "nats per pair" if artifact.manifest.kind == "reward_model" else "nats per token"
    return label, [float(row["step"]) for row in rows], [float(row["loss"]) for row in rows], unit


def loss_section(run: RunView) -> Section:
    title = "Loss curves"
    lead = "Training loss by step. It says that learning went on, not how well: for that, see what is held out."
    panels = [
        curve for label, artifact in run.of("train.", "reward.train").items() if (curve := _curve(label, artifact))
    ]
    if not panels:
        return Section("loss", title, lead, missing="train.*")
    blocks: list[Any] = []
    for start in range(0, len(panels), _PANELS):
        part = panels[start : start + _PANELS]
        alt = "Training loss. " + "; ".join(
            f"{name}: {y[0]:.3f} to {y[-1]:.3f} in {len(y)} steps" for name, _, y, _ in part
        )
        counts = ", ".join(f"{name} {len(y):,}" for name, _, y, _ in part)
        caption = (
            f"n = steps: {counts}. Faint: each step's loss; strong: running mean over 5% of the steps. A training loss "
            "is one course of one seed, so it has no interval."
        )
        blocks.append(Figure("Training loss", figures.curves(f"loss{start}", part, "step", alt), caption))
    return Section("loss", title, lead, blocks)


def bits_section(run: RunView) -> Section:
    evaluation = json_of(run.last("eval.run"), "results.json")
    title = "Held-out text"
    lead = (
        "Bits that a model needs for a byte of text that this run held out of training; lower is better, and no "
        "tokenizer can flatter it. What an imported model read before is not known."
    )
    found = (evaluation or {}).get("bits_per_byte")
    if not found or not found["models"]:
        return Section("bits", title, lead, missing="eval.run")
    rows = [(i["model"], i["mean"], i["low"], i["high"]) for i in found["models"]]
    baselines = found.get("baselines")
    if baselines:
        xz = baselines["xz"]
        rows += [(i["name"], i["mean"], i["low"], i["high"]) for i in baselines["by_document"]]
        rows += [
            (name, xz[key], xz[key], xz[key])
            for name, key in (("xz, all in one", "alone"), ("xz, all behind training text", "after_training_text"))
        ]
    seen = f"n = {found['documents']} documents of {found['modules']} held-out modules, {size(found['bytes'])}"
    caption = f"{seen}. Whiskers: 95% bootstrap over modules."
    if baselines:
        caption += (
            f" Bigrams and the last xz were given {size(baselines['training_bytes'])} of training text. With "
            "all documents in one, xz has no interval, and one foretells the next, which a model is not given."
        )
    blocks: list[Any] = [Figure("Bits per byte of held-out text", figures.bars("bits", rows, "bits per byte"), caption)]
    changes = [(f"{c['newer']} − {c['older']}", interval(c, 4, signed=True), str(c["n"])) for c in found["changes"]]
    if baselines:
        changes += [
            (f"scratch − {i['name']}", interval(i["scratch_minus"], 4, signed=True), str(i["n"]))
            for i in baselines["by_document"]
        ]
    if changes:
        columns = ("On the same documents", "Change in bits per byte [95%]", "n")
        blocks.append(Table("Paired changes", columns, changes, "Paired bootstrap over modules; below zero is better."))
    return Section("bits", title, lead, blocks)
