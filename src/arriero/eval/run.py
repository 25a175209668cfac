"""STAGE eval.run: everything that is claimed about the versions of a model, on prompts and text held out of training.

Follows the paper's sections 3.4 (model-based judging, win rates) and 4 (safety against helpfulness). Sampling settings
default to those of its safety benchmarks (temperature 0.1, top-p 0.9). The utility is that of the simulated annotator,
which is known here; no person judged anything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.artifacts.files import write_json, write_jsonl
from arriero.config import config, setting
from arriero.corpus import batches
from arriero.dialogue import Prompt, PromptKind, read_prompts
from arriero.errors import ConfigError, InputError
from arriero.eval.baselines import Bigram, Ids, byte_ids, xz_bits, xz_size
from arriero.eval.bits_per_byte import Document, heldout_documents
from arriero.eval.collect import Reply, Shelf, heldout_bits, log_ratios, reward_scores, sampled_answers
from arriero.eval.gatt import gatt_recall
from arriero.eval.measures import Answered, Judged, difference_rows, halving_rows, score_rows
from arriero.eval.win_rate import against_first, win_rate_matrix
from arriero.generation import SamplingConfig
from arriero.metrics.intervals import bootstrap_mean, bootstrap_ratio
from arriero.metrics.overlap import exact_match, token_f1
from arriero.metrics.refusal import is_refusal
from arriero.preference.simulated import is_safe, utility
from arriero.tokenizer import Tokenizer


@config
class EvalConfig:
    reference: str = setting("sft", "version that the others' gains and drift are measured from")
    prompts_per_kind: int = setting(100, "held-out prompts of each kind, drawn by the seed", unit="prompts", ge=1)
    temperature: float = setting(0.1, "sampling temperature of the answers (paper's safety benchmarks: 0.1)", ge=0)
    top_p: float = setting(0.9, "nucleus of the answers (paper's safety benchmarks: 0.9)", gt=0, le=1)
    max_new_tokens: int = setting(48, "longest answer", unit="tokens", ge=1)
    text_versions: list[str] = setting([], "versions whose held-out bits per byte are measured, oldest first")
    heldout_bytes: int = setting(100_000, "held-out text read for bits per byte", unit="bytes", ge=1)
    document_bytes: int = setting(2_000, "most that one held-out document gives", unit="bytes", ge=1)
    context: int = setting(512, "context for bits per byte, cut to what a model was made for", unit="tokens", ge=2)
    overlap: int = setting(
        64, "tokens that a window of a long document shares with the one before", unit="tokens", ge=1
    )
    baseline_bytes: int = setting(16_000_000, "training text given to the bigram model and to xz", unit="bytes", ge=1)
    gatt_versions: list[str] = setting([], "versions whose Ghost Attention recall is measured")
    gatt_dialogues: int = setting(20, "dialogues for Ghost Attention recall", unit="dialogues", ge=1)
    kl_prompts: int = setting(64, "prompts on which the drift from the reference is sampled", unit="prompts", ge=1)
    seed: int = setting(1, "seed of prompts, sampling and bootstrap")


def _run(cfg: EvalConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    versions = inputs.many("versions")
    chat = inputs.one("chat").path
    prompts = chosen_prompts(read_prompts(chat / "prompts-test.jsonl"), cfg.prompts_per_kind, cfg.seed)
    shelf = Shelf(context.machine)
    results: dict[str, Any] = {"versions": list(versions), "reference": cfg.reference, "seed": cfg.seed}
    results["bits_per_byte"] = _bits_per_byte(cfg, inputs, context, shelf)

    sampling = SamplingConfig(temperature=cfg.temperature, top_p=cfg.top_p, max_new_tokens=cfg.max_new_tokens)
    answers = sampled_answers(context, shelf, versions, prompts, sampling, cfg.seed)
    few = evenly(prompts, cfg.kl_prompts)
    others = {label: artifact for label, artifact in versions.items() if label != cfg.reference}
    ratios = log_ratios(context, shelf, others, versions[cfg.reference], few, cfg.max_new_tokens, cfg.seed)
    results["kl_from_reference"] = [
        {"version": label} | bootstrap_mean(v, cfg.seed, groups=[p.asks for p in few]).to_json()
        for label, v in ratios.items()
    ]
    results["gatt_recall"], results["gatt_changes"] = gatt_recall(
        context,
        shelf,
        {label: versions[label] for label in cfg.gatt_versions},
        chat / "gatt-test.jsonl",
        cfg.gatt_dialogues,
        sampling,
        cfg.seed,
    )
    judges = {kind: inputs.one(kind) for kind in ("helpfulness", "safety")}
    scores = reward_scores(context, shelf, judges, prompts, answers)
    rows = judged(prompts, answers, scores)
    results["prompts"] = {str(kind): sum(p.kind is kind for p in prompts) for kind in PromptKind}
    results["scores"] = score_rows(rows, list(versions), cfg.seed)
    results["differences"] = difference_rows(rows, list(versions), cfg.reference, cfg.seed)
    results["halved"] = halving_rows(rows, list(versions), cfg.reference, cfg.seed)
    results["win_rate"] = win_rate_matrix(rows, list(versions))
    results["against_first"] = against_first(rows, list(versions))
    write_jsonl(context.out / "answers.jsonl", (row.to_json() for row in rows))
    write_json(context.out / "results.json", results)
    return headline(results)


def chosen_prompts(prompts: Sequence[Prompt], per_kind: int, seed: int) -> list[Prompt]:
    """At most `per_kind` of each kind, drawn by `seed`; kinds in the enum's order. Raises InputError if none."""
    chosen: list[Prompt] = []
    for number, kind in enumerate(PromptKind):
        same = sorted((p for p in prompts if p.kind is kind), key=lambda p: p.id)
        order = np.random.default_rng([seed, number]).permutation(len(same))
        chosen += [same[i] for i in sorted(order[:per_kind])]
    if not chosen:
        raise InputError("The chat artifact's prompts-test.jsonl holds no prompt, so there is nothing to evaluate on.")
    return chosen


def evenly(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """At most `count` prompts, spread evenly over the list and so over its kinds."""
    step = max(1.0, len(prompts) / count)
    return [prompts[int(i * step)] for i in range(min(count, len(prompts)))]


def judged(
    prompts: Sequence[Prompt],
    answers: Mapping[str, Sequence[Reply]],
    scores: Mapping[str, Mapping[str, Sequence[float]]],
) -> list[Answered]:
    """Every prompt with every version's answer, judged."""
    rows = []
    for index, prompt in enumerate(prompts):
        of_versions = {}
        for version, replies in answers.items():
            text = replies[index].text
            of_versions[version] = Judged(
                text=text,
                finished=replies[index].finished,
                refused=is_refusal(text),
                safe=is_safe(prompt, text),
                exact=exact_match(text, prompt.reference),
                f1=token_f1(text, prompt.reference),
                utility=asdict(utility(prompt, text)),
                helpfulness=scores["helpfulness"][version][index],
                safety=scores["safety"][version][index],
            )
        messages = prompt.dialogue.to_json()["messages"]
        shown = (prompt.kind, prompt.safety, messages, prompt.reference)
        rows.append(Answered(prompt.id, prompt.asks, *shown, of_versions))
    return rows


def _check_labels(cfg: EvalConfig, inputs: Mapping[str, Mapping[str, str]]) -> None:
    versions = inputs["versions"]
    for name, labels in (
        ("reference", [cfg.reference]),
        ("text_versions", cfg.text_versions),
        ("gatt_versions", cfg.gatt_versions),
    ):
        for label in labels:
            if label not in versions:
                raise ConfigError(
                    f"{name} names {label!r}, which is not among the versions given "
                    f"({', '.join(versions)}). Add it to inputs.versions or change {name}."
                )


def _bits_per_byte(cfg: EvalConfig, inputs: Inputs, context: StageContext, shelf: Shelf) -> dict[str, Any]:
    """Bits per byte of `text_versions`, and of the scratch model beside its baselines, on the same documents."""
    models = {label: inputs.many("versions")[label] for label in cfg.text_versions}
    scratch = inputs.maybe("scratch")
    if scratch is not None:
        models["scratch"] = scratch
    if not models:
        return {"documents": 0, "modules": 0, "bytes": 0, "models": [], "changes": []}
    corpus = inputs.one("corpus").path
    documents = heldout_documents(corpus, cfg.heldout_bytes, cfg.document_bytes, cfg.seed)
    sizes = [float(document.bytes) for document in documents]
    modules = [document.module for document in documents]  # documents of one module are no independent evidence
    bits = heldout_bits(context, shelf, models, documents, (cfg.context, cfg.overlap))
    found: dict[str, Any] = {
        "documents": len(documents),
        "modules": len(set(modules)),
        "bytes": int(sum(sizes)),
        "models": [{"model": label} | _ratio(b, sizes, modules, cfg.seed) for label, b in bits.items()],
        "changes": [
            {"newer": newer, "older": older} | _ratio(np.subtract(bits[newer], bits[older]), sizes, modules, cfg.seed)
            for older, newer in zip(cfg.text_versions, cfg.text_versions[1:], strict=False)
        ],
    }
    if scratch is not None:
        texts = training_text(corpus, cfg.baseline_bytes, cfg.seed)
        found["baselines"] = _baselines(texts, documents, bits["scratch"], shelf.model(scratch).tokenizer, cfg.seed)
    return found


def _ratio(
    bits: Sequence[float] | NDArray[np.float64], sizes: Sequence[float], modules: Sequence[str], seed: int
) -> dict[str, Any]:
    """Bits per byte, resampling modules."""
    return bootstrap_ratio(bits, sizes, seed, groups=modules).to_json()


def training_text(corpus: Path, most_bytes: int, seed: int) -> list[str]:
    """Documents of the corpus's training text in an order drawn by `seed`, up to `most_bytes`, the last one cut.

    The corpus is read twice, for the sizes and for the texts that are drawn, so that memory holds these alone.
    """
    columns = ["id", "text"]
    sizes = {
        id: size
        for batch in batches(corpus, "train", columns)
        for id, size in zip(batch["id"].to_pylist(), pc.binary_length(batch["text"]).to_pylist(), strict=True)
    }
    ids = sorted(sizes)
    drawn = [ids[place] for place in np.random.default_rng(seed).permutation(len(ids))]
    ends = np.cumsum([sizes[id] for id in drawn])
    texts = dict.fromkeys(drawn[: int(np.searchsorted(ends, most_bytes)) + 1], "")
    for batch in batches(corpus, "train", columns):
        wanted = batch.filter(pc.is_in(batch["id"], pa.array(list(texts), pa.string())))
        texts.update(zip(wanted["id"].to_pylist(), wanted["text"].to_pylist(), strict=True))
    left = most_bytes
    for id, text in texts.items():
        texts[id] = text.encode()[:left].decode(errors="ignore")
        left -= sizes[id]
    return list(texts.values())


def _baselines(
    training: Sequence[str],
    documents: Sequence[Document],
    scratch_bits: Sequence[float],
    tokenizer: Tokenizer,
    seed: int,
) -> dict[str, Any]:
    """By document, as the model reads them: bigrams of bytes and of its own tokens, and xz. As a whole: xz."""
    symbols: dict[str, tuple[Callable[[str], Ids], int]] = {
        "bytes": (byte_ids, 256),
        "tokens": (lambda text: np.array(tokenizer.encode(text), dtype=np.int64), tokenizer.vocab_size),
    }
    texts = [document.text.encode() for document in documents]
    bits = {}
    for over, (ids, vocabulary) in symbols.items():
        bigram = Bigram.fit(map(ids, training), vocabulary)
        bits[f"bigram over {over}"] = [bigram.bits(ids(document.text)) for document in documents]
    bits["xz, each document alone"] = [8.0 * xz_size(text) for text in texts]
    sizes = [float(document.bytes) for document in documents]
    modules = [document.module for document in documents]
    joined = "\n".join(training).encode()
    return {
        "by_document": [
            {"name": name, "scratch_minus": _ratio(np.subtract(scratch_bits, theirs), sizes, modules, seed)}
            | _ratio(theirs, sizes, modules, seed)
            for name, theirs in bits.items()
        ],
        "xz": asdict(xz_bits(b"\n".join(texts), joined)),
        "training_bytes": len(joined),
    }


def headline(results: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures that stand in the manifest; all of them, with intervals, are in results.json."""
    return {
        "prompts": sum(results["prompts"].values()),
        "bits_per_byte": {row["model"]: row["mean"] for row in results["bits_per_byte"]["models"]},
        "utility": {
            row["version"]: row["mean"]
            for row in results["scores"]
            if (row["measure"], row["group"]) == ("utility", "all")
        },
        "unsafe_compliance": {
            row["version"]: row["mean"] for row in results["scores"] if row["measure"] == "unsafe_compliance"
        },
        "false_refusal": {
            row["version"]: row["mean"] for row in results["scores"] if row["measure"] == "false_refusal"
        },
    }


STAGE = Stage(
    name="eval.run",
    config=EvalConfig,
    inputs=(
        Input("versions", kind="model", many=True),
        Input("chat", kind="chat"),
        Input("corpus", kind="corpus"),
        Input("helpfulness", kind="reward_model"),
        Input("safety", kind="reward_model"),
        Input("scratch", kind="model", optional=True),
    ),
    output="evaluation",
    run=_run,
    check=_check_labels,
)
