"""A word n-gram model in hashed tables, and the perplexity of documents under it.

Smoothing: interpolated Witten-Bell (Chen and Goodman, 1998, equation 16), which needs no held-out text:
p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)), where t(h) counts the distinct words seen after h, h' is h without
its first word, and below the unigram every word has 1 / 2^bits. The use is CCNet's (arXiv:1911.00359, section 3.3).
Shapes: P words of all documents, each document after ORDER - 1 borders; B = 2^bits buckets. A table's rows are the
orders, unigrams first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arriero.artifacts.files import read_json, write_json
from arriero.containers import arrays
from arriero.data.hashed_words import Hashes, buckets, followed, word_hashes
from arriero.data.text_counts import Counts, Ints, Parts, TextCounts
from arriero.errors import ArtifactError, InputError

TABLES_FILE = "ngrams.safetensors"
CONFIG_FILE = "ngrams.json"
FORMAT = "ngram_model/1"
ORDER = 3
MIN_BITS, MAX_BITS = 10, 26
_NAMES = ("count", "context", "distinct")
_BORDER = np.uint64(0xB0A2DE2)


@dataclass(frozen=True)
class NgramModel:
    """Counts of n-grams, of their contexts, and of distinct words after each context: all int32, (ORDER, B)."""

    count: NDArray[np.int32]
    context: NDArray[np.int32]
    distinct: NDArray[np.int32]

    @property
    def bits(self) -> int:
        return int(self.count.shape[1]).bit_length() - 1


def _ngrams(words: Parts, bits: int) -> tuple[list[Ints], list[Ints]]:
    """Of each order: the buckets of the n-gram that ends at each word, and of its context."""
    hash_P = word_hashes(words.vocabulary)[words.code_P]
    place_P = np.arange(len(hash_P)) + (words.owner_P + 1) * (ORDER - 1)
    padded: Hashes = np.full(len(hash_P) + (words.documents + 1) * (ORDER - 1), _BORDER, np.uint64)
    padded[place_P] = hash_P
    grams, contexts = [], []
    for n in range(1, ORDER + 1):
        context = np.full(len(hash_P), np.uint64(n))  # an order of its own, so that tables of one row could be shared
        for back in range(n - 1, 0, -1):
            context = followed(context, padded[place_P - back])
        contexts.append(buckets(followed(context, np.full(len(hash_P), _BORDER)), bits))
        grams.append(buckets(followed(context, hash_P), bits))
    return grams, contexts


def train(batches: Iterable[pa.Array], bits: int) -> NgramModel:
    """Counts the n-grams of all texts. Raises InputError beyond 2^31 words, where a count would not fit."""
    model = NgramModel(*(np.zeros((ORDER, 1 << bits), np.int32) for _ in _NAMES))
    for texts in batches:
        for row, (gram, context) in enumerate(zip(*_ngrams(TextCounts(texts).words, bits), strict=True)):
            kinds, first, times = np.unique(gram, return_index=True, return_counts=True)
            fresh = first[model.count[row, kinds] == 0]
            model.count[row, kinds] += times.astype(np.int32)
            for table, places in ((model.context, context), (model.distinct, context[fresh])):
                held, times = np.unique(places, return_counts=True)
                table[row, held] += times.astype(np.int32)
        if (model.context[0] < 0).any():
            raise InputError("The reference holds more than 2^31 words; the model's counts hold no more. Give less.")
    return model


def log_probabilities(model: NgramModel, words: Parts) -> Counts:
    """The natural logarithm of each word's probability (P,)."""
    probability = np.full(len(words.code_P), 1 / model.count.shape[1])
    for row, (gram, context) in enumerate(zip(*_ngrams(words, model.bits), strict=True)):
        total, distinct = model.context[row, context], model.distinct[row, context]
        seen = distinct > 0  # 0 also where all n-grams of a context share their buckets with others'
        # Where two n-grams share a bucket, a count could pass its context's.
        mass = np.minimum(model.count[row, gram], total) + distinct * probability
        probability = np.where(seen, mass / np.maximum(total + distinct, 1), probability)
    logs: Counts = np.log(probability)
    return logs


def perplexity_of_words(model: NgramModel, words: Parts) -> Counts:
    """The perplexity per word of each document, from its words; 1 without words."""
    mean_D = words.per_document(log_probabilities(model, words)) / np.maximum(words.count_D, 1)
    return np.exp(-mean_D)


def perplexity(model: NgramModel, texts: pa.Array) -> Counts:
    """The perplexity per word of each text: the higher, the less like what the model was trained on."""
    return perplexity_of_words(model, TextCounts(texts).words)


def save_ngrams(model: NgramModel, folder: Path) -> None:
    """Writes ngrams.safetensors and ngrams.json."""
    arrays.save(folder / TABLES_FILE, {name: getattr(model, name) for name in _NAMES})
    write_json(folder / CONFIG_FILE, {"format": FORMAT, "order": ORDER, "bits": model.bits})


def load_ngrams(folder: Path) -> NgramModel:
    """Raises ArtifactError if the folder holds no whole model of this format."""
    remedy = "Make it again with the stage data.ngrams."
    try:
        found = read_json(folder / CONFIG_FILE)
    except InputError as error:
        raise ArtifactError(f"{folder} is no n-gram model: {error} {remedy}") from None
    bits = found.get("bits") if isinstance(found, dict) else None
    if (
        type(bits) is not int
        or not MIN_BITS <= bits <= MAX_BITS
        or found != {"format": FORMAT, "order": ORDER, "bits": bits}
    ):
        raise ArtifactError(f"{folder / CONFIG_FILE} is not of the format {FORMAT}, order {ORDER}. {remedy}")
    stored = arrays.open_stored(folder / TABLES_FILE)
    for name in _NAMES:
        if name not in stored or stored[name].dtype != np.int32 or stored[name].shape != (ORDER, 1 << bits):
            raise ArtifactError(
                f"{folder / TABLES_FILE} holds no int32 table `{name}` of {ORDER} x {1 << bits}. {remedy}"
            )
    tables = [stored[name] for name in _NAMES]
    if any((table < 0).any() for table in tables):
        raise ArtifactError(f"{folder / TABLES_FILE} holds counts below zero. {remedy}")
    return NgramModel(*tables)
