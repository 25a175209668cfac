"""Groups of duplicates over files: against a plain reference, against datasketch, and which document stays."""

import random
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from arriero.data.duplicates import (
    ROUNDS,
    UNIT_SHIFT,
    Groups,
    band_edges,
    components,
    decide_exact,
    decide_near,
    exact_edges,
)
from arriero.data.engine import minhash
from arriero.data.fingerprints import (
    BAND_COLUMNS,
    BANDS,
    EQUAL_BYTES,
    NGRAM,
    PERMUTATIONS,
    ROWS,
    SEED,
    SIMILARITY,
    fingerprints,
    spaced,
)

NONE = np.zeros(0, np.int64)
EPOCHS = {"web": 1.0, "facts": 3.0}
# Real text: the topics of Python's help, in pieces of 150 words.
WORDS = " ".join(topics.values()).split()
PIECES = [" ".join(WORDS[start : start + 150]) for start in range(0, len(WORDS) - 150, 150)]


def edited(text: str, share: float, draw: random.Random) -> str:
    """The text with a share of its words replaced, deleted or preceded by another one."""
    words: list[str] = text.split()
    for place in draw.sample(range(len(words)), round(share * len(words))):
        other = draw.choice(WORDS)
        words[place] = draw.choice([other, "", f"{other} {words[place]}"])
    return " ".join(words)


def write_units(folder: Path, rows: list[tuple[str, str]], units: int = 1, **columns: list[Any]) -> list[Path]:
    """(id, text) as files of `units` work units."""
    table = fingerprints(pa.chunked_array([[text for _, text in rows]], pa.large_string()))
    given = {"source": ["web"] * len(rows), "heldout": [False] * len(rows)} | columns
    given["id"] = [name for name, _ in rows]
    for name, values in given.items():
        table = table.append_column(name, pa.array(values, pa.bool_() if name == "heldout" else pa.large_string()))
    table = table.append_column("bytes", pa.array([len(text.encode()) for _, text in rows]))
    return write(folder, table, units)


def write(folder: Path, table: pa.Table, units: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    size = -(-table.num_rows // units)
    files = [folder / f"{unit}.parquet" for unit in range(units)]
    for unit, file in enumerate(files):
        pq.write_table(table.slice(unit * size, size), file)
    return files


def near_groups(files: list[Path], buckets: int = 1, excluded: np.ndarray = NONE) -> Groups:
    edges = [band_edges(files, band, b, buckets, excluded) for band in range(BANDS) for b in range(buckets)]
    return components(np.concatenate(edges))


def exact_groups(files: list[Path], buckets: int = 1, excluded: np.ndarray = NONE) -> Groups:
    return components(np.concatenate([exact_edges(files, b, buckets, excluded) for b in range(buckets)]))


def by_id(files: list[Path], groups: Groups) -> set[frozenset[str]]:
    ids = [pq.read_table(file, columns=["id"])["id"].to_pylist() for file in files]
    found = defaultdict(set)
    for number, label in zip(groups.numbers.tolist(), groups.labels.tolist(), strict=True):
        found[label].add(ids[number >> UNIT_SHIFT][number & ((1 << UNIT_SHIFT) - 1)])
    return {frozenset(group) for group in found.values()}


def joined(pairs: list[tuple[str, str]]) -> set[frozenset[str]]:
    """Connected components by plain union and find."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for a, b in pairs:
        parent[root(a)] = root(b)
    groups = defaultdict(set)
    for name in parent:
        groups[root(name)].add(name)
    return {frozenset(group) for group in groups.values()}


def plain_near_groups(rows: list[dict[str, Any]]) -> set[frozenset[str]]:
    pairs = []
    for column in BAND_COLUMNS:
        groups = defaultdict(list)
        for row in sorted(rows, key=lambda row: row["exact_lo"]):
            groups[row[column]].append(row)
        for group in groups.values():
            small = len(group) <= ROUNDS
            for _ in range(ROUNDS):
                leader, others = group[0], group[1:]
                alike = [_equal(leader["sketch"], row["sketch"]) >= EQUAL_BYTES for row in others]
                pairs += [(leader["id"], row["id"]) for row, is_alike in zip(others, alike, strict=True) if is_alike]
                group = [row for row, is_alike in zip(others, alike, strict=True) if small or not is_alike]
                if not group:
                    break
    return joined(pairs)


@pytest.fixture(scope="module")
def planted() -> list[tuple[str, str]]:
    """Pieces of real text and copies of some of them with 5, 10, 20, 30% of the words edited: "copy-10-of-7"."""
    draw = random.Random(3)
    rows = [(f"{number}", piece) for number, piece in enumerate(PIECES)]
    for place, share in enumerate((5, 10, 20, 30)):
        rows += [(f"copy-{share}-of-{n}", edited(PIECES[n], share / 100, draw)) for n in range(place, 400, 4)]
    draw.shuffle(rows)
    return rows


def test_copies_with_one_word_in_ten_edited_are_found(tmp_path: Path, planted: list[tuple[str, str]]) -> None:
    files = write_units(tmp_path, planted, 3)
    dropped = decide_near(files, near_groups(files), EPOCHS)
    ids = [name for name, _ in planted]
    size = -(-len(ids) // 3)
    gone = {ids[(number >> UNIT_SHIFT) * size + (number & 0xFFFFFFFF)] for number in dropped["number"].to_pylist()}
    found = {
        share: np.mean([f"copy-{share}-of-{n}" in gone or f"{n}" in gone for n in range(place, 400, 4)])
        for place, share in enumerate((5, 10, 20, 30))
    }
    assert found[5] >= 0.99
    assert found[10] >= 0.95
    assert found[30] < 0.2
    shingles = {name: _shingles(text) for name, text in planted}
    pairs = [
        (ids[(n >> UNIT_SHIFT) * size + (n & 0xFFFFFFFF)], kept)
        for n, kept in zip(dropped["number"].to_pylist(), dropped["detail"].to_pylist(), strict=True)
    ]
    assert np.mean([_jaccard(shingles[a], shingles[b]) > SIMILARITY - 0.1 for a, b in pairs]) > 0.95


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = str(spaced(pa.array([text.lower()], pa.large_string()))[0]).split()
    return frozenset(zip(*(words[place:] for place in range(NGRAM)), strict=False))


def _jaccard(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b)


def test_groups_equal_a_plain_references_whatever_the_files_and_buckets(
    tmp_path: Path, planted: list[tuple[str, str]]
) -> None:
    planted = planted[:300]
    files = write_units(tmp_path / "one", planted)
    expected = plain_near_groups(pq.read_table(files[0]).to_pylist())
    assert by_id(files, near_groups(files)) == expected
    assert len(expected) > 10
    shuffled = random.Random(1).sample(planted, len(planted))
    files = write_units(tmp_path / "five", shuffled, 5)
    assert by_id(files, near_groups(files, buckets=3)) == expected


def test_pairs_and_groups_agree_with_datasketch(tmp_path: Path, planted: list[tuple[str, str]]) -> None:
    """With our minima and our check of a pair, its bands give the same pairs. With its own hashes and its own estimate
    it may decide otherwise about a pair near the threshold: the standard error of both estimates is 0.04."""
    datasketch = pytest.importorskip("datasketch", reason="the outside implementation of MinHash and LSH")
    files = write_units(tmp_path, planted)
    names = [name for name, _ in planted]
    edges = np.concatenate([band_edges(files, band, 0, 1, NONE) for band in range(BANDS)])
    ours = {frozenset((names[a], names[b])) for a, b in edges.tolist()}
    sketches = {row["id"]: row["sketch"] for row in pq.read_table(files[0], columns=["id", "sketch"]).to_pylist()}
    shingles = {name: _shingles(text) for name, text in planted}
    words = spaced(pa.array([text.lower() for _, text in planted], pa.large_string()))
    fed, own = {}, {}
    for name, signature in zip(names, minhash(words, PERMUTATIONS, NGRAM, SEED), strict=True):
        fed[name] = datasketch.MinHash(PERMUTATIONS, hashvalues=signature, scheme="legacy")
        own[name] = datasketch.MinHash(PERMUTATIONS)
        own[name].update_batch([" ".join(shingle).encode() for shingle in shingles[name]])
    same = _datasketch_pairs(datasketch, fed, lambda a, b: _equal(sketches[a], sketches[b]) >= EQUAL_BYTES)
    assert same == ours
    assert joined([tuple(pair) for pair in same]) == by_id(files, components(edges))
    other = _datasketch_pairs(datasketch, own, lambda a, b: own[a].jaccard(own[b]) >= SIMILARITY)
    either = [(pair, _jaccard(*(shingles[name] for name in pair))) for pair in ours | other]
    clear = {pair for pair, similarity in either if abs(similarity - SIMILARITY) > 0.12}
    assert len(clear) > 100
    assert len(clear & ours & other) >= 0.98 * len(clear)


def _datasketch_pairs(
    datasketch: Any, minhashes: dict[str, Any], alike: Callable[[str, str], bool]
) -> set[frozenset[str]]:
    index = datasketch.MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS))
    for name, minima in minhashes.items():
        index.insert(name, minima)
    candidates = {frozenset((name, other)) for name, minima in minhashes.items() for other in index.query(minima)}
    return {pair for pair in candidates if len(pair) == 2 and alike(*pair)}


def _equal(a: bytes, b: bytes) -> int:
    return sum(x == y for x, y in zip(a, b, strict=True))


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=30))
def test_components_equal_scipys(pairs: list[tuple[int, int]]) -> None:
    numbers = np.array([(n % 3 << UNIT_SHIFT) + n for n in range(16)])
    edges = numbers[np.array(pairs, np.int64).reshape(-1, 2)]
    groups = components(edges)
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(16, 16))
    _, labels = connected_components(graph, directed=False)
    least = {label: numbers[labels == label].min() for label in labels}
    used = sorted({number for pair in pairs for number in pair}, key=lambda number: numbers[number])
    assert groups.numbers.tolist() == [numbers[number] for number in used]
    assert groups.labels.tolist() == [least[labels[number]] for number in used]
    again = components(groups.edges())
    assert (
        dict(zip(again.numbers, again.labels, strict=True)).items()
        <= dict(zip(groups.numbers, groups.labels, strict=True)).items()
    )


def test_a_long_chain_is_one_component() -> None:
    chain = np.random.default_rng(2).permutation(100_000)
    groups = components(np.stack([chain[:-1], chain[1:]], axis=1))
    assert len(groups.numbers) == 100_000
    assert not groups.labels.any()


def test_exact_duplicates_over_files(tmp_path: Path) -> None:
    rows = [("a", "One two"), ("b", "three"), ("c", "one  TWO"), ("d", ""), ("e", "one two"), ("f", " "), ("g", "four")]
    files = write_units(tmp_path, rows, 3)
    for buckets in (1, 4):
        assert by_id(files, exact_groups(files, buckets)) == {frozenset("ace"), frozenset("df")}
    without_c_and_e = exact_groups(files, 1, excluded=np.array([2, (1 << UNIT_SHIFT) + 1]))
    assert by_id(files, without_c_and_e) == {frozenset("df")}
    assert decide_exact(files, exact_groups(files), EPOCHS).to_pylist() == [
        {"number": 0, "reason": "exact_duplicate", "detail": "c"},
        {"number": 1 << UNIT_SHIFT, "reason": "exact_duplicate", "detail": "f"},
        {"number": (1 << UNIT_SHIFT) + 1, "reason": "exact_duplicate", "detail": "c"},
    ]


@pytest.mark.parametrize("kind", ["exact", "near"])
@pytest.mark.parametrize(
    ("modules", "sources", "lengths", "kept"),
    [
        (["held", "m"], ["web", "facts"], [" ", "  "], 0),
        (["m", "m"], ["web", "facts"], ["  ", " "], 1),
        (["m", "m"], ["web", "web"], [" ", "  "], 1),
        (["m", "m"], ["web", "web"], [" ", " "], 0),
        (["held", "held"], ["web", "facts"], [" ", " "], 1),
    ],
    ids=["held out before all", "the source read more often", "the longest", "the least id", "both held out"],
)
def test_keep_rule(
    tmp_path: Path, kind: str, modules: list[str], sources: list[str], lengths: list[str], kept: int
) -> None:
    rows = [(name, PIECES[0] + space) for name, space in zip(("a", "b"), lengths, strict=True)]
    for order in (1, -1):
        files = write_units(
            tmp_path,
            rows[::order],
            2,
            heldout=[module == "held" for module in modules[::order]],
            source=sources[::order],
        )
        decided = (
            decide_exact(files, exact_groups(files), EPOCHS)
            if kind == "exact"
            else decide_near(files, near_groups(files), EPOCHS)
        ).to_pylist()
        gone = (1 - kept) if order == 1 else kept
        crosses = modules[kept] == "held" and modules[1 - kept] != "held"
        reason = f"{kind}_duplicate" + "_of_heldout" * crosses
        assert decided == [{"number": gone << UNIT_SHIFT, "reason": reason, "detail": "ab"[kept]}]


def synthetic(hashes: np.ndarray, sketches: np.ndarray, lengths: list[int] | None = None) -> pa.Table:
    """Documents whose bands all are `hashes`."""
    rows = len(hashes)
    flat = pa.array([sketch.tobytes() for sketch in sketches], pa.binary(PERMUTATIONS))
    random_hashes = np.random.default_rng(5).integers(0, 2**63, rows, np.uint64)
    columns = {"exact_hi": random_hashes, "exact_lo": random_hashes, "sketch": flat} | dict.fromkeys(
        BAND_COLUMNS, hashes
    )
    columns |= {"id": [f"{row:07}" for row in range(rows)], "source": ["web"] * rows, "heldout": [False] * rows}
    return pa.table(columns | {"bytes": lengths or [1] * rows})


def test_a_document_unlike_the_one_kept_stays(tmp_path: Path) -> None:
    # b is like a and like c, which are not alike: a chain of three.
    a, b, c = (np.arange(PERMUTATIONS, dtype=np.uint8) for _ in range(3))
    apart = PERMUTATIONS - EQUAL_BYTES
    b[:apart] += 100
    c[:apart] += 100
    c[apart : 2 * apart] += 100
    chain = Groups(np.arange(3), np.zeros(3, np.int64))
    for lengths, gone in (([3, 2, 1], [1]), ([1, 3, 2], [0, 2]), ([1, 2, 3], [1])):
        files = write(tmp_path, synthetic(np.zeros(3, np.uint64), np.stack([a, b, c]), lengths), 1)
        assert decide_near(files, chain, EPOCHS)["number"].to_pylist() == gone


def test_a_group_that_all_documents_share_costs_one_edge_each(tmp_path: Path) -> None:
    rows = 20_000
    alike = np.zeros((rows, PERMUTATIONS), np.uint8)
    files = write(tmp_path, synthetic(np.zeros(rows, np.uint64), alike), 1)
    edges = band_edges(files, 0, 0, 1, NONE)
    assert len(edges) == rows - 1
    assert len(set(edges[:, 0].tolist())) == 1
    unlike = np.random.default_rng(1).integers(0, 256, (rows, PERMUTATIONS), np.uint8)
    files = write(tmp_path, synthetic(np.zeros(rows, np.uint64), unlike), 1)
    assert len(band_edges(files, 0, 0, 1, NONE)) == 0


def test_leaders_of_a_large_group_do_not_depend_on_the_order(tmp_path: Path) -> None:
    draw = np.random.default_rng(8)
    texts = draw.integers(0, 256, (3 * ROUNDS, PERMUTATIONS), np.uint8)
    table = synthetic(np.zeros(6 * ROUNDS, np.uint64), np.concatenate([texts, texts]))
    found = []
    for place in range(3):
        files = write(tmp_path / f"{place}", table.take(draw.permutation(table.num_rows)), 4)
        found.append(by_id(files, near_groups(files)))
    assert found[0] == found[1] == found[2]
    assert 0 < len(found[0]) < 3 * ROUNDS, "more kinds of text than leaders: some are left out"


def test_half_a_hash_does_not_make_an_exact_duplicate(tmp_path: Path) -> None:
    table = synthetic(np.zeros(4, np.uint64), np.zeros((4, PERMUTATIONS), np.uint8))
    for low, high, joins in (
        ([7] * 4, [1, 2, 1, 2], {frozenset("02"), frozenset("13")}),
        ([1, 2, 3, 4], [7] * 4, set()),
    ):
        for name, half in (("exact_lo", low), ("exact_hi", high)):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, pa.array(half, pa.uint64()))
        files = write(tmp_path, table, 2)
        groups = exact_groups(files)
        assert {frozenset(name.strip("0") or "0" for name in group) for group in by_id(files, groups)} == joins


def test_buckets_bound_the_memory(tmp_path: Path) -> None:
    rows, units = 100_000, 20
    hashes = np.random.default_rng(4).integers(0, 2**63, rows, np.uint64)
    hashes[: rows // 5] = hashes[rows // 5 : 2 * (rows // 5)]
    files = write(tmp_path, synthetic(hashes, np.zeros((rows, PERMUTATIONS), np.uint8)), units)

    def peak(buckets: int) -> int:
        tracemalloc.start()
        found = len(band_edges(files, 0, 0, buckets, NONE))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found == pytest.approx(rows / 5 / buckets, rel=0.1)
        return size

    assert peak(8) < peak(1) / 4
