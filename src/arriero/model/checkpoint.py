"""The model folder: `model.json`, weights or an adapter, and the tokenizer.

model.json            format version, the config, and for an adapter the id of its base and its shape
weights.safetensors   all weights, float32, in Meta's names; or
adapter.safetensors   A and B of every adapter, float32
tokenizer/            tokenizer and chat format

An adapter's base is named by artifact id. `load_model` walks the chain down to whole weights and merges it in float32.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from arriero.artifacts import Artifact, Machine
from arriero.artifacts.files import read_json, write_json
from arriero.config import resolved
from arriero.containers import safetensors
from arriero.errors import ArtifactError, InputError
from arriero.model.config import LoraConfig, ModelConfig
from arriero.model.lora import add_lora, lora_state, merge_lora
from arriero.model.transformer import Transformer
from arriero.tokenizer import ChatFormat, Tokenizer, load_chat_format, load_tokenizer

FORMAT = 1
DESCRIPTION, WEIGHTS, ADAPTER, TOKENIZER = "model.json", "weights.safetensors", "adapter.safetensors", "tokenizer"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to use, with what turns dialogues into its ids and back."""

    model: Transformer
    config: ModelConfig
    tokenizer: Tokenizer
    chat_format: ChatFormat


def save_model(folder: Path, model: Transformer, *, source: Path, base: Artifact | None) -> None:
    """Writes a model folder.

    `source` is a model folder or a tokenizer artifact's folder: its tokenizer and chat format are copied. A model with
    adapters is saved as its adapters and the id of `base`, which must hold exactly the frozen weights; a model
    without adapters is saved whole. The description is written last: without it the folder is no model.
    """
    lora = model.lora
    if lora is not None and base is None:
        raise ValueError("a model with adapters can be saved only with the artifact that is its base")
    folder.mkdir(parents=True, exist_ok=True)
    _copy_tokenizer(source, folder)
    if lora is None:
        safetensors.save(folder / WEIGHTS, {name: tensor.float() for name, tensor in model.state_dict().items()})
    else:
        safetensors.save(folder / ADAPTER, lora_state(model))
    description = {
        "format": FORMAT,
        "config": model.config.to_json(),
        "base": base.id if lora is not None and base is not None else None,
        "lora": resolved(lora) if lora is not None else None,
    }
    write_json(folder / DESCRIPTION, description)


def _copy_tokenizer(source: Path, folder: Path) -> None:
    origin = source / TOKENIZER if (source / TOKENIZER).is_dir() else source
    target = folder / TOKENIZER
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(origin.iterdir()):
        if file.is_file() and file.name != "manifest.json":
            shutil.copyfile(file, target / file.name)


def load_model(artifact: Artifact, machine: Machine, *, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """The model of an artifact of kind model, its adapters merged in float32, then cast, on `machine`'s device.

    Every weight is trainable. Raises ArtifactError if a file is missing or damaged, or does not fit the config.
    """
    model = load_weights(artifact)
    tokenizer = load_tokenizer(artifact.path / TOKENIZER)
    chat_format = load_chat_format(artifact.path / TOKENIZER, tokenizer)
    model = model.to(device=machine.device, dtype=dtype)
    return LoadedModel(model, model.config, tokenizer, chat_format)


def load_weights(artifact: Artifact) -> Transformer:
    """The artifact's model in float32 on the CPU, adapters merged. Raises ArtifactError as `load_model` does."""
    chain = [artifact]
    descriptions = [_description(artifact.path)]
    while (base := descriptions[-1]["base"]) is not None:
        chain.append(artifact.store.artifact(base))
        descriptions.append(_description(chain[-1].path))
    model = Transformer(_config(descriptions[-1]["config"], chain[-1].path))
    fill(model, safetensors.load(chain[-1].path / WEIGHTS), str(chain[-1].path / WEIGHTS))
    for link, description in reversed(list(zip(chain[:-1], descriptions[:-1], strict=True))):
        _merge_adapter(model, description["lora"], link.path / ADAPTER)
    return model


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        found = read_json(path)
    except InputError as error:
        raise ArtifactError(f"{folder} holds no readable model ({error}) Run the recipe that makes it again.") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or {"config", "base", "lora"} - found.keys():
        raise ArtifactError(f"{path} is not a model of format {FORMAT}. Make it again with this version of Arriero.")
    return found


def _config(values: Any, folder: Path) -> ModelConfig:
    try:
        return TypeAdapter(ModelConfig).validate_python(values)
    except ValidationError as error:
        raise ArtifactError(f"{folder / DESCRIPTION} has a wrong config: {error.errors()[0]['msg']}.") from None


def _merge_adapter(model: Transformer, lora: Any, path: Path) -> None:
    try:
        config = TypeAdapter(LoraConfig).validate_python(lora)
    except ValidationError as error:
        raise ArtifactError(f"{path.parent / DESCRIPTION} has wrong adapters: {error.errors()[0]['msg']}.") from None
    add_lora(model, config, seed=0)
    fill(model, safetensors.load(path), str(path), only=lora_state(model).keys())
    merge_lora(model)


def fill(model: nn.Module, weights: Mapping[str, Tensor], where: str, only: Any = None) -> None:
    """Puts `weights` into the module, without a copy, as float32.

    `only` restricts the names that must be given (default: all of the module's). Raises ArtifactError naming `where`
    and the first tensor that is missing, unknown, or of another shape.
    """
    expected = {name: tensor for name, tensor in model.state_dict().items() if only is None or name in only}
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            raise ArtifactError(f"{where} has no tensor {name!r}, which the model's config calls for.")
        if name not in expected:
            raise ArtifactError(f"{where} has a tensor {name!r} that the model's config has no place for.")
        if weights[name].shape != expected[name].shape:
            found, wanted = tuple(weights[name].shape), tuple(expected[name].shape)
            raise ArtifactError(f"{where}: tensor {name!r} has shape {found}, the model's config calls for {wanted}.")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=False, assign=True)
