"""Damaged and hostile files: what can be read is read, the rest is quarantined with its place, memory stays bounded."""

import gzip
import json
import random
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import quarantined, read, records, source, warc_record
from small_crawl import prose

import contained
from arriero.data.readers import jsonl
from arriero.data.readers.files import list_files
from arriero.data.readers.read import read_file
from arriero.data.readers.records import MOST_BYTES, Quarantined
from arriero.data.sources import SourceKind
from contained import fuzz, linux_only

LINES = [
    (b'{"text": "a\\u0000b"}', "nul_bytes"),
    (b'{"text": "\\ud83d"}', "lone_surrogate"),
    (b'{"text": "a", "url": "\\udc00"}', "lone_surrogate"),
    (b'{"text": "\xff"}', "invalid_utf8"),
    (b'{"text": "a"', "bad_json"),
    (b"\0\0\0\0", "bad_json"),
    (b"[" * 100_000, "bad_json"),
    (b'{"text": ' + b"9" * 5000 + b"}", "bad_json"),
    (b'["text"]', "bad_json"),
    (b'{"body": "a"}', "missing_text"),
    (b'{"text": null}', "missing_text"),
    (b'{"text": 5}', "not_text"),
    (b'{"text": "a", "id": ["x"]}', "not_text"),
    (b'{"text": "a", "url": true}', "not_text"),
]


@pytest.mark.parametrize(("line", "reason"), LINES, ids=[f"{n}-{reason}" for n, (_, reason) in enumerate(LINES)])
def test_a_bad_line_is_quarantined_and_the_next_is_read(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "before"}\n' + line + b'\n{"text": "after"}')
    items = read(path)
    assert [r.text for r in records(items)] == ["before", "after"]
    assert quarantined(items) == [(19, reason)]
    assert json.dumps([item.detail for item in items if not hasattr(item, "text")]).isascii()


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.jsonl.gz", "a.txt", "a.html", "a.parquet", "a.warc", "a.warc.gz", "a.wet"]
)
def test_an_empty_file_is_quarantined(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert quarantined(read(tmp_path / name)) == [(0, "empty")]


def test_files_without_documents_are_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"\n\n"))
    (tmp_path / "b.warc.gz").write_bytes(warc_record("", b"software: x\r\n", gzip=True, type="warcinfo"))
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "c.parquet")
    for name in ("a.jsonl.gz", "b.warc.gz", "c.parquet"):
        assert quarantined(read(tmp_path / name)) == [(0, "empty")], name


@pytest.mark.parametrize(
    ("body", "reason"), [(b"a\n\xff", "invalid_utf8"), (b"a\0", "nul_bytes"), (b"x" * (MOST_BYTES + 1), "too_large")]
)
def test_text_files_that_are_no_text(tmp_path: Path, body: bytes, reason: str) -> None:
    (tmp_path / "a.txt").write_bytes(body)
    (tmp_path / "b.txt").write_bytes(body[: MOST_BYTES - 5].replace(b"\xff", b"").replace(b"\0", b""))
    items = read(tmp_path)
    assert quarantined(items) == [(0, reason)]
    assert len(records(items)) == 1


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_compression_keeps_what_came_before(tmp_path: Path, codec: str, damage: str) -> None:
    rows = [{"text": prose(n), "id": str(n)} for n in range(1500)]
    data = bytes(pa.Codec(codec).compress("".join(json.dumps(r) + "\n" for r in rows).encode(), asbytes=True))
    at = len(data) * 9 // 10
    (tmp_path / "a.jsonl").write_bytes(data[:at] if damage == "cut" else data[:at] + bytes(200) + data[at + 200 :])
    items = read(tmp_path / "a.jsonl")
    came = len(records(items))
    assert 500 < came < 1500
    assert [(r.id, r.text) for r in records(items)] == [(r["id"], r["text"]) for r in rows[:came]]
    assert [reason for _, reason in quarantined(items)] == [f"corrupt_{codec}"]


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = 300
    texts = [prose(n) for n in range(rows)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=100, use_dictionary=False, compression="zstd")
    whole = path.read_bytes()
    assert quarantined(read(path)) == []
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    middle = column.data_page_offset + column.total_compressed_size // 2
    path.write_bytes(whole[:middle] + bytes(100) + whole[middle + 100 :])
    items = read(path)
    (bad,) = quarantined(items)
    assert bad[1] == "corrupt_parquet"
    assert 100 <= bad[0] < 200
    kept = [int(r.origin.partition(":")[2]) for r in records(items)]
    assert {*range(100), *range(200, 300)} <= {*kept}
    for broken in (whole[:-10], b"PAR1" + bytes(20) + b"PAR1", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        assert quarantined(read(path)) == [(0, "corrupt_parquet")]


def test_parquet_values_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    bad = pa.array([b"ok", b"\xff", None, b"a\0", b"x" * (MOST_BYTES + 1)], pa.binary())
    pq.write_table(pa.table({"text": bad.view(pa.string())}), path)
    items = read(path)
    assert [r.text for r in records(items)] == ["ok"]
    assert quarantined(items) == [(1, "invalid_utf8"), (2, "missing_text"), (3, "nul_bytes"), (4, "too_large")]
    pq.write_table(pa.table({"text": [1]}), path)
    assert quarantined(read(path)) == [(0, "not_text")]
    pq.write_table(pa.table({"content": ["a"]}), path)
    assert quarantined(read(path)) == [(0, "missing_text")]
    pq.write_table(pa.table({"text": [["a"]], "content": ["a"]}), path)
    assert [r.text for r in records(read(path, text_field="content"))] == ["a"]


URLS = [f"http://a.org/{n}" for n in range(6)]


@pytest.mark.parametrize("zipped", [True, False])
@fuzz(100)
@given(data=st.data())
def test_damage_to_one_warc_record_loses_no_other(
    tmp_path_factory: pytest.TempPathFactory, zipped: bool, data: st.DataObject
) -> None:
    draw = random.Random(data.draw(st.integers(0, 1 << 32)))
    parts = [warc_record(url, prose(n, 3 + n).encode(), gzip=zipped) for n, url in enumerate(URLS)]
    hit = data.draw(st.integers(0, len(parts) - 1))
    part = parts[hit]
    at = data.draw(st.integers(0, len(part) - 1))
    size = data.draw(st.integers(1, 400))
    damage = data.draw(st.sampled_from(["cut", "zeros", "noise", "insert", "digits"]))
    noise = draw.randbytes(size)
    parts[hit] = {
        "cut": part[:at] + part[at + size :],
        "zeros": part[:at] + bytes(size) + part[at + size :],
        "noise": part[:at] + noise + part[at + size :],
        "insert": part[:at] + noise + part[at:],
        "digits": part.replace(b"Content-Length: ", b"Content-Length: " + data.draw(st.sampled_from(DIGITS)), 1),
    }[damage]
    path = tmp_path_factory.mktemp("warc") / "a.warc"
    path.write_bytes(b"".join(parts))
    items = read(path, SourceKind.WEB)
    found = {r.url: r.text for r in records(items)}
    for n, url in enumerate(URLS):
        if n != hit:
            assert found.get(url) == prose(n, 3 + n)
    if zipped and parts[hit] != part and (found.get(URLS[hit]) != prose(hit, 3 + hit)):
        assert quarantined(items)


DIGITS = [b"1", b"9", b"-", b"x", b"99999999", b"999999999999999", b"9" * 30, b"0x"]


def zipped_or_not(members: list[bytes], zipped: bool) -> bytes:
    return b"".join(gzip.compress(member) if zipped else member for member in members)


@pytest.mark.parametrize("zipped", [True, False])
def test_each_kind_of_broken_warc_record_is_named(tmp_path: Path, zipped: bool) -> None:
    good = [warc_record(f"http://a.org/{n}", prose(n).encode(), gzip=False) for n in range(4)]
    longer = good[1].replace(b"Content-Length: ", b"Content-Length: 9", 1)
    members = [
        good[0],
        longer,
        good[2],
        b"garbage\r\n" * 9,
        good[3].replace(b"Content-Length", b"Content-Size"),
        good[3],
    ]
    members += [good[0].replace(b"WARC-Type: response", b"WARC-Type: response" + b" x" * 40_000), good[1][:-50]]
    path = tmp_path / "a.warc"
    path.write_bytes(zipped_or_not(members, zipped))
    items = read(path, SourceKind.WEB)
    assert [r.url for r in records(items)] == [f"http://a.org/{n}" for n in (0, 2, 3)]
    starts = [len(zipped_or_not(members[:n], zipped)) for n in (1, 3, 4, 6, 7)]
    reasons = ["bad_length", "no_record", "bad_header", "bad_header", "cut"]
    assert quarantined(items) == list(zip(starts, reasons, strict=True))


@pytest.mark.parametrize("missing", [1, 4, 8, 9, 30])
def test_a_gzipped_warc_that_was_cut_is_noticed(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "a.warc.gz"
    parts = [warc_record(url, prose(n).encode(), gzip=True) for n, url in enumerate(URLS)]
    path.write_bytes(b"".join(parts)[:-missing])
    items = read(path, SourceKind.WEB)
    assert [r.url for r in records(items)] == URLS[:-1]
    assert quarantined(items) == [(sum(map(len, parts[:-1])), "cut")]


def test_a_warc_of_nothing_but_broken_records_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(b"WARC/1.0\r\nContent-Length: 99999999\r\n\r\n" * 5000)
    items = read(tmp_path / "a.warc", SourceKind.WEB)
    assert len(items) < 1000
    assert items[-1].reason == "too_many_broken"


def test_many_broken_records_among_good_ones_lose_no_other(tmp_path: Path) -> None:
    parts = [warc_record(f"http://a.org/{n}", prose(n, 3).encode(), gzip=True) for n in range(1500)]
    for n in range(0, 1500, 10):
        parts[n] = parts[n][: len(parts[n]) // 2]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(parts))
    items = read(tmp_path / "a.warc.gz", SourceKind.WEB)
    assert {r.url for r in records(items)} == {f"http://a.org/{n}" for n in range(1500) if n % 10}


def test_a_warc_with_nul_bytes_or_invalid_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(warc_record(URLS[0], b"a\0b", gzip=True) + warc_record(URLS[1], b"b", gzip=True))
    assert [reason for _, reason in quarantined(read(path, SourceKind.WEB))] == ["nul_bytes"]
    path = tmp_path / "a.wet.gz"
    path.write_bytes(
        b"".join(
            warc_record(u, b, gzip=True, type="conversion") for u, b in zip(URLS[:2], [b"\xff", b"b"], strict=True)
        )
    )
    items = read(path)
    assert ([r.text for r in records(items)], [reason for _, reason in quarantined(items)]) == (["b"], ["invalid_utf8"])


def zeros(codec: str, megabytes: int) -> bytes:
    if codec == "gzip":
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        block = b" " * (1 << 20)
        return b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()
    return bytes(pa.Codec(codec).compress(b" " * (megabytes << 20), asbytes=True))


def many(values: bytes, count: int) -> bytes:
    return b'{"text": "a", "x": [' + b",".join([values] * count) + b"]}"


def body_bomb(zipped: bool) -> bytes:
    return warc_record(
        URLS[0], zeros("gzip", 400), gzip=zipped, headers=(("Content-Type", "text/html"), ("Content-Encoding", "gzip"))
    )


HOSTILE = {
    "long line": ("a.jsonl", lambda: b'{"text": "' + b"x" * (50 << 20) + b'"}', ["too_large"]),
    "long line, zipped": (
        "a.jsonl.gz",
        lambda: gzip.compress(b'{"text": "' + b"x" * (50 << 20) + b'"}', 1),
        ["too_large"],
    ),
    "many lists": ("a.jsonl", lambda: many(b"[]", 5 << 20), ["bad_json"]),
    "many numbers": ("a.jsonl", lambda: many(b"1.5", (4 << 20) - 50), ["bad_json"]),
    "numbers": ("a.jsonl", lambda: many(b"1.23456", (2 << 20) - 50), []),
    "gzip bomb": ("a.jsonl.gz", lambda: zeros("gzip", 400), ["too_large", "bomb"]),
    "zstd bomb": ("a.jsonl.zst", lambda: zeros("zstd", 400), ["too_large", "bomb"]),
    "warc bomb": ("a.warc.gz", lambda: zeros("gzip", 400), ["no_record"]),
    "warc body bomb": ("a.warc.gz", lambda: body_bomb(True), ["too_large"]),
    "warc header bomb": (
        "a.warc.gz",
        lambda: gzip.compress(b"WARC/1.0\r\n" + b"a: b\r\n" * 50_000_000, 1),
        ["bad_header"],
    ),
    "warc newline bomb": ("a.warc.gz", lambda: gzip.compress(b"\n" * (400 << 20), 1), ["bomb"]),
    "warc large record": (
        "a.warc",
        lambda: warc_record(URLS[0], b"x" * (50 << 20), gzip=False),
        ["too_large"],
    ),
    "large page": ("a.html", lambda: b"x" * (50 << 20), ["too_large"]),
}


@linux_only
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_take_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    file, make, reasons = HOSTILE[name]
    path = tmp_path / file
    path.write_bytes(make())
    monkeypatch.setattr(contained, "MEGABYTES", 200)
    monkeypatch.setattr(contained, "SECONDS", 20)

    def work() -> None:
        found = [reason for _, reason in quarantined(read(path, SourceKind.WEB))]
        assert found == reasons

    contained.contained(work)


@linux_only
@pytest.mark.parametrize(
    ("dictionary", "size", "rows", "found"), [(False, 8 << 20, 50, ["bomb"]), (True, 15 << 20, 40, [])]
)
def test_parquet_bombs_take_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dictionary: bool, size: int, rows: int, found: list[str]
) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.chunked_array([pa.array([" " * size], pa.large_string())] * rows)
    pq.write_table(
        pa.table({"text": texts}),
        path,
        compression="zstd",
        use_dictionary=dictionary,
        dictionary_pagesize_limit=1 << 30,
    )
    monkeypatch.setattr(contained, "MEGABYTES", 200)
    monkeypatch.setattr(contained, "SECONDS", 20)

    def work() -> None:
        (file,) = list_files(source(path))
        reasons, count = [], 0
        for item in read_file(file, source(path)):
            count += 1
            reasons += [item.reason] if isinstance(item, Quarantined) else []
        assert (reasons, count) == (found, 1 if found else rows)

    contained.contained(work)


@given(data=st.binary(max_size=300), chunk=st.integers(1, 40))
def test_lines_are_those_of_the_bytes(data: bytes, chunk: int) -> None:
    """Against splitting at once, with a limit of 50 bytes a line."""
    expected, offset = [], 0
    for line in data.split(b"\n"):
        expected.append((offset, line if len(line) <= 50 else "too_large"))
        offset += len(line) + 1
    if not expected[-1][1]:
        expected.pop()
    chunks = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    found = [(at, line if isinstance(line, bytes) else line.reason) for at, line in jsonl.lines(chunks, 50)]
    assert found == expected
