"""Speed and memory of the data system.

python benchmarks/data_speed.py steps --peer-python PYTHON [--files 2] [--rounds 2]
    The same pages through extraction, language, Gopher's and C4's quality rules and MinHash signatures, ours and
    datatrove's, in alternating runs with one process and with two: from WARC, and again from one and the same extracted
    text. PYTHON is an interpreter with `datatrove[io,processing]`, `trafilatura`, `spacy`, `fasttext-numpy2-wheel`,
    `python-magic` and `xxhash<4`: an environment of its own, since that fastText overwrites ours.
python benchmarks/data_speed.py [whole]
    A whole build of a part of the corpus with one worker: its time against the sum of its steps, each by itself in a
    pass of its own over the same documents.
python benchmarks/data_speed.py memory [--sizes 500 2000]
    Peak memory of a build, main process and workers, on texts of so many MB: documents of the corpus and variants of
    them (`crawl/variants.py`).
All take --cache and --work as data_recall.py does. MB/s are of the HTML's or the text's bytes.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from fastwarc.warc import ArchiveIterator, WarcRecordType

from arriero.data.extract import main_text
from arriero.data.language import identify, model_path
from crawl.alone import steps_alone
from crawl.build import run_build, sources_of
from crawl.variants import variants
from crawl.write import SEED, build_corpus

HERE = Path(__file__).parent / "crawl"
MEGABYTE = 1_000_000
PART_BYTES = 25 * MEGABYTE


def html_pages(paths: Iterable[Path]) -> Iterable[tuple[str, str]]:
    for path in paths:
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
                yield record.headers["WARC-Target-URI"], record.reader.read().decode()


def steps(args: argparse.Namespace) -> None:
    files = sorted((args.work / "corpus" / "web").glob("*.warc.gz"))[: args.files]
    with tempfile.TemporaryDirectory() as scratch:
        inputs = {"warc": Path(scratch, "warc"), "text": Path(scratch, "text")}
        sizes = {"warc": 0, "text": 0}
        for folder in inputs.values():
            folder.mkdir()
        for file in files:
            shutil.copy(file, inputs["warc"])
            with (inputs["text"] / f"{file.name.split('.')[0]}.jsonl").open("w", encoding="utf-8") as out:
                for url, page in html_pages([file]):
                    sizes["warc"] += len(page.encode())
                    if text := main_text(page):
                        sizes["text"] += len(text.encode())
                        out.write(json.dumps({"url": url, "text": text}, ensure_ascii=False) + "\n")
        print(
            "| from | processes | ours, MB/s | datatrove, MB/s | ratio | ratio of CPU time |\n|---|---|---|---|---|---|"
        )
        for origin, folder in inputs.items():
            for workers in (1, 2):
                runs = [_pair(args.peer_python, folder, origin, workers, Path(scratch)) for _ in range(args.rounds)]
                best = [min(run[side]["seconds"] for run in runs) for side in (0, 1)]
                cpu = [min(run[side]["cpu_seconds"] for run in runs) for side in (0, 1)]
                speed = [sizes[origin] / MEGABYTE / seconds for seconds in best]
                print(
                    f"| {origin} | {workers} | {speed[0]:.2f} | {speed[1]:.2f} | {best[1] / best[0]:.1f} "
                    f"| {cpu[1] / cpu[0]:.1f} |"
                )
                print(f"<!-- {json.dumps(runs[-1])} -->", file=sys.stderr)


def _pair(peer: str, folder: Path, origin: str, workers: int, scratch: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Our run and datatrove's, one after the other."""
    how = ["--from", origin, "--workers", str(workers)]
    ours = _json([sys.executable, str(HERE / "speed_ours.py"), str(folder), *how])
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        theirs = _json([peer, str(HERE / "speed_datatrove.py"), str(folder), out, str(model_path()), *how])
    return ours, theirs


def _json(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def whole(args: argparse.Namespace) -> None:
    """CPU time on one core, which other work on the machine does not change; the build in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch, "corpus")
        for name, count in (("web", args.files), ("reference", 1)):
            (corpus / name).mkdir(parents=True)
            for file in sorted((args.work / "corpus" / name).iterdir())[:count]:
                shutil.copy(file, corpus / name)
        questions = args.work / "truth" / "questions.jsonl"
        alone = steps_alone(sources_of(corpus), questions, ["en"])
        started = time.process_time()
        run_build(corpus, questions, ["en"], 1, Path(scratch, "work"))
        total = time.process_time() - started
    for name, seconds in sorted(alone.items(), key=lambda item: -item[1]):
        print(f"{name:32} {seconds:8.2f} s")
    print(f"{'sum of the steps alone':32} {sum(alone.values()):8.2f} s")
    print(f"{'whole':32} {total:8.2f} s, {total / sum(alone.values()):.2f} of it")


def memory(args: argparse.Namespace) -> None:
    web = sorted((args.work / "corpus" / "web").glob("*.warc.gz"))[: args.files]
    texts = (main_text(page) for _, page in html_pages(web))
    english = [text for text in texts if len(text) > 500 and identify(text, 0.5) == "en"]
    print("| text | peak memory of all processes | workers |\n|---|---|---|")
    for size in args.sizes:
        with tempfile.TemporaryDirectory(dir=args.work) as scratch:
            _write_texts(english, size * MEGABYTE, Path(scratch, "corpus", "reference"))
            command = [sys.executable, __file__, "build-only", "--work", scratch]
            print(f"| {size} MB | {_peak(command) / 2**30:.2f} GiB | 2 |", flush=True)


def _write_texts(texts: list[str], size: int, folder: Path) -> None:
    folder.mkdir(parents=True)
    made = variants(texts, size, SEED)
    number = 0
    while part := list(islice(made, 2000)):
        with (folder / f"{number:05d}.jsonl").open("w", encoding="utf-8") as out:
            for place, text in enumerate(part):
                row = {"url": f"https://text.example/{number}/{place}", "text": text}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
        number += 1


def _peak(command: list[str]) -> int:
    """The largest sum of the resident memory of a command and what it starts, in bytes, looked at 10 times a second."""
    process = psutil.Popen(command)
    most, done = 0, threading.Event()
    while not done.wait(0.1):
        resident = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                resident += one.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        most = max(most, resident)
        if process.poll() is not None:
            done.set()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return most


def build_only(args: argparse.Namespace) -> None:
    run_build(args.work / "corpus", None, ["en"], 2, args.work / "build")


MODES = {"steps": steps, "whole": whole, "memory": memory, "build-only": build_only}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", default="whole", choices=sorted(MODES))
    parser.add_argument("--cache", type=Path, default=Path("runs/bench/debian"), help="packages, fetched and unpacked")
    parser.add_argument("--work", type=Path, default=Path("runs/bench/data"), help="the corpus and what is built of it")
    parser.add_argument("--peer-python", default="python", help="an interpreter with datatrove")
    parser.add_argument("--files", type=int, default=2, help="WARC files of 25 MB of HTML each")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000], help="MB of text")
    args = parser.parse_args()
    if args.mode != "build-only":
        build_corpus(args.cache, args.work)
    MODES[args.mode](args)


if __name__ == "__main__":
    main()
