"""Peak memory and speed of importing and exporting a model larger than what is to be in memory at once.

python benchmarks/streaming.py [--gigabytes 4]     needs some six times as much disk, in a temporary folder

Writes a Hugging Face checkpoint of Llama 2 7B's shape (bf16, sharded, fewer layers), then imports it with the stage's
own code and exports it in every format, each in a fresh process. Memory is anonymous memory (RssAnon, so not the pages
of mapped files, which the system drops when it needs room), sampled every 2 ms, beyond its level after the imports.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from arriero.artifacts import Artifact, Inputs, Machine, Manifest, StageContext, Store
from arriero.artifacts.files import write_atomic
from arriero.containers.lazy import LazyTensor
from arriero.model import ModelConfig
from arriero.model.checkpoint import weight_shapes
from arriero.model.exporting import export_gguf, export_huggingface, export_meta
from arriero.model.formats.huggingface import write_huggingface
from arriero.model.importing import STAGE, ImportConfig
from arriero.tokenizer.sentencepiece import BYTE, CONTROL, MODEL_FILE, NORMAL, UNKNOWN, build_model

VOCABULARY = 32_000
EXPORTS: dict[str, Callable[[Artifact, Path], None]] = {
    "hf": export_huggingface,
    "hf in bf16": partial(export_huggingface, dtype="bf16"),
    "gguf in f16": partial(export_gguf, kind="f16"),
    "gguf in q4_0": partial(export_gguf, kind="q4_0"),
    "meta in 2": partial(export_meta, parts=2),
}


def shape(gigabytes: float) -> ModelConfig:
    """Llama 2 7B with as many layers as fit; its embeddings are the largest tensor, 262 MB in bf16."""

    def config(n_layers: int) -> ModelConfig:
        return ModelConfig(dim=4096, n_layers=n_layers, n_heads=32, n_kv_heads=32, vocab_size=VOCABULARY, ffn_dim=11008)

    layer = config(2).n_parameters - config(1).n_parameters
    outer = config(1).n_parameters - layer
    return config(max(1, round((gigabytes * 1e9 / 2 - outer) / layer)))


def write_checkpoint(folder: Path, config: ModelConfig) -> None:
    """Random numbers, one block of them over and over; a vocabulary of made-up pieces."""
    block = torch.empty(1 << 20).normal_(0.0, 0.02).bfloat16()

    def read(wanted: tuple[int, ...]) -> torch.Tensor:
        count = torch.Size(wanted).numel()
        return block.repeat(-(-count // len(block)))[:count].view(wanted)

    weights = {
        name: LazyTensor(wanted, torch.bfloat16, partial(read, wanted))
        for name, wanted in weight_shapes(config).items()
    }
    write_huggingface(folder, config, weights, settings={}, dtype="bf16", shard_bytes=1_000_000_000)
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256]
    made_up = [f"w{number}" for number in range(VOCABULARY - len(pieces))]
    scores = [-float(number) for number in range(VOCABULARY)]
    write_atomic(folder / MODEL_FILE, build_model(pieces + made_up, scores, kinds + [NORMAL] * len(made_up)))


def anonymous() -> int:
    """Bytes of anonymous memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def measured(work: Callable[[], object]) -> tuple[int, float]:
    """(peak of anonymous memory beyond the present level, in bytes; seconds)."""
    level, peak, done = anonymous(), 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous())

    sampler = threading.Thread(target=sample)
    sampler.start()
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    done.set()
    sampler.join()
    return max(peak, anonymous()) - level, took


def step(name: str, root: Path) -> None:
    """One line: an import from `root/source` to `root/model`, or an export of that to `root/out`."""
    if name == "import":
        source, config = root / "source", ImportConfig(source=root / "source", chat_format="llama2")
        for folder in ("model", "scratch"):
            (root / folder).mkdir()
        context = StageContext(root / "model", root / "scratch", Machine())
        peak, took = measured(lambda: STAGE.run(config, Inputs({}), context))
    else:
        source = root / "model"
        artifact = Artifact("model", source, Manifest("model", STAGE.name, "model", {}, {}, "", {}, {}), Store(root))
        peak, took = measured(lambda: EXPORTS[name](artifact, root / "out"))
    size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    largest = VOCABULARY * 4096 * 2
    print(
        f"{name:12s} {size / 1e9:.2f} GB  peak {peak / 1e6:6.0f} MB = {peak / largest:.2f} x the largest tensor  "
        f"{size / took / 1e6:6.0f} MB/s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the checkpoint (default: 4)")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)  # a fresh process's: name, folder
    arguments = parser.parse_args()
    if arguments.step is not None:
        return step(arguments.step[0], Path(arguments.step[1]))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_checkpoint(root / "source", shape(arguments.gigabytes))
        for name in ("import", *EXPORTS):
            subprocess.run([sys.executable, __file__, "--step", name, folder], check=True)
            remove(root / "out")
    return None


def remove(path: Path) -> None:
    """A folder or a file, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
