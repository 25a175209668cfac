"""The model folder: `model.json`, weights or an adapter, and the tokenizer.

model.json            format version, the config, and for an adapter the id of its base and its shape
weights.safetensors   all weights in Meta's names: float32 where they were trained here, imported ones as they came; or
adapter.safetensors   A and B of every adapter, float32
tokenizer/            tokenizer and chat format

An adapter's base is named by artifact id. `stored_model` walks the chain down to whole weights; each is merged, in
float32, when it is read.
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
from arriero.containers.lazy import LazyTensor
from arriero.errors import ArtifactError, InputError
from arriero.model.config import LoraConfig, ModelConfig, weight_shapes
from arriero.model.linear import adapted
from arriero.model.lora import lora_state
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
    without adapters is saved whole.
    """
    lora = model.lora
    if lora is None:
        return save_weights(folder, model.config, stated(model), source=source)
    if base is None:
        raise ValueError("a model with adapters can be saved only with the artifact that is its base")
    _copy_tokenizer(source, folder)
    safetensors.save(folder / ADAPTER, lora_state(model))
    _describe(folder, model.config, base.id, lora)


def save_weights(folder: Path, config: ModelConfig, weights: Mapping[str, LazyTensor], *, source: Path) -> None:
    """Writes the folder of a whole model, one weight in memory at a time. `source` as in `save_model`."""
    _copy_tokenizer(source, folder)
    safetensors.save(folder / WEIGHTS, weights)
    _describe(folder, config, None, None)


def stated(model: Transformer) -> dict[str, LazyTensor]:
    """The weights of a model in memory, float32."""
    return {name: LazyTensor.of(tensor).to(torch.float32) for name, tensor in model.state_dict().items()}


def _describe(folder: Path, config: ModelConfig, base: str | None, lora: LoraConfig | None) -> None:
    """The description is written last: without it the folder is no model."""
    adapters = None if lora is None else resolved(lora)
    description = {"format": FORMAT, "config": config.to_json(), "base": base, "lora": adapters}
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
    config, weights = stored_model(artifact)
    model = skeleton(config)
    fill(model, {name: tensor.read() for name, tensor in weights.items()}, str(artifact.path))
    return model


def skeleton(config: ModelConfig) -> Transformer:
    """A model without memory for its weights, to be filled, or to be asked for their shapes."""
    with torch.device("meta"):
        return Transformer(config)


def stored_model(artifact: Artifact) -> tuple[ModelConfig, dict[str, LazyTensor]]:
    """The config and the unread weights of an artifact of kind model, adapters merged in float32 as they are read.

    Raises ArtifactError if a file is missing or damaged, or does not fit the config.
    """
    description = _description(artifact.path)
    if description["base"] is None:
        config = _config(description["config"], artifact.path)
        path = artifact.path / WEIGHTS
        weights = safetensors.open_stored(path)
        check_shapes(weight_shapes(config), weights, str(path))
        return config, weights
    config, weights = stored_model(artifact.store.artifact(description["base"]))
    lora, adapters = _adapters(description["lora"], artifact.path)
    return config, _adapted(weights, lora, adapters, str(artifact.path / ADAPTER))


def stored_adapters(artifact: Artifact) -> tuple[LoraConfig, dict[str, LazyTensor]] | None:
    """The unread A and B of an artifact of kind model by their names; None if it is stored whole.

    Raises ArtifactError if a file is missing or damaged.
    """
    description = _description(artifact.path)
    return None if description["base"] is None else _adapters(description["lora"], artifact.path)


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


def _adapters(values: Any, folder: Path) -> tuple[LoraConfig, dict[str, LazyTensor]]:
    try:
        lora = TypeAdapter(LoraConfig).validate_python(values)
    except ValidationError as error:
        raise ArtifactError(f"{folder / DESCRIPTION} has wrong adapters: {error.errors()[0]['msg']}.") from None
    return lora, safetensors.open_stored(folder / ADAPTER)


def _adapted(
    weights: dict[str, LazyTensor], config: LoraConfig, stored: Mapping[str, LazyTensor], where: str
) -> dict[str, LazyTensor]:
    """The weights with an adapter file's A and B merged in."""
    targets = tuple(f".{target}.weight" for target in config.targets)
    merged = dict(weights)
    expected: dict[str, tuple[int, ...]] = {}
    for name, weight in weights.items():
        if name.endswith(targets):
            a, b = (name.removesuffix("weight") + which for which in ("lora_a", "lora_b"))
            expected |= {a: (config.rank, weight.shape[1]), b: (weight.shape[0], config.rank)}
            if a in stored and b in stored:
                merged[name] = _merged(weight, stored[a], stored[b], config.alpha / config.rank)
    check_shapes(expected, stored, where)
    return merged


def _merged(weight: LazyTensor, lora_a: LazyTensor, lora_b: LazyTensor, scale: float) -> LazyTensor:
    def merge(read: Tensor) -> Tensor:
        return adapted(read, lora_a.read(), lora_b.read(), scale)

    return weight.then(merge, dtype=torch.float32)


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def check_shapes(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, Tensor | LazyTensor], where: str) -> None:
    """Raises ArtifactError naming `where` and the first tensor that is missing, unknown, or of another shape."""
    for name in sorted(expected.keys() | given.keys()):
        if name not in given:
            raise ArtifactError(f"{where} has no tensor {name!r}, which the model's config calls for.")
        if name not in expected:
            raise ArtifactError(f"{where} has a tensor {name!r} that the model's config has no place for.")
        if tuple(given[name].shape) != expected[name]:
            found = tuple(given[name].shape)
            raise ArtifactError(
                f"{where}: tensor {name!r} has shape {found}, the model's config calls for {expected[name]}."
            )


def fill(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Puts `weights` into the module, without a copy, as float32. Raises ArtifactError as `check_shapes` does."""
    check_shapes(shapes_of(module), weights, where)
    module.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
