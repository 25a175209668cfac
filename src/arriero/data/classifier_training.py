"""Stage data.classifier: learns to tell the documents of reference corpora from those of contrast corpora.

The paper up-samples its most factual sources (section 2.1) and filters nothing by likeness; that a linear classifier
of hashed n-grams finds more text like a reference is from GPT-3 (arXiv:2005.14165, appendix A). A tenth of the
documents calibrates the score, another tenth measures it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arriero import corpus
from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.config import config, setting
from arriero.data.classifier import calibrated, save_classifier, score, train
from arriero.data.sources import seeded_fraction
from arriero.data.text_counts import Counts
from arriero.errors import InputError
from arriero.metrics.auc import auc
from arriero.metrics.intervals import share

LEAST_DOCUMENTS = 50  # on a side; the held-out tenth of fewer says nothing


@config
class ClassifierConfig:
    """A text classifier of hashed words and pairs of words."""

    max_documents: int = setting(10_000, "documents drawn from each side", unit="documents", ge=LEAST_DOCUMENTS)
    max_characters: int = setting(5_000, "the first characters of a document count", unit="characters", ge=100)
    epochs: int = setting(5, "passes over the documents", unit="epochs", ge=1)
    seed: int = setting(1, "draws the documents, the held-out ones among them, and their order", ge=0)


def drawn_documents(folders: list[Path], most: int, seed: int) -> dict[str, str]:
    """At most so many training documents of some corpora, id -> text, in the order of their draw."""
    ids = {id for folder in folders for id in corpus.read(folder, "train", ["id"])["id"].to_pylist()}
    chosen = sorted(ids, key=lambda id: (seeded_fraction(seed, id), id))[:most]
    wanted = pa.array(chosen, pa.string())
    texts: dict[str, str] = {}
    for folder in folders:
        for batch in corpus.batches(folder, "train", ["id", "text"]):
            found = batch.filter(pc.is_in(batch.column(0), wanted))
            texts.update(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))
    return {id: texts[id] for id in chosen}


def _split(ids: list[str], seed: int) -> Counts:
    """A number in [0, 1) for each document, other than the one it was drawn by."""
    return np.array([seeded_fraction(seed, f"split/{id}") for id in ids])


def run(cfg: ClassifierConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes classifier.safetensors and classifier.json. Raises InputError where a side has too few documents.

    A document that is in both is the reference's.
    """
    sides = []
    for name in ("reference", "contrast"):
        folders = [artifact.path for artifact in inputs.many(name).values()]
        sides.append(drawn_documents(folders, cfg.max_documents, cfg.seed))
    sides[1] = {id: text for id, text in sides[1].items() if id not in sides[0]}
    for name, side in zip(("reference", "contrast"), sides, strict=True):
        if len(side) < LEAST_DOCUMENTS:
            raise InputError(
                f"The {name} holds {len(side)} documents of its own; a classifier needs {LEAST_DOCUMENTS}. Give more."
            )
    ids = [id for side in sides for id in side]
    texts = pa.array([text for side in sides for text in side.values()], pa.large_string())
    texts = pc.utf8_slice_codeunits(texts, 0, cfg.max_characters)
    like = np.arange(len(ids)) < len(sides[0])
    part = _split(ids, cfg.seed)
    held, calibrating = part < 0.1, (part >= 0.1) & (part < 0.2)
    for rows in (held, calibrating):
        if not (like & rows).any() or not (~like & rows).any():
            raise InputError("By chance, no document of one side is held out. Give more documents or another seed.")
    learning = ~held & ~calibrating
    classifier = train(texts.filter(pa.array(learning)), like[learning], cfg.epochs, cfg.seed)
    classifier = calibrated(classifier, texts.filter(pa.array(calibrating)), like[calibrating])
    save_classifier(classifier, context.out)
    scores, truth = score(classifier, texts.filter(pa.array(held))), like[held]
    return {
        "auc": auc(scores[truth], scores[~truth]).to_json(),
        "accuracy": share(((scores > 0.5) == truth).tolist()).to_json(),
        "reference_documents": len(sides[0]),
        "contrast_documents": len(sides[1]),
    }


STAGE = Stage(
    "data.classifier",
    ClassifierConfig,
    (Input("reference", "corpus", many=True), Input("contrast", "corpus", many=True)),
    "text_classifier",
    run,
)
