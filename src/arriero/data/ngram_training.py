"""Stage data.ngrams: counts the word n-grams of reference corpora, for the perplexity of other text."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from arriero import corpus
from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.config import config, setting
from arriero.data.perplexity import MAX_BITS, MIN_BITS, perplexity, save_ngrams, train
from arriero.data.sources import seeded_fraction
from arriero.errors import InputError

HELDOUT_SHARE = 0.05


@config
class NgramConfig:
    """A model of three words in a row."""

    bits: int = setting(
        22, "each table has 2^bits entries of 4 bytes, nine tables in all", unit="bits", ge=MIN_BITS, le=MAX_BITS
    )
    seed: int = setting(1, "draws the documents that measure the model", ge=0)


def run(cfg: NgramConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes ngrams.safetensors and ngrams.json. Raises InputError if no document is left to train on or to measure."""

    def texts(held: bool) -> Iterator[pa.Array]:
        for artifact in inputs.many("reference").values():
            for batch in corpus.batches(artifact.path, "train", ["id", "text"]):
                context.check_stop()
                rows = [(seeded_fraction(cfg.seed, id) < HELDOUT_SHARE) == held for id in batch.column(0).to_pylist()]
                yield batch.column(1).filter(pa.array(rows, pa.bool_()))

    model = train(texts(held=False), cfg.bits)
    measured = [value for part in texts(held=True) for value in perplexity(model, part)]
    if not model.context[0].any() or not measured:
        raise InputError("The reference is too small: no document to count, or none to measure with. Give more text.")
    save_ngrams(model, context.out)
    low, middle, high = np.quantile(measured, [0.05, 0.5, 0.95])
    return {
        "words": int(model.context[0].sum()),
        "heldout_documents": len(measured),
        "perplexity": {"5%": float(low), "50%": float(middle), "95%": float(high)},
        "filled": float((model.count[-1] > 0).mean()),
    }


STAGE = Stage("data.ngrams", NgramConfig, (Input("reference", "corpus", many=True),), "ngram_model", run)
