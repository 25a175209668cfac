"""A model artifact in other projects' formats.

Each function takes `watch`, which is given the weights before they are read, and gives back what is to be written: the
same, watched for a progress bar, say.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from arriero.artifacts import Artifact
from arriero.artifacts.files import sync_folder, write_json
from arriero.containers.lazy import LazyTensor
from arriero.errors import InputError
from arriero.model.checkpoint import TOKENIZER, stored_adapters, stored_model
from arriero.model.formats.gguf import WEIGHT_TYPES, write_gguf_model
from arriero.model.formats.huggingface import GENERATION, SHARD_BYTES, write_huggingface
from arriero.model.formats.meta import write_meta
from arriero.model.formats.peft import write_peft
from arriero.tokenizer import export_huggingface_tokenizer, load_chat_format, load_tokenizer

Watch = Callable[[Mapping[str, LazyTensor]], Mapping[str, LazyTensor]]


def unwatched(weights: Mapping[str, LazyTensor]) -> Mapping[str, LazyTensor]:
    return weights


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """A folder to write in, which becomes `destination` when the block ends, and not if the block raises.

    What a killed try left behind is removed first. Raises InputError if the destination holds files already.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError(f"{destination} exists and is not an empty folder. Choose another destination.")
    whole = destination.resolve()
    whole.parent.mkdir(parents=True, exist_ok=True)
    partial = whole.with_name(f".{whole.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    try:
        yield partial
        os.replace(partial, whole)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(whole.parent)


def export_huggingface(
    artifact: Artifact,
    destination: Path,
    *,
    weight_type: str = "f32",
    shard_bytes: int = SHARD_BYTES,
    watch: Watch = unwatched,
) -> None:
    """Writes a model artifact as a Hugging Face folder, adapters merged: weights, config, tokenizer, chat template.

    `weight_type`: f32, bf16 or f16. The folder is there whole or not at all. Raises InputError if the destination holds
    files already, or if a weight is too large for the type.
    """
    config, weights = stored_model(artifact)
    tokenizer = load_tokenizer(artifact.path / TOKENIZER)
    chat_format = load_chat_format(artifact.path / TOKENIZER, tokenizer)
    with new_folder(destination) as folder:
        tokens = {"bos_token_id": tokenizer.bos_id, "eos_token_id": sorted(chat_format.stop_ids)}
        write_huggingface(
            folder, config, watch(weights), settings=tokens, weight_type=weight_type, shard_bytes=shard_bytes
        )
        write_json(folder / GENERATION, tokens)
        export_huggingface_tokenizer(chat_format, folder)


def export_peft(artifact: Artifact, destination: Path, *, base: str | None = None, watch: Watch = unwatched) -> None:
    """Writes the adapters of a model artifact as a folder that `peft` loads, with tokenizer and chat template.

    `base`: where the export of the artifact's base lies, for the adapter's config. The folder is there whole or not at
    all. Raises InputError if the artifact has no adapters, or if the destination holds files already.
    """
    found = stored_adapters(artifact)
    if found is None:
        raise InputError(
            f"{artifact.id} has no adapters: its weights were imported, or trained whole. Export it with --to hf."
        )
    lora, adapters = found
    config, _ = stored_model(artifact)  # which checks the adapters' shapes
    chat_format = load_chat_format(artifact.path / TOKENIZER, load_tokenizer(artifact.path / TOKENIZER))
    with new_folder(destination) as folder:
        write_peft(folder, config, lora, watch(adapters), base)
        export_huggingface_tokenizer(chat_format, folder)


def export_meta(artifact: Artifact, destination: Path, parts: int, *, watch: Watch = unwatched) -> None:
    """Writes a model artifact as a folder of Meta's form in `parts` parts, adapters merged.

    It is there whole or not at all. Raises InputError if the destination holds files already, or if Meta's code could
    not load the model so.
    """
    config, weights = stored_model(artifact)
    with new_folder(destination) as folder:
        write_meta(folder, config, watch(weights), load_tokenizer(artifact.path / TOKENIZER), parts)


def export_gguf(artifact: Artifact, destination: Path, weight_type: str, *, watch: Watch = unwatched) -> None:
    """Writes a model artifact as a GGUF file that llama.cpp runs, adapters merged: weights, tokenizer, chat template.

    `weight_type`: of the matrices, f32, f16, q8_0 or q4_0. The file is there whole or not at all. Raises InputError if
    it exists already, if there is no such type, or if llama.cpp lacks what the model needs.
    """
    if weight_type not in WEIGHT_TYPES:
        raise InputError(f"There is no type {weight_type!r} to write; choose one of {', '.join(WEIGHT_TYPES)}.")
    if destination.exists():
        raise InputError(f"{destination} exists already. Choose another destination.")
    config, weights = stored_model(artifact)
    tokenizer = load_tokenizer(artifact.path / TOKENIZER)
    chat_format = load_chat_format(artifact.path / TOKENIZER, tokenizer)
    write_gguf_model(destination, config, watch(weights), chat_format, weight_type=weight_type, name=artifact.id)
