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
from arriero.config import parse
from arriero.containers import safetensors
from arriero.containers.lazy import LazyTensor
from arriero.errors import InputError
from arriero.model.config import ModelConfig
from arriero.model.formats.release import Release
from arriero.tokenizer import template_from_huggingface, tokenizer_from_huggingface

_OUTER = {
    "model.embed_tokens.weight": "tok_embeddings.weight",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "output.weight",
}
_BLOCK = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}
_INDEX = "model.safetensors.index.json"
# Fields of config.json that must have these values, if they are there.
_REQUIRED = {
    "model_type": ("llama",),
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "rope_scaling": (None,),
}


def huggingface_config(folder: Path) -> ModelConfig:
    """The config of a folder. Raises InputError if it is no Llama or has a feature that ours lacks."""
    path = folder / "config.json"
    found = read_json(path)
    for key, allowed in _REQUIRED.items():
        if found.get(key, allowed[0]) not in allowed:
            raise InputError(f"{path}: {key} is {found[key]!r}; only {allowed[0]!r} is read. Choose another model.")
    rope = found.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise InputError(f"{path}: rope_type is {rope['rope_type']!r}; only unscaled rotary positions are supported.")
    try:
        values = {
            "dim": found["hidden_size"],
            "n_layers": found["num_hidden_layers"],
            "n_heads": found["num_attention_heads"],
            "n_kv_heads": found.get("num_key_value_heads") or found["num_attention_heads"],
            "vocab_size": found["vocab_size"],
            "ffn_dim": found["intermediate_size"],
            "norm_eps": found["rms_norm_eps"],
            "rope_theta": rope.get("rope_theta", found.get("rope_theta", 10000.0)),
            "max_seq_len": found["max_position_embeddings"],
            "tied_embeddings": found.get("tie_word_embeddings", False),
        }
    except KeyError as error:
        raise InputError(f"{path} has no field {error}, which a Llama's config needs.") from None
    if found.get("head_dim") is not None:
        values["head_dim"] = found["head_dim"]
    return parse(ModelConfig, values, str(path))


def open_huggingface(folder: Path) -> Release:
    """Raises InputError if a file is missing or damaged, or it is no Llama that is read here."""
    config = huggingface_config(folder)
    return Release(
        folder,
        config,
        huggingface_weights(folder, config),
        tokenizer_from_huggingface(folder),
        template_from_huggingface(folder),
    )


def huggingface_weights(folder: Path, config: ModelConfig) -> dict[str, LazyTensor]:
    """All weights by our names and in our order. Raises InputError on a tensor without a counterpart."""
    if (folder / _INDEX).is_file():
        files = sorted(set(read_json(folder / _INDEX)["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    weights: dict[str, LazyTensor] = {}
    for file in files:
        if Path(file).name != file:
            raise InputError(f"{folder / _INDEX} names a file outside its folder: {file!r}.")
        for name, tensor in safetensors.open_lazy(folder / file).items():
            if name == "lm_head.weight" and config.tied_embeddings:
                continue
            ours = _our_name(folder, name)
            weights[ours] = tensor.then(partial(_reordered, ours, config, ours=True))
    return weights


def _our_name(folder: Path, name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    parts = name.removesuffix(".weight").split(".")
    if name.startswith("model.layers.") and ".".join(parts[3:]) in _BLOCK:
        return f"layers.{parts[2]}.{_BLOCK['.'.join(parts[3:])]}.weight"
    raise InputError(f"{folder} has a tensor {name!r}, which a plain Llama has no place for.")


def _their_name(name: str) -> str:
    for theirs, ours in _OUTER.items():
        if name == ours:
            return theirs
    _, layer, rest = name.removesuffix(".weight").split(".", 2)
    theirs = next(theirs for theirs, ours in _BLOCK.items() if ours == rest)
    return f"model.layers.{layer}.{theirs}.weight"


def _reordered(our_name: str, config: ModelConfig, weight: Tensor, *, ours: bool) -> Tensor:
    """Query and key weights with their rows in our order (`ours`) or in Hugging Face's; others unchanged."""
    if not our_name.endswith(("wq.weight", "wk.weight")):
        return weight
    if weight.dim() != 2 or weight.shape[0] % config.head_dim:
        return weight  # a wrong shape: the loader names it
    half, columns = config.head_dim // 2, weight.shape[1]
    split = (2, half) if ours else (half, 2)
    return weight.reshape(-1, *split, columns).transpose(1, 2).reshape(weight.shape)


def write_huggingface(
    folder: Path, config: ModelConfig, weights: Mapping[str, LazyTensor], *, bos_id: int | None, eos_ids: list[int]
) -> None:
    """Writes config.json, generation_config.json and model.safetensors (float32), which `transformers` loads."""
    folder.mkdir(parents=True, exist_ok=True)
    theirs = {
        _their_name(name): tensor.to(torch.float32).then(partial(_reordered, name, config, ours=False))
        for name, tensor in weights.items()
    }
    safetensors.save(folder / "model.safetensors", theirs, {"format": "pt"})
    tokens: dict[str, Any] = {"bos_token_id": bos_id, "eos_token_id": eos_ids}
    description = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "intermediate_size": config.ffn_dim,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "max_position_embeddings": config.max_seq_len,
        "tie_word_embeddings": config.tied_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "float32",
        **tokens,
    }
    write_json(folder / "config.json", description)
    write_json(folder / "generation_config.json", tokens)
