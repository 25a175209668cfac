"""The classifier of hashed n-grams: what it tells apart, that it repeats itself, and files that are not one."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_crawl import prose

from arriero import corpus
from arriero.containers import safetensors
from arriero.data.classifier import (
    BITS,
    TextClassifier,
    features,
    load_classifier,
    logits,
    save_classifier,
    score,
)
from arriero.data.classifier_training import STAGE, ClassifierConfig
from arriero.data.hashed_words import word_hashes
from arriero.data.text_counts import TextCounts
from arriero.errors import ArtifactError, InputError
from arriero.metrics.auc import auc
from stages import artifact, context, inputs


def noise(seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(["click", "buy", "now", "best", "of", "the", "deal", "win"]) for _ in range(40))


def corpus_of(root: Path, name: str, texts: list[str]) -> Any:
    made = artifact(root, name)
    rows = [
        dict.fromkeys(corpus.STORED_SCHEMA.names, "") | {"id": f"{name}{n}", "text": t} for n, t in enumerate(texts)
    ]
    (made.path / "train").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, corpus.STORED_SCHEMA), made.path / "train/00000.parquet")
    corpus.write_parts(made.path, {"train": [corpus.Part("train/00000.parquet", "s", len(rows), 1)], "heldout": []})
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("classifier")
    reference = corpus_of(root, "r", [prose(n, 4) for n in range(300)])
    contrast = corpus_of(root, "c", [noise(n) for n in range(200)] + [prose(n, 4) for n in range(1000, 1050)])
    given = context(root / "work")
    metrics = STAGE.run(ClassifierConfig(), inputs(reference=reference, contrast=contrast), given)
    again = context(root / "again")
    STAGE.run(ClassifierConfig(), inputs(reference=reference, contrast=contrast), again)
    for file in given.out.iterdir():
        assert file.read_bytes() == (again.out / file.name).read_bytes(), "the same inputs must give the same bytes"
    return given.out, metrics


def test_it_tells_the_reference_from_the_rest_with_a_calibrated_score(trained: tuple[Path, dict[str, Any]]) -> None:
    """A fifth of the contrast is like the reference: what looks so is it with a probability of about 1 / 1.2."""
    folder, metrics = trained
    assert metrics["auc"]["low"] < metrics["auc"]["mean"] <= metrics["auc"]["high"]
    assert metrics["auc"]["mean"] > 0.8
    assert metrics["accuracy"]["mean"] > 0.8
    scores = score(load_classifier(folder), pa.array([prose(5000, 3), noise(5000), "best deal", "", "垃圾"]))
    assert 0.6 < scores[0] < 0.97
    assert max(scores[1:3]) < 0.15
    assert np.isfinite(scores).all()


def test_too_few_documents_are_refused(tmp_path: Path) -> None:
    few = corpus_of(tmp_path, "few", [prose(n, 2) for n in range(20)])
    with pytest.raises(InputError, match="holds 20 documents"):
        STAGE.run(ClassifierConfig(), inputs(reference=few, contrast=few), context(tmp_path / "work"))


@given(st.lists(st.lists(st.sampled_from(["a", "Bc,", "", "déf", "(ghij)"]), max_size=8).map(" ".join), max_size=5))
def test_the_quick_logit_is_the_mean_of_the_features(texts: list[str]) -> None:
    weight = np.random.default_rng(0).normal(size=1 << BITS).astype(np.float32)
    words = TextCounts(pa.array(texts, pa.large_string())).words
    bucket, document = features(words)
    means = [
        weight[bucket[document == d]].astype(float).mean() if (document == d).any() else 0 for d in range(len(texts))
    ]
    np.testing.assert_allclose(logits(TextClassifier(weight, 0.25), words), np.array(means) + 0.25, atol=1e-9)


def test_word_hashes_are_fixed_and_know_no_case_and_no_neighbours() -> None:
    one, two = word_hashes(pa.array(["Tree,", "x", ""])), word_hashes(pa.array(["y", "zz", "tree"]))
    assert one[0] == two[2]
    assert len({*one.tolist(), *two.tolist()}) == 5
    assert int(one[0]) == 9987204631901067506, "files of classifiers on disk depend on it"


def test_hostile_files_are_refused(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    classifier = load_classifier(trained[0])
    save_classifier(classifier, tmp_path)
    config = json.loads((tmp_path / "classifier.json").read_text())
    for wrong in (
        *("[]", "{", "null", json.dumps(config | {"format": "other/1"}), json.dumps(config | {"bits": 40})),
        *(json.dumps(config | {"bias": bias}) for bias in ("1", None, float("nan"), True)),
    ):
        (tmp_path / "classifier.json").write_text(wrong)
        with pytest.raises(ArtifactError):
            load_classifier(tmp_path)
    (tmp_path / "classifier.json").write_text(json.dumps(config))
    weight = torch.from_numpy(classifier.weight_B.copy())
    for tensors in (
        {"weight": weight[:-1]},
        {"w": weight},
        {"weight": weight.double()},
        {"weight": weight * torch.inf},
    ):
        safetensors.save(tmp_path / "classifier.safetensors", {name: t.contiguous() for name, t in tensors.items()})
        with pytest.raises(ArtifactError):
            load_classifier(tmp_path)
    (tmp_path / "classifier.safetensors").unlink()
    with pytest.raises(ArtifactError):
        load_classifier(tmp_path)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_auc_equals_counting_pairs(positives: list[int], negatives: list[int]) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    found = auc(positives, negatives)
    assert found.mean == pytest.approx(np.mean(pairs))
    assert 0 <= found.low <= found.mean <= found.high <= 1
