"""Tokens read per second in training's random order, ours against plain numpy, in one process, as ratios.

python benchmarks/reader.py [--gigabytes 1] [--files 16] [--rounds 5]
The peer is what small trainers do (nanoGPT's `get_batch`, with the shuffled index of windows that Megatron keeps): one
memory-mapped file, a permutation of all windows in memory, a stack of slices made int64. Ours reads several files, two
sources of which one is read 2.5 times in a pass, and computes its order. One thread; the clock is the process's CPU
time; rounds alternate between the sides; all files are in the page cache. What opening costs is shown apart.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arriero.artifacts.files import write_json
from arriero.data.reader import SHARDS_FILE, ShardFile, ShardReader, tokens_file
from arriero.data.shards import layout

SHAPES = [(4096, 4), (4096, 256), (1024, 64), (256, 32), (256, 1024)]  # (T, B)


def write(folder: Path, gigabytes: float, count: int) -> Path:
    """Random tokens as shards of `count` files, and as one file of the same, which is returned."""
    size = int(gigabytes * 1e9 / 2 / count)
    files = []
    whole = folder / "all.bin"
    with whole.open("wb") as joined:
        for number in range(count):
            tokens = np.random.default_rng(number).integers(0, 32_000, size, dtype=np.uint16)
            tokens.tofile(folder / tokens_file(number))
            joined.write(tokens.data)
            source = "facts" if number < count // 4 else "pages"
            files.append(ShardFile(number, source, 1, size, hashlib.sha256(tokens.data).hexdigest(), ""))
    sources = [{"name": name, "kind": "text", "epochs": epochs} for name, epochs in (("facts", 2.5), ("pages", 1.0))]
    write_json(folder / SHARDS_FILE, {"dtype": "uint16", "tokenizer": "", **layout(files, sources)})
    return whole


def numpy_reader(path: Path, length: int) -> Callable[[int, int], NDArray[np.int64]]:
    data = np.memmap(path, np.uint16, "r")
    index = np.random.default_rng(1).permutation((len(data) - 1) // length) * length

    def batch(step: int, batch_size: int) -> NDArray[np.int64]:
        rows = index[step * batch_size : (step + 1) * batch_size]
        return np.stack([data[start : start + length + 1].astype(np.int64) for start in rows])

    return batch


def seconds(batch: Callable[[int, int], object], steps: range, batch_size: int) -> float:
    began = time.process_time()
    for step in steps:
        batch(step, batch_size)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole = write(Path(folder), options.gigabytes, options.files)
        for length, size in SHAPES:
            began = time.perf_counter()
            ours = ShardReader(Path(folder), length, seed=1)
            opened = time.perf_counter()
            ours.batch(0, ours.windows // 50)  # all files, so that their checksums are compared
            checked = time.perf_counter()
            theirs = numpy_reader(whole, length)
            indexed = time.perf_counter()
            steps = min(ours.windows // 2, 20_000_000 // length) // size
            best = {"arriero": float("inf"), "numpy": float("inf")}
            for number in range(options.rounds):
                for name, batch in (("arriero", ours.batch), ("numpy", theirs)):
                    first = number * steps // options.rounds
                    taken = seconds(batch, range(first, first + steps // 2), size)
                    best[name] = min(best[name], taken)
            rates = {name: steps // 2 * size * length / taken / 1e6 for name, taken in best.items()}
            print(
                f"T {length}, B {size}: arriero {rates['arriero']:.0f}, numpy {rates['numpy']:.0f} million tokens/s: "
                f"{rates['arriero'] / rates['numpy']:.2f} times its speed; opening {1e3 * (opened - began):.1f} ms, "
                f"checksums {checked - opened:.2f} s; numpy's index {indexed - checked:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
