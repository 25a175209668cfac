"""The model card of a run's final model, with the sections of the paper's (A.7, table 52)."""

from arriero.artifacts import Artifact
from arriero.report.carbon import footprint
from arriero.report.text import duration
from arriero.report.view import RunView, json_of


def final_model(run: RunView) -> tuple[str, Artifact] | None:
    """The model that the recipe names for chat, else the last model of the run."""
    models = {label: artifact for label, artifact in run.stages.items() if artifact.manifest.kind == "model"}
    named = run.recipe.get("model")
    if named in models:
        return named, models[named]
    return list(models.items())[-1] if models else None


def model_card(run: RunView) -> list[tuple[str, list[str]]]:
    """Headings and paragraphs. States only what the manifests hold, and what follows from it."""
    found = final_model(run)
    name = f"{run.name}:{found[0]}" if found else run.name
    simulated, imported = bool(run.of("preference.simulate")), bool(run.of("preference.import"))
    seconds = run.wall_seconds()
    cost = footprint(seconds)
    return [
        ("Model", [name, *([f"Artifact {found[1].id}."] if found else []), *_architecture(found)]),
        ("Developer", ["Whoever ran this recipe. Arriero is the software; it ships no weights of its own."]),
        ("Input and output", ["Text in, text out."]),
        ("Starting point", _start(run)),
        (
            "Intended use",
            ["Study of the training recipe on one's own machine, and a starting point for one's own data."],
        ),
        (
            "Out of scope",
            [
                "Any use in which a wrong, unsafe or made-up answer does harm; advice on health, law or money; "
                "languages other than that of the training text; any use that breaks the law or the sources' licences."
            ],
        ),
        ("Training data", _data(run)),
        (
            "Feedback",
            [
                "Preferences come from a simulated annotator with a known utility. No person judged any answer, so "
                "nothing here says what people would prefer."
                if simulated and not imported
                else "Preferences come in part from a simulated annotator, in part from the comparisons given as files."
                if simulated
                else "Preferences come from the comparisons that were given as files; see the recipe."
            ],
        ),
        ("Evaluation", _evaluation(run)),
        (
            "Hardware and carbon",
            [
                f"{duration(seconds)} of computing, about {cost.kwh * 1000:.0f} Wh and {cost.kg_co2eq * 1000:.0f} g "
                f"CO2eq at an estimated {cost.watts:.0f} W. The training of the starting model is not included."
            ],
        ),
        (
            "Ethical considerations and limitations",
            [
                "Small models make things up with confidence, and safety training on a few hundred prompts does not "
                "carry far beyond prompts of their kind. Tests cannot cover all cases, nor other languages. Before "
                "any deployment, test and tune for your own use, as the paper asks of every deployer."
            ],
        ),
    ]


def _architecture(found: tuple[str, Artifact] | None) -> list[str]:
    description = json_of(found[1], "model.json") if found else None
    if not description or "config" not in description:
        return []
    c = description["config"]
    return [
        f"Llama decoder: width {c['dim']}, {c['n_layers']} layers, {c['n_heads']} heads of which {c['n_kv_heads']} "
        f"hold keys and values, {c['vocab_size']:,} tokens, context {c['max_seq_len']:,}."
    ]


def _start(run: RunView) -> list[str]:
    imported = run.of("model.import")
    if not imported:
        return ["Trained from scratch in this run."]
    labels = ", ".join(imported)
    return [
        f"Imported weights ({labels}); their own training data, licence and biases carry over. A starting model that "
        "was already tuned for chat brings skills that this run did not teach: compare every figure with the imported "
        "model's."
    ]


def _data(run: RunView) -> list[str]:
    lines = []
    for label, artifact in run.of("data.build").items():
        for source in json_of(artifact, "sources.json") or []:
            licences = ", ".join(sorted(source["licences"], key=lambda name: -source["licences"][name])[:6])
            more = max(0, len(source["licences"]) - 6)
            python = f", from Python {source['python_version']}" if source.get("python_version") else ""
            lines.append(
                f"{label}, {source['name']} ({source['kind']}): {source['documents']:,} documents{python}; licences: "
                f"{licences}{f' and {more} more' if more else ''}."
            )
    chats = ", ".join(run.of("data.python_chat", "data.chat_files"))
    if chats:
        lines.append(f"Dialogues and prompts: {chats}.")
    return lines or ["No data stage in this run."]


def _evaluation(run: RunView) -> list[str]:
    results = json_of(run.last("eval.run"), "results.json")
    if not results:
        return ["Not evaluated in this run."]
    total = sum(results["prompts"].values())
    return [
        f"{total} held-out prompts answered by {len(results['versions'])} versions; all figures with intervals above."
    ]
