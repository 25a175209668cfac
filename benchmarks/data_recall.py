"""What data.build finds of cases planted in a real corpus, and how much of what it finds is one.

python benchmarks/data_recall.py [--cache DIR] [--work DIR] [--workers N] [--show]
The corpus, 600 MB, is made of Debian's documentation packages (`crawl/`), the cases by `planted/`. A case counts where
the step that should find it got to see it; a document that another step dropped is "not reached". What a step found
beside the planted cases counts, too: near duplicates (a random 200) and leaks by a plain definition written here a
second time (`crawl/judge.py`). Personal information in real text has no such definition: a random 50 of what was
redacted stands under `--show` for a reader's judgement, with the misses, the false findings, and documents that were
dropped for their quality. Intervals: 95%, Wilson.
"""

import argparse
import json
import multiprocessing
import time
from pathlib import Path

from arriero.artifacts.files import read_jsonl
from crawl.build import run_build
from crawl.outcome import read_outcome
from crawl.plant import LANGUAGES
from crawl.scoring import reasons, score
from crawl.write import SEED, build_corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("runs/bench/debian"), help="packages, fetched and unpacked")
    parser.add_argument("--work", type=Path, default=Path("runs/bench/data"), help="the corpus and what is built of it")
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--show", action="store_true", help="print what is to be judged by eye")
    args = parser.parse_args()
    manifest = build_corpus(args.cache, args.work)
    sizes = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in manifest["bytes_of"].items())
    print(f"{manifest['documents']} documents, {manifest['bytes'] / 1e6:.0f} MB ({sizes}), seed {manifest['seed']}\n")
    truth = [row for _, row in read_jsonl(args.work / "truth" / "truth.jsonl")]
    questions = [row for _, row in read_jsonl(args.work / "truth" / "questions.jsonl")]
    corpus, built, started = args.work / "corpus", args.work / "build", time.perf_counter()
    out = built / "out"
    if not (out / "funnel.json").is_file():
        out, timings = run_build(corpus, args.work / "truth" / "questions.jsonl", list(LANGUAGES), args.workers, built)
        print(f"built in {time.perf_counter() - started:.0f} s: {json.dumps(timings)}\n")
    outcome = read_outcome(out, {row["url"] for row in truth} | {row.get("original", "") for row in truth})
    report = score(truth, questions, outcome, corpus, SEED)
    print(report.table("recall", report.recall))
    print(report.table("precision", report.precision))
    for case in ("spam", "people", "ordinary"):
        print(f"\n{case}:")
        for form, counts in reasons(truth, outcome, case).items():
            print(f"  {form}: {', '.join(f'{reason} {count}' for reason, count in counts.most_common())}")
    if args.show:
        for kind, lines in report.shown.items():
            print(f"\n{kind} ({len(lines)})")
            for line in lines:
                print("  ", line)


if __name__ == "__main__":
    main()
