"""Artifacts and contexts for running a stage alone, and a tiny model that speaks."""

import functools
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from arriero.artifacts import Artifact, Inputs, Machine, Manifest, StageContext, Store
from arriero.artifacts.files import write_json
from arriero.model import ModelConfig, Transformer, new_model, save_model
from arriero.model.checkpoint import fill, skeleton
from arriero.model.importing import open_release
from arriero.tokenizer import ChatFormat, Tokenizer, save_chat_format, save_tokenizer
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer
from arriero.tokenizer.train import train_sentencepiece

TINY = ModelConfig(dim=32, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=400, ffn_dim=64, max_seq_len=256)


def artifact(root: Path, id: str) -> Artifact:
    """An artifact without files that `Store(root)` finds by its id."""
    store = Store(root)
    path = store.objects / id
    path.mkdir(parents=True)
    manifest = Manifest(id, "test", "test", {}, {}, "", {}, {})
    write_json(path / "manifest.json", asdict(manifest))
    return Artifact(id, path, manifest, store)


@functools.cache
def _tokenizer() -> SentencePieceTokenizer:
    lines = [line for line in Path(json.__file__).read_text().split("\n") if line.strip()]
    return SentencePieceTokenizer(train_sentencepiece(lines, TINY.vocab_size))


def model_artifact(root: Path, id: str, seed: int = 0) -> Artifact:
    """A random two-layer Llama in Llama 2's chat format."""
    made = artifact(root, id)
    folder = root / f"tokenizer-of-{id}"
    save_tokenizer(_tokenizer(), folder)
    save_chat_format(ChatFormat("llama2", _tokenizer()), folder)
    save_model(made.path, new_model(TINY, seed), source=folder, base=None)
    return made


def read_model(path: Path) -> tuple[Transformer, Tokenizer]:
    """The model (float32) and the tokenizer of a file or folder of another project's."""
    release = open_release(path)
    model = skeleton(release.config)
    fill(model, {name: tensor.read() for name, tensor in release.weights.items()}, str(path))
    return model, release.tokenizer


def inputs(**given: Artifact | dict[str, Artifact]) -> Inputs:
    return Inputs({name: value if isinstance(value, dict) else {name: value} for name, value in given.items()})


def context(root: Path, stop_requested: Callable[[], bool] = lambda: False) -> StageContext:
    """A context whose folders lie in `root`, as a resumed stage finds them."""
    for name in ("out", "scratch"):
        (root / name).mkdir(parents=True, exist_ok=True)
    return StageContext(root / "out", root / "scratch", Machine(), stop_requested=stop_requested)


def stop_after(calls: int) -> Callable[[], bool]:
    """Asks to stop from the `calls`-th check on."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def digests(folder: Path) -> dict[str, bytes]:
    """Relative name -> bytes of every file."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
