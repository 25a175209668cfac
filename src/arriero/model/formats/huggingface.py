"""A Llama in a Hugging Face folder: config.json and safetensors, in one file or sharded.

Hugging Face rotates the halves of a head where we rotate interleaved pairs, so the rows of its query and key matrices
are in another order: row i of the first half and row i of the second are our rows 2i and 2i + 1.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arriero.artifacts.files import read_json, write_json
from arriero.containers import safetensors
from arriero.containers.lazy import LazyTensor
from arriero.errors import InputError
from arriero.model.config import ModelConfig
from arriero.model.formats.huggingface_config import CONFIG, huggingface_config, huggingface_description
from arriero.model.formats.names import NameTable
from arriero.model.formats.release import Release
from arriero.tokenizer import from_huggingface

NAMES = NameTable(
    "model.layers.",
    {
        "tok_embeddings.weight": "model.embed_tokens.weight",
        "norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    },
    {
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    },
)
GENERATION = "generation_config.json"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MOST_INDEX_BYTES = 4 << 20
_MOST_GENERATION_BYTES = 1 << 20
# Beyond so many bytes of tensors weights are split over several files; that of the Hub's own tools for years.
SHARD_BYTES = 5_000_000_000

WEIGHT_TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def open_huggingface(folder: Path) -> Release:
    """Raises InputError if a file is missing or damaged, or it is no Llama that is read here."""
    config = huggingface_config(folder)
    weights = huggingface_weights(folder, config)
    tokenizer, template = from_huggingface(folder)
    stop_ids = _stop_ids(folder / GENERATION, tokenizer.vocab_size)
    return Release(folder, config, weights, tokenizer, template, stop_ids)


def _stop_ids(path: Path, vocab_size: int) -> frozenset[int]:
    """What `eos_token_id` of generation_config.json names, one id or a list of them; none if there is no such file."""
    if not path.exists():
        return frozenset()
    found = read_json(path, most_bytes=_MOST_GENERATION_BYTES).get("eos_token_id")
    ids = found if isinstance(found, list) else [] if found is None else [found]
    for id in ids:
        if type(id) is not int or not 0 <= id < vocab_size:
            raise InputError(
                f"{path}: eos_token_id names {id!r:.40}, and the tokenizer's tokens are 0 to {vocab_size - 1}. Correct "
                "it, or fetch the model again."
            )
    return frozenset(ids)


def huggingface_weights(folder: Path, config: ModelConfig) -> dict[str, LazyTensor]:
    """All weights by our names and in our order. Raises InputError on a tensor without a counterpart."""
    weights: dict[str, LazyTensor] = {}
    for name, tensor in _tensors(folder).items():
        if name == "lm_head.weight" and config.tied_embeddings:
            continue
        if name.endswith(".rotary_emb.inv_freq"):
            continue  # follows from the config; transformers stored it until 2023 and skips it since
        ours = NAMES.ours(name)
        if ours is None:
            raise InputError(f"{folder} has a tensor {name!r}, which a plain Llama has no place for.")
        weights[ours] = tensor.then(partial(reordered, ours, config, ours=True))
    return weights


def _tensors(folder: Path) -> dict[str, LazyTensor]:
    """Every tensor of a folder by its own name: those of one file, or of the files that an index names."""
    if (folder / _WEIGHTS).exists():
        return safetensors.open_lazy(_inside(folder, _WEIGHTS))
    if not (folder / _INDEX).exists():
        if any(folder.glob("pytorch_model*.bin*")):
            raise InputError(
                f"{folder} holds its weights as pickles (pytorch_model.bin), which can run code when they are read and "
                "are not supported. Fetch the model as safetensors, or have transformers load and save it."
            )
        raise InputError(f"{folder} holds no weights: neither {_WEIGHTS} nor {_INDEX}. Fetch the model again.")
    names: dict[str, set[str]] = {}
    for name, file in read_json(folder / _INDEX, most_bytes=_MOST_INDEX_BYTES)["weight_map"].items():
        names.setdefault(file, set()).add(name)
    tensors: dict[str, LazyTensor] = {}
    for file, expected in sorted(names.items()):
        path = _inside(folder, file)
        found = safetensors.open_lazy(path)
        for name in sorted(expected ^ found.keys()):
            fault = "lacks" if name in expected else "holds, against the index,"
            raise InputError(f"{path} {fault} the tensor {name!r}. Fetch it and {_INDEX} again.")
        tensors |= found
    return tensors


def _inside(folder: Path, file: str) -> Path:
    """The path of a file of the folder. Raises InputError if it leads out of it.

    Hugging Face's download cache is let pass: there the files of `snapshots/<revision>` are links to `blobs`.
    """
    root = folder.resolve()
    roots = [root, *([root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [])]
    target = (folder / file).resolve()
    if Path(file).name != file or not any(target.is_relative_to(allowed) for allowed in roots):
        raise InputError(f"{folder} names a file outside itself: {file!r}. Put the model's files into one folder.")
    return folder / file


def reordered(our_name: str, config: ModelConfig, weight: Tensor, *, ours: bool) -> Tensor:
    """Query and key weights with their rows in our order (`ours`) or in Hugging Face's; others unchanged."""
    if not our_name.endswith(("wq.weight", "wk.weight")):
        return weight
    if weight.dim() != 2 or weight.shape[0] % config.head_dim:
        return weight  # a wrong shape: the loader names it
    half, columns = config.head_dim // 2, weight.shape[1]
    split = (2, half) if ours else (half, 2)
    return weight.reshape(-1, *split, columns).transpose(1, 2).reshape(weight.shape)


def write_huggingface(
    folder: Path,
    config: ModelConfig,
    weights: Mapping[str, LazyTensor],
    *,
    architecture: str = "LlamaForCausalLM",
    settings: Mapping[str, Any],
    others: Mapping[str, LazyTensor] | None = None,
    weight_type: str = "f32",
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes config.json and the weights as `transformers` loads them.

    `weights` are by our names; `others` go beside them under their own. `settings` are further fields of config.json;
    `weight_type` is one of WEIGHT_TYPES. Raises InputError if a value is too large for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dtype = WEIGHT_TYPES[weight_type]
    written: dict[str, LazyTensor] = {}
    for name, tensor in weights.items():
        theirs = NAMES.theirs(name)
        # Cast first: what is reordered is then the narrower copy.
        written[theirs] = _cast(theirs, tensor, dtype).then(partial(reordered, name, config, ours=False))
    written |= {name: _cast(name, tensor, dtype) for name, tensor in (others or {}).items()}
    _write_shards(folder, written, shard_bytes)
    description = huggingface_description(config, architecture, str(dtype).removeprefix("torch."))
    write_json(folder / CONFIG, description | dict(settings))


def _cast(name: str, tensor: LazyTensor, dtype: torch.dtype) -> LazyTensor:
    def finite(read: Tensor) -> Tensor:
        if read.numel() and not read.abs().amax().isfinite():
            raise InputError(f"Tensor {name!r} has values that float16 cannot hold. Export in bf16 or f32.")
        return read

    cast = tensor.to(dtype)
    return cast.then(finite) if dtype == torch.float16 != tensor.dtype else cast


def _write_shards(folder: Path, tensors: Mapping[str, LazyTensor], shard_bytes: int) -> None:
    """One file, or as many as keep each below `shard_bytes` (unless one tensor alone is larger), with an index."""
    shards: list[dict[str, LazyTensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if shards[-1] and filled + tensor.n_bytes > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += tensor.n_bytes
    if len(shards) == 1:
        safetensors.save(folder / _WEIGHTS, tensors, {"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        safetensors.save(folder / file, shard, {"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    total = sum(tensor.n_bytes for tensor in tensors.values())
    write_json(folder / _INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
