"""Peak memory and speed of importing and exporting a model larger than what is to be in memory at once.

python benchmarks/streaming.py [--gigabytes 4]     needs some six times as much disk, in a temporary folder

Writes a Hugging Face checkpoint of Llama 2 7B's shape (bf16, sharded, fewer layers), then imports it with the stage's
own code, exports it in every format, and imports two of these again; exports adapters on it, too, merged. Each step is
a fresh process. Memory is anonymous memory (RssAnon, so not the pages of mapped files, which the system drops when it
needs room), sampled every 2 ms, beyond its level after the imports.

It is compared with the largest tensor as it lies in memory: the embeddings, in bf16, or in float32 where the step makes
that of them; where adapters are merged, which is done in float32, a matrix of the feed-forward. Ends with status 1 if a
step takes more than 3 times as much.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from arriero.artifacts import Artifact, Inputs, Machine, Manifest, StageContext, Store
from arriero.artifacts.files import write_atomic, write_json
from arriero.config import resolved
from arriero.containers import safetensors
from arriero.containers.lazy import LazyTensor
from arriero.model import LoraConfig, ModelConfig
from arriero.model.checkpoint import ADAPTER, DESCRIPTION, FORMAT, TOKENIZER
from arriero.model.config import weight_shapes
from arriero.model.exporting import export_gguf, export_huggingface, export_meta
from arriero.model.formats.huggingface import write_huggingface
from arriero.model.importing import STAGE, ImportConfig
from arriero.tokenizer.sentencepiece import BYTE, CONTROL, MODEL_FILE, NORMAL, UNKNOWN, build_model

VOCABULARY = 32_000
DIM, FFN_DIM = 4096, 11008
MOST = 3  # largest tensors
BF16, F32, MERGED = VOCABULARY * DIM * 2, VOCABULARY * DIM * 4, FFN_DIM * DIM * 4
BASE, ADAPTERS, AGAIN = "base", "adapters", "again"  # artifacts
# Export -> artifact, writer, bytes of the largest tensor in memory.
EXPORTS: dict[str, tuple[str, Callable[[Artifact, Path], None], int]] = {
    "hf": (BASE, export_huggingface, F32),
    "hf in bf16": (BASE, partial(export_huggingface, weight_type="bf16"), BF16),
    "gguf in f16": (BASE, partial(export_gguf, weight_type="f16"), BF16),
    "gguf in q4_0": (BASE, partial(export_gguf, weight_type="q4_0"), BF16),
    "meta in 2": (BASE, partial(export_meta, parts=2), BF16),
    "adapters to hf in bf16": (ADAPTERS, partial(export_huggingface, weight_type="bf16"), MERGED),
    "adapters to gguf in f16": (ADAPTERS, partial(export_gguf, weight_type="f16"), MERGED),
}
# Import of what an export has just written -> bytes of the largest tensor.
IMPORTS = {"gguf in q4_0": F32, "meta in 2": BF16}


def shape(gigabytes: float) -> ModelConfig:
    """Llama 2 7B with as many layers as fit; its embeddings are the largest tensor, 262 MB in bf16."""

    def config(n_layers: int) -> ModelConfig:
        return ModelConfig(
            dim=DIM, n_layers=n_layers, n_heads=32, n_kv_heads=32, vocab_size=VOCABULARY, ffn_dim=FFN_DIM
        )

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
    write_huggingface(folder, config, weights, settings={}, weight_type="bf16", shard_bytes=1_000_000_000)
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


def artifact(root: Path, id: str) -> Artifact:
    """A folder to write a model in, which the store at `root` finds by its id."""
    store = Store(root)
    path = store.objects / id
    path.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(id, STAGE.name, "model", {}, {}, "", {}, {})
    write_json(path / "manifest.json", asdict(manifest))
    return Artifact(id, path, manifest, store)


def write_adapters(root: Path, config: ModelConfig) -> None:
    """An artifact of adapters on the base."""
    base, made, lora = artifact(root, BASE), artifact(root, ADAPTERS), LoraConfig(rank=8)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in weight_shapes(config).items():
        layer = name.removesuffix(".weight")
        if layer.endswith(lora.targets):
            tensors |= {f"{layer}.lora_a": torch.ones(8, shape[1]), f"{layer}.lora_b": torch.ones(shape[0], 8)}
    safetensors.save(made.path / ADAPTER, tensors)
    shutil.copytree(base.path / TOKENIZER, made.path / TOKENIZER)
    description = {"format": FORMAT, "config": config.to_json(), "base": BASE, "lora": resolved(lora)}
    write_json(made.path / DESCRIPTION, description)


def run_import(root: Path, source: Path, id: str) -> None:
    (root / "scratch").mkdir(exist_ok=True)
    context = StageContext(artifact(root, id).path, root / "scratch", Machine())
    STAGE.run(ImportConfig(source=source, chat_format="llama2"), Inputs({}), context)


def step(name: str, root: Path) -> int:
    """One line about an import or an export. Returns 1 if it took more memory than it may."""
    out = root / "out"
    match name.partition(": "):
        case "import", _, "":
            work, source, largest = partial(run_import, root, root / "source", BASE), root / "source", BF16
        case "import", _, form:
            work, source, largest = partial(run_import, root, out, AGAIN), out, IMPORTS[form]
        case _, _, form:
            id, write, largest = EXPORTS[form]
            work, source = partial(write, Store(root).artifact(id), out), Store(root).objects / BASE
    size = sum(file.stat().st_size for file in ([source] if source.is_file() else source.iterdir()))
    peak, took = measured(work)
    print(
        f"{name:31s} {size / 1e9:.2f} GB  peak {peak / 1e6:6.0f} MB = {peak / largest:.2f} x the largest tensor of "
        f"{largest / 1e6:.0f} MB  {size / took / 1e6:6.0f} MB/s",
        flush=True,
    )
    return int(peak > MOST * largest)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the checkpoint (default: 4)")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)  # a fresh process's: name, folder
    arguments = parser.parse_args()
    if arguments.step is not None:
        return step(arguments.step[0], Path(arguments.step[1]))
    with tempfile.TemporaryDirectory() as folder:
        root, config = Path(folder), shape(arguments.gigabytes)

        def run(name: str) -> int:
            return subprocess.run([sys.executable, __file__, "--step", name, folder], check=False).returncode

        write_checkpoint(root / "source", config)
        failed = run("import")
        write_adapters(root, config)
        for form in EXPORTS:
            failed |= run(f"export: {form}")
            if form in IMPORTS:
                failed |= run(f"import: {form}")
                remove(root / "objects" / AGAIN)
            remove(root / "out")
    return int(failed != 0)


def remove(path: Path) -> None:
    """A folder or a file, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
