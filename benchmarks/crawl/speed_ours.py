"""Our side of the comparison of speed: the steps of data.build as functions, files over processes.

python benchmarks/crawl/speed_ours.py FOLDER --from warc|text --workers N
Reads FOLDER/*.warc.gz or FOLDER/*.jsonl; prints a JSON line {"seconds", "cpu_seconds", "documents", "steps"}.
"""

import argparse
import json
import multiprocessing
import resource
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from arriero.data.dedup import NGRAM, PERMUTATIONS, SEED, normalised

from arriero.data.documents import documents_table
from arriero.data.engine import BATCH_DOCUMENTS, minhash
from arriero.data.extract import _warc_rows, extract
from arriero.data.language import LanguageConfig, filter_language
from arriero.data.quality import filter_quality
from arriero.data.sources import SourceKind


def rows(path: Path) -> Iterator[dict[str, str | None]]:
    if path.suffix == ".gz":
        yield from _warc_rows(path, {"web": SourceKind.WEB})
        return
    with path.open("rb") as lines:
        for line in lines:
            row = json.loads(line)
            yield {
                "id": row["url"],
                "url": row["url"],
                "source": "web",
                "kind": "web",
                "module": "",
                "text": row["text"],
            }


def tables(path: Path) -> Iterator[pa.Table]:
    batch: list[dict[str, str | None]] = []
    for row in rows(path):
        batch.append(row)
        if len(batch) == BATCH_DOCUMENTS:
            yield documents_table(batch)
            batch = []
    if batch:
        yield documents_table(batch)


def work(path: Path, origin: str) -> tuple[Counter[str], Counter[str]]:
    """Documents after, and seconds in each step."""
    steps = [("language", partial(filter_language, cfg=LanguageConfig())), ("quality", filter_quality)]
    if origin == "warc":
        steps.insert(0, ("extract", extract))
    left: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    started = time.perf_counter()

    def clock(name: str) -> None:
        nonlocal started
        now = time.perf_counter()
        spent[name] += now - started
        started = now

    for table in tables(path):
        left["read"] += table.num_rows
        clock("read")
        for name, step in steps:
            table = step(table)
            table = table.filter(pc.is_null(table["reason"]))
            left[name] += table.num_rows
            clock(name)
        minhash(normalised(table["text"]), PERMUTATIONS, NGRAM, SEED)
        clock("signatures")
    return left, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--from", dest="origin", choices=("warc", "text"), required=True)
    parser.add_argument("--workers", type=int, required=True)
    args = parser.parse_args()
    files = sorted(args.folder.glob("*.warc.gz" if args.origin == "warc" else "*.jsonl"))
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        results = pool.map(partial(work, origin=args.origin), files, chunksize=1)
    seconds = time.perf_counter() - started
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    left, spent = (sum(counters, Counter()) for counters in zip(*results, strict=True))
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "documents": left, "steps": spent}))


if __name__ == "__main__":
    main()
