"""data.shards: every token where the index says, budgets by the mixture, equal bytes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.data.mixture import mixture
from arriero.data.parquet import write_parquet
from arriero.data.shards import ShardsConfig, encoded, write_shards
from arriero.data.sources import Source, SourceKind
from stages import context

SOURCES = [Source("facts", SourceKind.REFERENCE, "a", {}, 1, 1), Source("pages", SourceKind.WEB, "b", {}, 1, 1)]


class Bytes:
    """Ids are bytes; BOS 256 if asked for, EOS 257."""

    def __init__(self, vocab_size: int = 258, bos_id: int | None = 256) -> None:
        self.vocab_size, self.bos_id, self.eos_id = vocab_size, bos_id, 257

    def digest(self) -> str:
        return "bytes"

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]


def corpus(folder: Path, epochs: float = 2.0, documents: int = 40) -> Path:
    folder.mkdir(parents=True)
    rows = [
        {"id": f"{n:03d}", "source": ("facts", "pages")[n % 2], "text": f"{n:03d}" + "x" * (17 * n % 50)}
        for n in range(documents)
    ]
    table = pa.Table.from_pylist(rows)
    write_parquet(folder / "train.parquet", table)
    (folder / "mixture.json").write_text(json.dumps(mixture(table, {"facts": epochs, "pages": 1.0}, SOURCES)))
    return folder


def shards(root: Path, tokenizer: Any, cfg: ShardsConfig, **given: Any) -> tuple[Path, dict[str, Any]]:
    work = context(root / "work")
    write_shards(corpus(root / "corpus", **given), tokenizer, cfg, work)
    return work.out, json.loads((work.out / "shards.json").read_text())


@pytest.mark.parametrize(("vocabulary", "dtype"), [(258, "uint16"), (2**16, "uint16"), (2**16 + 1, "uint32")])
@pytest.mark.parametrize("bos", [None, 256])
def test_every_document_lies_where_the_index_says(tmp_path: Path, vocabulary: int, dtype: str, bos: int | None) -> None:
    out, about = shards(tmp_path, Bytes(vocabulary, bos), ShardsConfig())
    assert about["dtype"] == dtype
    tokens = np.fromfile(out / "tokens.bin", dtype)
    texts = {row["id"]: row for row in pq.read_table(tmp_path / "corpus" / "train.parquet").to_pylist()}
    index = pq.read_table(out / "index.parquet").to_pylist()
    assert sorted(row["id"] for row in index) == sorted(texts)
    end = 0
    for row in index:
        assert row["start"] == end
        end += row["tokens"]
        own = tokens[row["start"] : end].tolist()
        assert own == [256] * (bos is not None) + list(texts[row["id"]]["text"].encode()) + [257]
    assert len(tokens) == end == about["tokens"]
    for source in about["sources"]:
        span = [row for row in index if source["start"] <= row["start"] < source["start"] + source["tokens"]]
        assert {row["source"] for row in span} == {source["name"]}
        assert sum(row["tokens"] for row in span) == source["tokens"]
        assert len(span) == source["documents"]


def test_a_cap_takes_a_random_part_of_each_source_in_its_share(tmp_path: Path) -> None:
    full, about = shards(tmp_path / "full", Bytes(), ShardsConfig())
    cap = about["tokens_per_pass"] // 3
    out, capped = shards(tmp_path / "capped", Bytes(), ShardsConfig(max_tokens=cap))
    assert cap - 4 <= capped["tokens_per_pass"] <= cap
    mixed = {row["name"]: row for row in json.loads((tmp_path / "full/corpus/mixture.json").read_text())["sources"]}
    whole = np.fromfile(full / "tokens.bin", "uint16")
    part = np.fromfile(out / "tokens.bin", "uint16")
    for a, b in zip(about["sources"], capped["sources"], strict=True):
        assert b["share"] == pytest.approx(mixed[b["name"]]["share_after"], abs=0.01)
        taken = part[b["start"] : b["start"] + b["tokens"]]
        np.testing.assert_array_equal(taken, whole[a["start"] : a["start"] + b["tokens"]])
    ids = [row["id"] for row in pq.read_table(out / "index.parquet").to_pylist()]
    assert ids != sorted(ids)
    other, _ = shards(tmp_path / "other", Bytes(), ShardsConfig(max_tokens=cap, seed=2))
    assert (other / "tokens.bin").read_bytes() != (out / "tokens.bin").read_bytes()


def test_equal_bytes_again_and_over_the_remains_of_a_killed_run(tmp_path: Path) -> None:
    first, _ = shards(tmp_path / "a", Bytes(), ShardsConfig(max_tokens=500))
    killed = context(tmp_path / "b" / "work")
    (killed.scratch / "tokens.bin").write_bytes(b"half")
    (killed.out / "tokens.bin").write_bytes(b"old")
    again, _ = shards(tmp_path / "b", Bytes(), ShardsConfig(max_tokens=500))
    for name in ("tokens.bin", "index.parquet", "shards.json"):
        assert (first / name).read_bytes() == (again / name).read_bytes()


@given(st.lists(st.text(max_size=5), max_size=8), st.integers(0, 60), st.integers(1, 3))
def test_budget_is_a_prefix_of_the_stream(texts: list[str], budget: int, size: int) -> None:
    batches = [texts[start : start + size] for start in range(0, len(texts), size)]
    tokenizer: Any = Bytes()
    everything = [id for document in encoded(iter(batches), tokenizer, None) for id in document]
    part = list(encoded(iter(batches), tokenizer, budget))
    assert [id for document in part for id in document] == everything[:budget]
    assert all(part)
