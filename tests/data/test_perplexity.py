"""The n-gram model against a slow plain one, and what a perplexity must do on real text."""

import json
import math
import pydoc
import random
from collections import Counter, defaultdict
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_crawl import prose
from test_classifier import corpus_of

from arriero.containers import safetensors
from arriero.data.ngram_training import STAGE, NgramConfig
from arriero.data.perplexity import ORDER, load_ngrams, perplexity, save_ngrams, train
from arriero.errors import ArtifactError, InputError
from stages import context, inputs

BITS = 16


class PlainWittenBell:
    """Dictionaries of tuples of words, one word after the other."""

    def __init__(self, texts: list[str]) -> None:
        self.count: Counter[tuple[str, ...]] = Counter()
        self.after: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for text in texts:
            words = ["<s>"] * (ORDER - 1) + text.split()
            for place in range(ORDER - 1, len(words)):
                for n in range(ORDER):
                    self.after[tuple(words[place - n : place])][words[place]] += 1

    def probability(self, history: tuple[str, ...], word: str, rest: int) -> float:
        lower = self.probability(history[1:], word, rest - 1) if rest else 1 / (1 << BITS)
        seen = self.after.get(history)
        if not seen:
            return lower
        return (seen[word] + len(seen) * lower) / (seen.total() + len(seen))

    def perplexity(self, text: str) -> float:
        words = ["<s>"] * (ORDER - 1) + text.split()
        logs = [
            math.log(self.probability(tuple(words[place - ORDER + 1 : place]), words[place], ORDER - 1))
            for place in range(ORDER - 1, len(words))
        ]
        return math.exp(-sum(logs) / len(logs)) if logs else 1.0


texts = st.lists(
    st.lists(st.sampled_from(["a", "bb", "ccc", "d", "e"]), max_size=12).map(" ".join), min_size=1, max_size=5
)


@settings(max_examples=60)
@given(texts, texts)
def test_perplexity_equals_a_plain_model(training: list[str], asked: list[str]) -> None:
    model = train([pa.array(training[:2], pa.large_string()), pa.array(training[2:], pa.large_string())], BITS)
    plain = PlainWittenBell(training)
    found = perplexity(model, pa.array([*asked, "unknown words"], pa.large_string()))
    np.testing.assert_allclose(found, [plain.perplexity(text) for text in [*asked, "unknown words"]], rtol=1e-9)


def test_real_text_is_likelier_than_its_words_in_disorder(tmp_path: Path) -> None:
    pages = [pydoc.plaintext.document(module) for module in (json, random, pydoc)]
    pieces = [text[at : at + 2000] for text in [*topics.values(), *pages] for at in range(0, len(text), 2000)]
    reference = corpus_of(tmp_path, "r", pieces)
    given_context, again = context(tmp_path / "work"), context(tmp_path / "again")
    metrics = STAGE.run(NgramConfig(bits=18), inputs(reference=reference), given_context)
    assert STAGE.run(NgramConfig(bits=18), inputs(reference=reference), again) == metrics
    for file in given_context.out.iterdir():
        assert file.read_bytes() == (again.out / file.name).read_bytes()
    model = load_ngrams(given_context.out)
    real = "If the object is a sequence, the value of the expression is the item of the sequence with that index."
    shuffled = real.split()
    random.Random(0).shuffle(shuffled)
    foreign = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich hin und her"
    easy, hard, unknown, empty = perplexity(model, pa.array([real, " ".join(shuffled), foreign, ""]))
    assert easy < 0.6 * hard < hard < unknown
    assert empty == 1
    assert metrics["perplexity"]["5%"] < metrics["perplexity"]["50%"] < metrics["perplexity"]["95%"]


def test_too_small_a_reference_and_hostile_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too small"):
        STAGE.run(NgramConfig(bits=12), inputs(reference=corpus_of(tmp_path, "r", ["one"])), context(tmp_path / "work"))
    save_ngrams(train([pa.array([prose(1)])], 12), tmp_path)
    load_ngrams(tmp_path)
    config = json.loads((tmp_path / "ngrams.json").read_text())
    for wrong in ("[]", "{", *(json.dumps(config | change) for change in ({"bits": 60}, {"bits": 13}, {"order": 4}))):
        (tmp_path / "ngrams.json").write_text(wrong)
        with pytest.raises(ArtifactError):
            load_ngrams(tmp_path)
    (tmp_path / "ngrams.json").write_text(json.dumps(config))
    tables = {name: torch.zeros(ORDER, 1 << 12, dtype=torch.int32) for name in ("count", "context", "distinct")}
    for change in ({"count": tables["count"] - 1}, {"count": tables["count"].float()}, {"count": tables["count"][:2]}):
        safetensors.save(tmp_path / "ngrams.safetensors", tables | {k: v.contiguous() for k, v in change.items()})
        with pytest.raises(ArtifactError):
            load_ngrams(tmp_path)
