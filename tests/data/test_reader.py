"""The reader: a bijection, the mixture's epochs, no state, damage found."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from byte_tokenizer import Bytes
from hypothesis import given
from hypothesis import strategies as st
from test_shards import all_tokens, shards

from arriero.data.reader import ShardReader, permute, round_keys
from arriero.data.shards import ShardsConfig
from arriero.errors import ArtifactError, ConfigError, InputError
from arriero.train.packing import document_numbers


@given(st.integers(1, 5000), st.integers(0, 2**63))
def test_permutation_is_a_bijection(size: int, seed: int) -> None:
    images = permute(np.arange(size, dtype=np.int64), size, round_keys(seed))
    assert np.array_equal(np.sort(images), np.arange(size))


def test_permutation_of_a_large_domain_is_injective_and_in_range() -> None:
    size = 10**15 + 7
    positions = np.random.default_rng(0).choice(10**9, 100_000, replace=False).astype(np.int64) * 10**6
    images = permute(positions, size, round_keys(1))
    assert len(np.unique(images)) == len(positions)
    assert images.min() >= 0
    assert images.max() < size


def test_every_permutation_of_few_elements_is_about_as_likely() -> None:
    """Chi-square over the 24 orders of four: the 99.99% point with 23 degrees of freedom is 57."""
    draws = 2400
    counts = Counter(
        tuple(permute(np.arange(4, dtype=np.int64), 4, round_keys(seed)).tolist()) for seed in range(draws)
    )
    expected = draws / 24
    assert sum((counts[order] - expected) ** 2 / expected for order in counts) + expected * (24 - len(counts)) < 57


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shards(tmp_path_factory.mktemp("shards"), Bytes(), ShardsConfig(), epochs=2.5, documents=60)[0]


def source_spans(folder: Path) -> list[tuple[dict[str, Any], int]]:
    """Each source of shards.json with the place of its first token among all."""
    sources = json.loads((folder / "shards.json").read_text())["sources"]
    starts = np.cumsum([0] + [source["tokens"] for source in sources])
    return list(zip(sources, starts.tolist(), strict=False))


@pytest.mark.parametrize(
    "replaced", [None, {"facts": 0.4, "pages": 3.0}, {"pages": 0}, {"web": 2.0}, {"web": 2.0, "pages": 0.5}]
)
def test_a_pass_reads_each_source_as_often_as_its_epochs_say(folder: Path, replaced: dict[str, float] | None) -> None:
    length = 8
    reader = ShardReader(folder, length, seed=3, epochs=replaced)
    fractions = []
    for number in range(3):
        starts = reader.starts(np.arange(number * reader.windows, (number + 1) * reader.windows))
        counts = Counter(starts.tolist())
        total = 0
        for source, start in source_spans(folder):
            given = replaced or {}
            epochs = given.get(source["name"], given.get(source["kind"], source["epochs"]))
            windows = (source["tokens"] - 1) // length
            own = [counts[start + length * w] for w in range(windows)]
            total += sum(own)
            assert sum(own) == round(windows * epochs)
            assert set(own) <= {int(epochs), int(np.ceil(epochs))}, "read more often than its epochs say"
            if epochs % 1:
                fractions.append(tuple(own))
        assert total == reader.windows, "no window crosses from one source into another"
        read = Counter()
        for source, start in source_spans(folder):
            read[source["name"]] = length * sum(counts[at] for at in counts if start <= at < start + source["tokens"])
        before = reader.tokens_read(number * reader.windows) if number else Counter()
        assert reader.tokens_read((number + 1) * reader.windows) == {n: read[n] + before[n] for n in read}
    assert len(set(fractions)) == len(fractions), "the fraction of an epoch reads other windows in every pass"


def test_epochs_that_do_not_fit_are_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"'wiki', which is no source of these shards \(facts, pages\) and no kind"):
        ShardReader(folder, 8, seed=1, epochs={"wiki": 1.0})
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"`epochs` of 'facts' is"):
            ShardReader(folder, 8, seed=1, epochs={"facts": value})
    with pytest.raises(InputError, match="no source that is read fills a window"):
        ShardReader(folder, 8, seed=1, epochs={"facts": 0, "pages": 0})


@pytest.mark.parametrize("length", [8, 150])
def test_windows_overlap_by_the_one_token_that_is_input_and_target(folder: Path, length: int) -> None:
    """Short windows lie within a file; the long ones go on in the next file, and in the one after."""
    tokens = all_tokens(folder)
    reader = ShardReader(folder, length, seed=3)
    batch = reader.batch(5, 4)
    assert batch.shape == (4, length + 1)
    assert batch.dtype == np.int64
    starts = reader.starts(np.arange(5 * reader.windows))
    assert {start % length for start in starts.tolist()} >= {0}
    whole = reader.batch(0, 5 * reader.windows)
    for row, start in zip(whole, starts, strict=True):
        np.testing.assert_array_equal(row, tokens[start : start + length + 1])
    np.testing.assert_array_equal(batch, whole[20:24])
    assert ShardReader(folder, length, seed=4).batch(5, 4).tolist() != batch.tolist()


def test_windows_go_over_the_ends_of_files_that_are_shorter_than_they(folder: Path) -> None:
    longest = max(file["tokens"] for file in json.loads((folder / "shards.json").read_text())["files"])
    least = min(source["tokens"] for source, _ in source_spans(folder))
    assert longest < least - 1
    batch = ShardReader(folder, least - 1, seed=1).batch(0, 30)
    tokens = all_tokens(folder)
    expected = {tuple(tokens[start:][:least].tolist()) for _, start in source_spans(folder)}
    assert {tuple(row) for row in batch.tolist()} == expected


@given(step=st.integers(0, 3000), size=st.sampled_from([1, 2, 6]), ranks=st.sampled_from([1, 2, 3]))
def test_resume_and_world_size_change_nothing(folder: Path, step: int, size: int, ranks: int) -> None:
    """A fresh reader at any step gives what a run from the start gives; ranks that share a batch read its rows."""
    batch = ShardReader(folder, 16, seed=7).batch(step, size * ranks)
    again = ShardReader(folder, 16, seed=7)
    assert np.array_equal(batch, np.concatenate([again.batch(step * ranks + rank, size) for rank in range(ranks)]))


def test_two_passes_have_two_orders_of_the_same_windows(folder: Path) -> None:
    whole = shards(folder.parent.parent / "whole", Bytes(), ShardsConfig(), epochs=1.0)[0]
    reader = ShardReader(whole, 8, seed=1)
    first, second = (reader.starts(np.arange(reader.windows) + n * reader.windows) for n in (0, 1))
    assert sorted(first) == sorted(second)
    assert len(set(first.tolist())) == len(first), "a window is read twice in a pass"
    assert first.tolist() != second.tolist()
    assert first.tolist() != sorted(first)


def test_documents_in_a_window_are_told_apart_by_their_ends(folder: Path) -> None:
    """The numbers that training masks by agree with the index."""
    length, starts = 64, []
    for at, path in enumerate(sorted(folder.glob("index-*.parquet"))):
        before = sum(file["tokens"] for file in json.loads((folder / "shards.json").read_text())["files"][:at])
        starts += [before + start for start in pq.read_table(path)["start"].to_pylist()]
    reader = ShardReader(folder, length, seed=1)
    places = reader.starts(np.arange(40))[:, None] + np.arange(length + 1)
    by_index = np.searchsorted(starts, places, side="right")
    by_ends = document_numbers(torch.from_numpy(reader.batch(0, 40)), Bytes().eos_id).numpy()
    np.testing.assert_array_equal(by_ends, by_index - by_index[:, :1])
    assert by_ends.max() > 1


def test_damage_is_found_on_opening_or_before_a_damaged_file_is_used(tmp_path: Path) -> None:
    out, _ = shards(tmp_path, Bytes(), ShardsConfig())
    path = out / "tokens-00001.bin"
    data = path.read_bytes()
    for damaged in (data[:-2], data + b"\0\0"):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"tokens-00001\.bin is damaged: its \d+ bytes"):
            ShardReader(out, 8, seed=1)
    path.write_bytes(data[:10] + bytes([data[10] ^ 1]) + data[11:])
    reader = ShardReader(out, 8, seed=1)
    with pytest.raises(ArtifactError, match=r"tokens-00001\.bin is damaged: its checksum"):
        reader.batch(0, reader.windows)
    resumed = ShardReader(out, 8, seed=1, check=False)
    assert resumed.batch(0, resumed.windows).shape == (resumed.windows, 9)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"tokens-00001\.bin is damaged"):
        ShardReader(out, 8, seed=1)


def test_too_little_text_for_one_window(tmp_path: Path) -> None:
    out, about = shards(tmp_path, Bytes(), ShardsConfig(), documents=4)
    most = max(source["tokens"] for source in about["sources"])
    assert ShardReader(out, most - 1, seed=1).windows >= 1
    with pytest.raises(InputError, match="Give more text or a shorter sequence_length"):
        ShardReader(out, most, seed=1)
