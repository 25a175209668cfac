"""The reader: a bijection, the mixture's epochs, no state, damage found."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_shards import Bytes, shards

from arriero.data.reader import ShardReader, permute, round_keys
from arriero.data.shards import ShardsConfig
from arriero.errors import ArtifactError, InputError


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


def test_a_pass_reads_each_source_as_often_as_its_epochs_say(folder: Path) -> None:
    length = 8
    reader = ShardReader(folder, length, seed=3)
    about = json.loads((folder / "shards.json").read_text())
    fractions = []
    for number in range(3):
        starts = reader.starts(np.arange(number * reader.windows, (number + 1) * reader.windows))
        counts = Counter(starts.tolist())
        total = 0
        for source in about["sources"]:
            windows = (source["tokens"] - 1) // length
            own = [counts[source["start"] + length * w] for w in range(windows)]
            total += sum(own)
            assert sum(own) == round(windows * source["epochs"])
            assert set(own) <= {int(source["epochs"]), int(np.ceil(source["epochs"]))}
            if source["epochs"] % 1:
                fractions.append(tuple(own))
        assert total == reader.windows, "no window crosses from one source into another"
    assert len(set(fractions)) == 3, "the fraction of an epoch reads other windows in every pass"


def test_windows_overlap_by_the_one_token_that_is_input_and_target(folder: Path) -> None:
    tokens = np.fromfile(folder / "tokens.bin", "uint16")
    reader = ShardReader(folder, 8, seed=3)
    batch = reader.batch(5, 4)
    assert batch.shape == (4, 9)
    assert batch.dtype == np.int64
    for row, start in zip(batch, reader.starts(np.arange(20, 24)), strict=True):
        np.testing.assert_array_equal(row, tokens[start : start + 9])
    assert ShardReader(folder, 8, seed=4).batch(5, 4).tolist() != batch.tolist()


@given(step=st.integers(0, 200), size=st.sampled_from([1, 2, 6]), ranks=st.sampled_from([1, 2, 3]))
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
    assert first.tolist() != second.tolist()
    assert first.tolist() != sorted(first)


def test_damage_is_found_on_opening(tmp_path: Path) -> None:
    out, _ = shards(tmp_path, Bytes(), ShardsConfig())
    path = out / "tokens.bin"
    data = path.read_bytes()
    for damaged in (data[:-2], data + b"\0\0", data[:10] + bytes([data[10] ^ 1]) + data[11:]):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"tokens\.bin is damaged"):
            ShardReader(out, 8, seed=1)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"tokens\.bin is damaged"):
        ShardReader(out, 8, seed=1)


def test_too_little_text_for_one_window(tmp_path: Path) -> None:
    out, about = shards(tmp_path, Bytes(), ShardsConfig(), documents=4)
    most = max(source["tokens"] for source in about["sources"])
    assert ShardReader(out, most - 1, seed=1).windows >= 1
    with pytest.raises(InputError, match="Give more text or a shorter sequence_length"):
        ShardReader(out, most, seed=1)
