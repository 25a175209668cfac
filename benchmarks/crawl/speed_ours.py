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

import pyarrow.compute as pc

from arriero.data.extract import extract_step
from arriero.data.fingerprints import fingerprints
from arriero.data.language import LanguageConfig, language_step
from arriero.data.phase_read import row_of
from arriero.data.quality import quality_step
from arriero.data.quality_config import QualityConfig
from arriero.data.readers.files import list_files
from arriero.data.readers.read import read_file
from arriero.data.readers.records import Record
from arriero.data.readers.source import SourceConfig
from arriero.data.sieve import tables
from arriero.data.sources import SourceKind


def rows(path: Path, origin: str) -> Iterator[dict[str, str | None]]:
    # Extracted text counts as web text: Gopher's and C4's rules are its. Only from WARC does extraction stand before.
    source = SourceConfig(
        name="web",
        path=str(path),
        kind=SourceKind.WEB,
        format="warc" if origin == "warc" else "jsonl",
        licence="each package's own",
    )
    for file in list_files(source):
        for record in read_file(file, source):
            if isinstance(record, Record):
                yield row_of(record, source)


def work(path: Path, origin: str) -> tuple[Counter[str], Counter[str]]:
    """Documents after, and seconds in each step."""
    steps = [language_step(LanguageConfig()), quality_step(QualityConfig())]
    if origin == "warc":
        steps.insert(0, extract_step(html=True))
    left: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    started = time.perf_counter()

    def clock(name: str) -> None:
        nonlocal started
        now = time.perf_counter()
        spent[name] += now - started
        started = now

    for table in tables(rows(path, origin)):
        left["read"] += table.num_rows
        clock("read")
        for step in steps:
            table = step.run(table)
            table = table.filter(pc.is_null(table["reason"]))
            left[step.name] += table.num_rows
            clock(step.name)
        fingerprints(table["text"])
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
