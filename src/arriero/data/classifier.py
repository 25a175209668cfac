"""A text classifier of hashed words and pairs of words: the probability that a text is like a reference.

A linear model on the mean of its n-grams' weights, as fastText's (arXiv:1607.01759) without the hidden layer, which two
classes do not need. Both classes weigh the same whatever their sizes, so that 0.5 means: as likely from either.
Training adds in one order on one core: the same documents give the same bytes.
Shapes: D documents; F features, the n-grams of all documents one after the other; B buckets.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arriero.artifacts.files import read_json, write_json
from arriero.containers import arrays
from arriero.data.hashed_words import buckets, followed, word_hashes
from arriero.data.text_counts import Counts, Ints, Mask, Parts, TextCounts
from arriero.errors import ArtifactError, InputError

WEIGHTS_FILE = "classifier.safetensors"
CONFIG_FILE = "classifier.json"
FORMAT = "text_classifier/1"
BITS = 18
BATCH_DOCUMENTS = 64
LEARNING_RATE = 0.5


@dataclass(frozen=True)
class TextClassifier:
    """`weight_B` in float32 and `bias` of a logistic regression on the mean of a text's features."""

    weight_B: NDArray[np.float32]
    bias: float


def features(words: Parts) -> tuple[Ints, Ints]:
    """(bucket, document) of every word, then of every two words that follow each other in a document."""
    hash_P = word_hashes(words.vocabulary)[words.code_P]
    pair = np.flatnonzero(words.owner_P[1:] == words.owner_P[:-1])
    pairs = followed(hash_P[pair], hash_P[pair + 1])
    bucket_F = buckets(np.concatenate([hash_P, pairs]), BITS)
    return bucket_F, np.concatenate([words.owner_P, words.owner_P[pair]])


def _means(values_F: Counts, document_F: Ints, documents: int) -> Counts:
    size_D = np.bincount(document_F, minlength=documents)
    means: Counts = np.bincount(document_F, values_F, documents) / np.maximum(size_D, 1)
    return means


def _sigmoid(logits: Counts) -> Counts:
    probabilities: Counts = 0.5 * (1 + np.tanh(0.5 * logits))
    return probabilities


def logits(classifier: TextClassifier, words: Parts) -> Counts:
    """As `features` and their means, but a word's weight is looked up once, and pairs are not sorted out."""
    hash_V = word_hashes(words.vocabulary)
    weight_V = classifier.weight_B[buckets(hash_V, BITS)].astype(np.float64)
    hash_P = hash_V[words.code_P]
    pair = classifier.weight_B[buckets(followed(hash_P[:-1], hash_P[1:]), BITS)] * (
        words.owner_P[1:] == words.owner_P[:-1]
    )
    total_D = words.matching(weight_V) + np.bincount(words.owner_P[1:], pair, words.documents)
    size_D = 2 * words.count_D - (words.count_D > 0)
    found: Counts = total_D / np.maximum(size_D, 1) + classifier.bias
    return found


def score_words(classifier: TextClassifier, words: Parts) -> Counts:
    """The score of each document, from its words."""
    return _sigmoid(logits(classifier, words))


def score(classifier: TextClassifier, texts: pa.Array) -> Counts:
    """The probability that each text (a document, or a line) is like the reference rather than the contrast."""
    return score_words(classifier, TextCounts(texts).words)


def train(texts: pa.Array, like_D: Mask, epochs: int, seed: int) -> TextClassifier:
    """Logistic regression by Adagrad (Duchi et al., 2011) on batches of documents, in an order drawn from `seed`."""
    bucket_F, document_F = features(TextCounts(texts).words)
    order = np.argsort(document_F, kind="stable")
    bucket_F, ends = bucket_F[order], np.cumsum(np.bincount(document_F, minlength=len(texts)))
    starts = np.concatenate([[0], ends[:-1]])
    counts = np.array([(~like_D).sum(), like_D.sum()])
    importance_D = (len(texts) / (2 * np.maximum(counts, 1)))[like_D.astype(int)]
    weight, squares = np.zeros(1 << BITS), np.full(1 << BITS, 1e-8)
    bias, bias_squares = 0.0, 1e-8
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        drawn = generator.permutation(len(texts))
        for batch in np.split(drawn, range(BATCH_DOCUMENTS, len(drawn), BATCH_DOCUMENTS)):
            bucket = np.concatenate([bucket_F[starts[d] : ends[d]] for d in batch])
            size = ends[batch] - starts[batch]
            document = np.repeat(np.arange(len(batch)), size)
            error = _sigmoid(_means(weight[bucket], document, len(batch)) + bias) - like_D[batch]
            error *= importance_D[batch] / len(batch)
            gradient = np.bincount(bucket, np.repeat(error / np.maximum(size, 1), size), 1 << BITS)
            squares += gradient**2
            weight -= LEARNING_RATE * gradient / np.sqrt(squares)
            bias_squares += error.sum() ** 2
            bias -= LEARNING_RATE * error.sum() / np.sqrt(bias_squares)
    return TextClassifier(weight.astype(np.float32), float(bias))


def calibrated(classifier: TextClassifier, texts: pa.Array, like_D: Mask) -> TextClassifier:
    """The classifier whose score is a probability on texts that it was not trained on.

    Platt's method (1999): a logistic regression on the logit, by Newton's method, with his targets, which keep it
    finite where the texts are told apart without error. Both classes weigh the same.
    """
    logit_D = logits(classifier, TextCounts(texts).words)
    positives, negatives = int(like_D.sum()), int((~like_D).sum())
    assert positives > 0 < negatives
    target_D = np.where(like_D, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    importance_D = np.where(like_D, 0.5 / positives, 0.5 / negatives)
    spread = max(float(logit_D.std()), 1e-6)
    inputs = np.stack([logit_D / spread, np.ones_like(logit_D)])
    found = np.zeros(2)
    for _ in range(100):
        p_D = _sigmoid(found @ inputs)
        slope = inputs @ (importance_D * (p_D - target_D))
        curve = (inputs * (importance_D * p_D * (1 - p_D))) @ inputs.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        found -= step * min(1.0, 2.0 / float(np.abs(step).max() + 1e-12))  # not past where the curve is known
        if np.abs(step).max() < 1e-10:
            break
    scale, shift = found[0] / spread, found[1]
    weight_B = (classifier.weight_B * np.float32(scale)).astype(np.float32)
    return TextClassifier(weight_B, float(scale * classifier.bias + shift))


def save_classifier(classifier: TextClassifier, folder: Path) -> None:
    """Writes classifier.safetensors and classifier.json."""
    arrays.save(folder / WEIGHTS_FILE, {"weight": classifier.weight_B})
    write_json(folder / CONFIG_FILE, {"format": FORMAT, "bias": classifier.bias, "bits": BITS})


def load_classifier(folder: Path) -> TextClassifier:
    """Raises ArtifactError if the folder holds no whole classifier of this format."""
    remedy = "Make it again with the stage data.classifier."
    try:
        found = read_json(folder / CONFIG_FILE)
    except InputError as error:
        raise ArtifactError(f"{folder} is no text classifier: {error} {remedy}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("bits") != BITS:
        raise ArtifactError(f"{folder / CONFIG_FILE} is not of the format {FORMAT} with {BITS} bits. {remedy}")
    bias, weight_B = found.get("bias"), arrays.open_stored(folder / WEIGHTS_FILE).get("weight")
    if weight_B is None or weight_B.dtype != np.float32 or weight_B.shape != (1 << BITS,):
        raise ArtifactError(f"{folder / WEIGHTS_FILE} holds no float32 tensor `weight` of {1 << BITS} values. {remedy}")
    if type(bias) is not float or not np.isfinite(bias) or not np.isfinite(weight_B).all():
        raise ArtifactError(f"{folder}: the classifier's weights or bias are not finite numbers. {remedy}")
    return TextClassifier(weight_B, bias)
