"""A declared corpus in every format that is read, and data.build on it."""

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from reading import warc_record
from small_crawl import page

from arriero.artifacts import Artifact, StageContext
from arriero.corpus import DROPPED_SCHEMA, read
from arriero.data import build, declared
from arriero.data.build import BuildConfig
from arriero.data.declared import DeclaredConfig
from arriero.data.readers.source import SourceConfig
from arriero.data.sources import SourceKind
from stages import artifact, context, inputs

EACH = 6  # documents of each source
SOURCES = ("gz", "html", "parquet", "text", "warc", "wet", "zst")
WORDS = [word for _, text in sorted(topics.items()) for word in text.split() if word.isalpha()]  # English


def prose(seed: int, spans: int = 25) -> str:
    """Spans of English in a random order: no two seeds give near duplicates."""
    draw = random.Random(seed)
    starts = [draw.randrange(len(WORDS) - 20) for _ in range(spans)]
    return " ".join(" ".join(WORDS[at : at + draw.randint(8, 20)]).capitalize() + "." for at in starts)


def write_all_formats(folder: Path) -> list[SourceConfig]:
    """One source of each format, EACH documents in each, in two files or more: prose(0), prose(1) and so on."""
    texts = iter([prose(n) for n in range(EACH * len(SOURCES))])

    def some() -> list[str]:
        return [next(texts) for _ in range(EACH // 2)]

    def lines(rows: Sequence[str]) -> bytes:
        return "".join(json.dumps({"text": text}) + "\n" for text in rows).encode()

    for name in SOURCES:
        (folder / name / "in").mkdir(parents=True)
    for half in "ab":
        pages = [warc_record(f"https://{half}{n}.example/", page(text), gzip=True) for n, text in enumerate(some())]
        (folder / f"warc/{half}.warc.gz").write_bytes(b"".join(pages))
        plain = [
            warc_record(f"https://{half}{n}.org/", text.encode(), gzip=True, type="conversion")
            for n, text in enumerate(some())
        ]
        (folder / f"wet/{half}.warc.wet.gz").write_bytes(b"".join(plain))
        (folder / f"gz/{half}.jsonl.gz").write_bytes(gzip.compress(lines(some()), mtime=0))
        (folder / f"zst/{half}.jsonl.zst").write_bytes(pa.Codec("zstd").compress(lines(some()), asbytes=True))
        pq.write_table(pa.table({"text": some()}), folder / f"parquet/{half}.parquet")
        for name, ending in (("html", "html"), ("text", "txt")):
            for n, text in enumerate(some()):
                body = page(text) if ending == "html" else text.encode()
                (folder / name / "in" / f"{half}{n}.{ending}").write_bytes(body)
    return [source(folder / name) for name in SOURCES]


def source(path: Path, **settings: Any) -> SourceConfig:
    kind = SourceKind.WEB if path.name in ("warc", "html") else SourceKind.TEXT
    return SourceConfig(name=path.name.partition(".")[0], path=str(path), kind=kind, licence="CC0-1.0", **settings)


def declare(root: Path, sources: list[SourceConfig], heldout_share: float = 0.2) -> Artifact:
    """The crawl of data.sources."""
    given, crawl = context(root / "declare"), artifact(root, "crawl")
    declared.STAGE.run(DeclaredConfig(sources=sources, heldout_share=heldout_share), inputs(), given)
    return replace(crawl, path=given.out)


def built(root: Path, crawl: Artifact, cfg: BuildConfig) -> StageContext:
    """data.build, in folders of its own."""
    given = context(root)
    build.STAGE.run(cfg, inputs(crawl=crawl), given)
    return given


def fates(out: Path) -> dict[str, str]:
    """Split, or step and reason, by the id of every document."""
    kept = {id: split for split in ("train", "heldout") for id in read(out, split, ["id"])["id"].to_pylist()}
    dropped = pa.concat_tables(
        [DROPPED_SCHEMA.empty_table(), *(pq.read_table(path) for path in sorted((out / "dropped").glob("*.parquet")))]
    ).to_pylist()
    gone = {row["id"]: f"{row['step']}: {row['reason']}, {row['detail']}" for row in dropped}
    assert not set(kept) & set(gone)
    return kept | gone


def write_many(folder: Path, documents: int) -> list[SourceConfig]:
    """Two sources of `documents` in all, about 2 KB each, a file for each 50: pages in WARC and lines of JSON. Every
    tenth document is a copy of another or has an e-mail address."""
    texts: list[str] = []
    for n in range(documents):
        text = prose(n)
        texts.append(texts[n // 2] if n % 20 == 19 else f"{text} Write to a{n}@home.org." if n % 20 == 9 else text)
    for name in ("warc", "lines"):
        (folder / name).mkdir(parents=True)
    for first in range(0, documents, 100):
        pages = [
            warc_record(f"https://s{n % 17}.example/{n}", page(texts[n]), gzip=True) for n in range(first, first + 50)
        ]
        (folder / f"warc/{first:06}.warc.gz").write_bytes(b"".join(pages))
        rows = [{"id": f"l{n}", "text": texts[n]} for n in range(first + 50, first + 100)]
        (folder / f"lines/{first:06}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [source(folder / "warc"), source(folder / "lines")]
