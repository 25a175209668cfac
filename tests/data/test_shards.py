"""data.shards: every token where the index says, budgets by the mixture, equal bytes for any number of workers."""

import json
import os
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from byte_tokenizer import Bytes, load
from hypothesis import given
from hypothesis import strategies as st

from arriero.artifacts.files import write_json
from arriero.corpus import read, read_parts
from arriero.data import shards as data_shards
from arriero.data.engine import EngineConfig
from arriero.data.mixture import MixtureConfig, mixture
from arriero.data.shards import ShardsConfig, encoded, part_budgets, write_shards
from arriero.data.sources import Source, SourceKind
from arriero.errors import Stopped
from corpora import rows_of, write_corpus
from stages import context, digests, stop_after

SOURCES = [Source("facts", SourceKind.REFERENCE, "a", {}, 1, 1), Source("pages", SourceKind.WEB, "b", {}, 1, 1)]


@pytest.fixture(autouse=True)
def _workers_import_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def corpus(folder: Path, epochs: float = 2.0, documents: int = 40, part_documents: int = 7) -> Path:
    texts = [f"{n:03d}" + "x" * (17 * n % 50) for n in range(documents)]
    rows = rows_of(texts[::2], "facts") + rows_of(texts[1::2], "pages")
    write_corpus(folder, rows, part_documents=part_documents)
    counts = {
        name: (len(own), sum(part.bytes for part in own))
        for name in ("facts", "pages")
        if (own := [part for part in read_parts(folder, "train") if part.source == name])
    }
    write_json(folder / "mixture.json", mixture(counts, MixtureConfig(epochs={"facts": epochs}), SOURCES))
    return folder


def shards(root: Path, tokenizer: Any, cfg: ShardsConfig, **given: Any) -> tuple[Path, dict[str, Any]]:
    work = context(root / "work")
    write_shards(corpus(root / "corpus", **given), partial(load, tokenizer), cfg, work)
    return work.out, json.loads((work.out / "shards.json").read_text())


def all_tokens(out: Path, dtype: str = "uint16") -> np.ndarray:
    return np.concatenate([np.fromfile(path, dtype) for path in sorted(out.glob("tokens-*.bin"))])


@pytest.mark.parametrize(("vocabulary", "dtype"), [(258, "uint16"), (2**16, "uint16"), (2**16 + 1, "uint32")])
@pytest.mark.parametrize("bos", [None, 256])
def test_every_document_lies_where_the_index_says(tmp_path: Path, vocabulary: int, dtype: str, bos: int | None) -> None:
    out, about = shards(tmp_path, Bytes(vocabulary, bos), ShardsConfig())
    assert about["dtype"] == dtype
    texts = {row["id"]: row for row in read(tmp_path / "corpus", "train").to_pylist()}
    seen: list[str] = []
    for file, part in zip(about["files"], read_parts(tmp_path / "corpus", "train"), strict=True):
        tokens = np.fromfile(out / f"tokens-{file['number']:05d}.bin", dtype)
        index = pq.read_table(out / f"index-{file['number']:05d}.parquet").to_pylist()
        assert (len(index), len(tokens), file["source"]) == (file["documents"], file["tokens"], part.source)
        end = 0
        for row in index:
            assert row["start"] == end
            end += row["tokens"]
            text = list(texts[row["id"]]["text"].encode())
            assert tokens[row["start"] : end].tolist() == [256] * (bos is not None) + text + [257]
            assert texts[row["id"]]["source"] == file["source"]
        assert end == len(tokens)
        seen += [row["id"] for row in index]
    assert sorted(seen) == sorted(texts)
    assert seen != sorted(seen)


def test_tokens_by_source_before_and_after_the_mixture(tmp_path: Path) -> None:
    _, about = shards(tmp_path, Bytes(), ShardsConfig(), epochs=2.5)
    facts, pages = about["sources"]
    assert facts["tokens"] + pages["tokens"] == about["tokens"] == sum(file["tokens"] for file in about["files"])
    assert about["tokens_per_pass"] == int(2.5 * facts["tokens"] + pages["tokens"])
    assert facts["share_before"] == facts["tokens"] / about["tokens"]
    assert facts["share_after"] == 2.5 * facts["tokens"] / (2.5 * facts["tokens"] + pages["tokens"])


def test_max_tokens_takes_a_random_part_of_each_source_in_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_shards, "LEAST_TOKENS", 1)
    full, about = shards(tmp_path / "full", Bytes(), ShardsConfig())
    most = about["tokens_per_pass"] // 3
    out, capped = shards(tmp_path / "capped", Bytes(), ShardsConfig(max_tokens=most))
    # A part leaves at most two tokens, where no text of a document has room, and that once for each epoch.
    assert most - 2 * 2 * len(capped["files"]) <= capped["tokens_per_pass"] <= most
    mixed = {row["name"]: row for row in json.loads((tmp_path / "full/corpus/mixture.json").read_text())["sources"]}
    for source in capped["sources"]:
        assert source["share_after"] == pytest.approx(mixed[source["name"]]["share_after"], abs=0.03)
    for file in capped["files"]:
        name = f"tokens-{file['number']:05d}.bin"
        taken, whole = (np.fromfile(folder / name, "uint16") for folder in (out, full))
        np.testing.assert_array_equal(taken[:-1], whole[: len(taken) - 1])
        assert taken[-1] == 257, "also a document that is cut has its end"
    other, _ = shards(tmp_path / "other", Bytes(), ShardsConfig(max_tokens=most, seed=2))
    assert all_tokens(other).tolist() != all_tokens(out).tolist()


@given(st.integers(0, 10**15), st.lists(st.integers(1, 10**12), min_size=1, max_size=50), st.integers(0, 3))
def test_part_budgets_add_up_and_follow_the_bytes(budget: int, sizes: list[int], seed: int) -> None:
    shares = part_budgets(budget, sizes, seed)
    assert sum(shares) == budget
    chosen = [(share, size) for share, size in zip(shares, sizes, strict=True) if share]
    assert len(chosen) <= max(1, budget // 2**16)
    total = sum(size for share, size in zip(shares, sizes, strict=True) if share or budget >= 2**16 * len(sizes))
    if budget >= 2**16 * len(sizes):
        assert all(abs(share - budget * size / total) <= 1 + budget * 1e-9 for share, size in chosen)


def test_every_part_may_be_the_one_that_is_drawn() -> None:
    drawn = Counter(part_budgets(5, [1] * 4, seed).index(5) for seed in range(200))
    assert set(drawn) == {0, 1, 2, 3}
    assert max(drawn.values()) < 80


@given(st.lists(st.text(max_size=5), max_size=8), st.integers(0, 60), st.integers(1, 3), st.sampled_from([None, 256]))
def test_a_budget_takes_a_prefix_of_the_stream(texts: list[str], budget: int, size: int, bos: int | None) -> None:
    batches = [texts[start : start + size] for start in range(0, len(texts), size)]

    def made(budget: int | None) -> tuple[list[int], list[int]]:
        found = list(encoded(iter(batches), Bytes(bos_id=bos), np.dtype("<u2"), budget))  # type: ignore[arg-type]
        return [id for tokens, _ in found for id in tokens.tolist()], [n for _, lengths in found for n in lengths]

    (everything, lengths), (part, taken) = made(None), made(budget)
    assert sum(taken) == len(part) <= budget
    assert part[:-1] == everything[: max(0, len(part) - 1)]
    assert part.count(257) == len(taken)
    assert [part[end - 1] for end in np.cumsum(taken)] == [257] * len(taken)
    assert len(part) >= min(budget, len(everything)) - 1 - (bos is not None), "no room is left for text"
    assert taken[:-1] == lengths[: max(0, len(taken) - 1)]


def test_equal_bytes_for_any_number_of_workers_and_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_shards, "ALONE_BYTES", 0)
    cfg = ShardsConfig(max_tokens=500)
    alone, _ = shards(tmp_path / "alone", Bytes(), cfg)
    both, _ = shards(tmp_path / "both", Bytes(), ShardsConfig(max_tokens=500, engine=EngineConfig(workers=2)))
    assert digests(alone) == digests(both)
    root = tmp_path / "stopped"
    made = corpus(root / "corpus")
    stopped = context(root, stop_after(2))
    with pytest.raises(Stopped):
        write_shards(made, partial(load, Bytes()), ShardsConfig(), stopped)
    finished = {path: path.stat().st_mtime_ns for path in (stopped.scratch / "parts").glob("*/tokens.bin")}
    assert len(finished) == 3
    work = context(root)
    write_shards(made, partial(load, Bytes()), ShardsConfig(), work)
    whole, _ = shards(tmp_path / "whole", Bytes(), ShardsConfig())
    assert digests(work.out) == digests(whole)
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items()), "made twice"
