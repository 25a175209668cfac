"""data.build on declared sources: every format arrives, hostile files stop nothing, no number of workers counts."""

import gzip
import json
import os
import random
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from declared_corpus import EACH, SOURCES, built, declare, fates, prose, source, write_all_formats
from reading import warc_record
from small_crawl import page

from arriero.corpus import read, read_parts
from arriero.data import build, decide, phase_write, sieve
from arriero.data.build import BuildConfig
from arriero.data.engine import EngineConfig
from arriero.data.readers.records import BOMB_BYTES
from arriero.data.sources import SourceKind
from arriero.errors import ConfigError, InputError
from stages import digests

ALONE = EngineConfig(workers=1)
GERMAN = "Das ist ein ganz gewöhnlicher Satz über das Wetter, den niemand für englisch halten wird. " * 8


def text_of(page: str) -> str:
    return page.removeprefix("Title\n\n")


def test_every_document_of_every_format_arrives(tmp_path: Path) -> None:
    crawl = declare(tmp_path, write_all_formats(tmp_path / "given"))
    out = built(tmp_path / "work", crawl, BuildConfig(engine=ALONE)).out
    rows = [row for split in ("train", "heldout") for row in read(out, split).to_pylist()]
    texts = sorted(text_of(row["text"]) for row in rows)
    assert texts == sorted(prose(n) for n in range(EACH * len(SOURCES)))
    assert {row["source"]: 0 for row in rows} == dict.fromkeys(SOURCES, 0)
    assert read(out, "heldout").num_rows > 0
    assert (out / "quarantine.jsonl").read_text() == ""
    funnel = json.loads((out / "funnel.json").read_text())
    assert funnel["by_source"] == {name: {"in": EACH, "out": EACH, "dropped": {}} for name in SOURCES}


def test_workers_and_sizes_of_units_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    given = write_all_formats(tmp_path / "given")
    copies = [prose(6), prose(7) + " So it is.", prose(100) + " Write to jane@acme.org.", GERMAN]
    (tmp_path / "copies.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in copies))
    crawl = declare(tmp_path, [*given, source(tmp_path / "copies.jsonl")])
    one = built(tmp_path / "one", crawl, BuildConfig(engine=ALONE)).out
    monkeypatch.setattr(build, "ALONE_BYTES", 0)
    monkeypatch.setattr(decide, "ALONE_ROWS", 0)
    monkeypatch.setattr(decide, "BUCKET_ROWS", 20)
    two = built(tmp_path / "two", crawl, BuildConfig(engine=EngineConfig(workers=2)))
    assert digests(one) == digests(two.out)
    assert len(list((two.scratch / "near_duplicates").iterdir())) > 20, "bands and buckets were apart"
    small = built(tmp_path / "small", crawl, BuildConfig(engine=ALONE, unit_bytes=1)).out
    assert len(list(small.glob("train/*"))) > len(list(one.glob("train/*")))
    assert fates(small) == fates(one)
    assert {fate.partition(":")[0] for fate in fates(one).values()} == {
        "train", "heldout", "exact_duplicates", "near_duplicates", "language"
    }  # fmt: skip
    for name in ("funnel.json", "statistics.json", "mixture.json"):
        assert (small / name).read_bytes() == (one / name).read_bytes(), name


def bomb() -> bytes:
    """1.3 MB that become 300 MB of spaces."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    block = b" " * (1 << 20)
    return b"".join(packer.compress(block) for _ in range(300)) + packer.flush()


def hostile(folder: Path) -> dict[str, list[tuple[str, int, str]]]:
    """Files, and what the quarantine must hold of each source: file, offset and reason."""
    good = json.dumps({"text": prose(0)}).encode() + b"\n"
    records = [warc_record(f"https://a.example/{n}", page(prose(1 + n)), gzip=True) for n in range(3)]
    start, middle = len(records[0]), len(records[0]) + len(records[1])
    cut = random.Random(0).randbytes(40)
    files = {
        "lines/bomb.jsonl.gz": gzip.compress(good) + bomb(),
        "lines/bomb.jsonl.zst": pa.Codec("zstd").compress(b" " * (300 << 20), asbytes=True),
        "lines/empty.jsonl": b"",
        "lines/long.jsonl": b'{"text": "' + b"x" * (50 << 20) + b'"}\n' + good.replace(b"text", b"body"),
        "lines/nul.jsonl": json.dumps({"text": "a\0b"}).encode() + b"\n",
        "lines/utf8.jsonl": b'{"text": "' + b"\xff" * 4 + b'"}\n',
        "text/empty.txt": b"",
        "text/good.txt": prose(4).encode(),
        "text/nul.txt": b"a\0b",
        "text/utf8.txt": b"first\n\xff",
        "warc/broken.warc.gz": records[0] + records[1][:-200] + cut + records[1][-160:] + records[2],
        "warc/length.warc": warc_record("https://b.example/", b"x", gzip=False).replace(b"Length: ", b"Length: 9", 1),
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert middle < len(files["warc/broken.warc.gz"])
    return {
        "lines": [
            ("bomb.jsonl.gz", len(good), "too_large"),
            ("bomb.jsonl.gz", BOMB_BYTES, "bomb"),
            ("bomb.jsonl.zst", 0, "too_large"),
            ("bomb.jsonl.zst", BOMB_BYTES, "bomb"),
            ("empty.jsonl", 0, "empty"),
            ("long.jsonl", 0, "too_large"),
            ("long.jsonl", (50 << 20) + 13, "missing_text"),
            ("nul.jsonl", 0, "nul_bytes"),
            ("utf8.jsonl", 0, "invalid_utf8"),
        ],
        "text": [("empty.txt", 0, "empty"), ("nul.txt", 0, "nul_bytes"), ("utf8.txt", 0, "invalid_utf8")],
        "warc": [("broken.warc.gz", start, "corrupt_gzip"), ("length.warc", 0, "cut")],
    }


def test_hostile_files_are_quarantined_and_the_run_goes_on_or_stops(tmp_path: Path) -> None:
    expected = hostile(tmp_path / "given")
    crawl = declare(tmp_path, [source(tmp_path / "given" / name) for name in expected], heldout_share=0)
    out = built(tmp_path / "work", crawl, BuildConfig(engine=ALONE, max_quarantined=0.9)).out
    rows = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    found: dict[str, list[tuple[str, int, str]]] = {name: [] for name in expected}
    for row in rows:
        found[row["source"]].append((row["file"], row["offset"], row["reason"]))
    assert found == expected
    texts = [text_of(text) for text in read(out, "train")["text"].to_pylist()]
    assert sorted(texts) == sorted(prose(n) for n in (0, 1, 3, 4))
    one = declare(tmp_path / "one", [source(tmp_path / "given/text")], heldout_share=0)
    with pytest.raises(InputError, match=r"Of 3 records of the source 'text', 2 cannot.*: nul\.txt, at 0: nul_bytes"):
        built(tmp_path / "strict", one, BuildConfig(engine=ALONE, max_quarantined=0.6))
    assert not list((tmp_path / "strict" / "out").iterdir())


def test_a_file_that_is_not_what_was_declared_stops_the_run(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    lines = "".join(json.dumps({"text": prose(n)}) + "\n" for n in range(4))
    file.write_text(lines)
    crawl = declare(tmp_path, [source(file)], heldout_share=0)
    for number, (changed, found) in enumerate(
        [(lines + lines, "has .* bytes, and had"), (lines.swapcase(), "has been changed since"), (None, "has 0 bytes")]
    ):
        file.unlink() if changed is None else file.write_text(changed)
        with pytest.raises(InputError, match=rf"a\.jsonl {found}.*Run data\.sources again"):
            built(tmp_path / f"{number}", crawl, BuildConfig(engine=ALONE))
    file.write_text(lines)
    assert len(fates(built(tmp_path / "same", crawl, BuildConfig(engine=ALONE)).out)) == 4


def test_a_source_is_declared_with_its_epochs_and_may_be_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = write_all_formats(tmp_path / "given")
    (tmp_path / "nothing").mkdir()
    declared = [replace(given[0], epochs=7.5), replace(given[1], epochs=0.5), *given[2:], source(tmp_path / "nothing")]
    crawl = declare(tmp_path, declared, heldout_share=0)
    monkeypatch.setattr(phase_write, "PART_BYTES", 1)
    monkeypatch.setattr(sieve, "BATCH_DOCUMENTS", 2)
    out = built(tmp_path / "work", crawl, BuildConfig(engine=ALONE, epochs={given[1].name: 2.0, "text": 3.0})).out
    epochs = {row["name"]: row["epochs"] for row in json.loads((out / "mixture.json").read_text())["sources"]}
    # By the config's name before what is declared, which goes before the config's kind.
    assert epochs == {"gz": 7.5, "html": 2.0, "parquet": 3.0, "text": 3.0, "warc": 1.0, "wet": 3.0, "zst": 3.0}
    assert (out / "quarantine.jsonl").read_text().count('"reason": "empty"') == 1
    parts = read_parts(out, "train")
    assert [part.documents for part in parts] == [2] * (EACH * len(SOURCES) // 2)
    assert read(out, "train").num_rows == EACH * len(SOURCES)
    with pytest.raises(ConfigError, match="`caps` names 'wiki'"):
        built(tmp_path / "wrong", crawl, BuildConfig(engine=ALONE, caps={"wiki": 1e6}))
    assert not list((tmp_path / "wrong" / "scratch").iterdir()), "before any work"


def test_pages_are_told_by_their_format_not_by_their_kind(tmp_path: Path) -> None:
    given = write_all_formats(tmp_path / "given")
    rows = "".join(json.dumps({"text": page(prose(n)).decode()}) + "\n" for n in (200, 201))
    (tmp_path / "pages.jsonl").write_text(rows)
    kinds = {"html": SourceKind.REFERENCE, "wet": SourceKind.WEB}
    declared = [
        replace(one, kind=kinds.get(one.name, one.kind)) for one in given if one.name in ("html", "wet", "text")
    ]
    crawl = declare(tmp_path, [*declared, source(tmp_path / "pages.jsonl", html=True)], heldout_share=0)
    out = built(tmp_path / "work", crawl, BuildConfig(engine=ALONE)).out
    texts = [text_of(text) for text in read(out, "train")["text"].to_pylist()]
    assert len(texts) == 3 * EACH + 2
    assert not [text for text in texts if "<" in text or "Navigation" in text]
