"""A Llama in a GGUF file (llama.cpp). Its queries and keys are in interleaved-pair order, as ours."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arriero.config import parse
from arriero.containers.gguf import GgufFile, read_gguf
from arriero.containers.lazy import LazyTensor
from arriero.errors import InputError
from arriero.model.config import ModelConfig
from arriero.model.formats.release import Release
from arriero.tokenizer import template_from_gguf, tokenizer_from_gguf

_OUTER = {
    "token_embd.weight": "tok_embeddings.weight",
    "output_norm.weight": "norm.weight",
    "output.weight": "output.weight",
}
_BLOCK = {
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_output": "attention.wo",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
    "attn_norm": "attention_norm",
    "ffn_norm": "ffn_norm",
}


def gguf_config(file: GgufFile) -> ModelConfig:
    """The config in the file's metadata. Raises InputError if it is no Llama or has a feature that ours lacks."""
    architecture = file.value("general.architecture", str)
    if architecture != "llama":
        raise InputError(f"{file.path} holds a model of architecture {architecture!r}; only 'llama' is read.")
    if file.metadata.get("llama.rope.scaling.type", "none") != "none" or "rope_freqs.weight" in file.tensors:
        raise InputError(f"{file.path} scales its rotary positions, which is not supported. Choose an unscaled model.")
    if file.metadata.get("llama.expert_count", 0):
        raise InputError(f"{file.path} is a mixture of experts, which is not supported. Choose a dense Llama.")
    heads = file.value("llama.attention.head_count", int)
    if "token_embd.weight" not in file.tensors:
        raise InputError(f"{file.path} has no tensor 'token_embd.weight': it holds a vocabulary but no model.")
    values = {
        "dim": file.value("llama.embedding_length", int),
        "n_layers": file.value("llama.block_count", int),
        "n_heads": heads,
        "n_kv_heads": file.metadata.get("llama.attention.head_count_kv", heads),
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "ffn_dim": file.value("llama.feed_forward_length", int),
        "norm_eps": _short(file.value("llama.attention.layer_norm_rms_epsilon", float)),
        "rope_theta": _short(file.metadata.get("llama.rope.freq_base", 10000.0)),
        "max_seq_len": file.value("llama.context_length", int),
        "tied_embeddings": "output.weight" not in file.tensors,
    }
    config = parse(ModelConfig, values, str(file.path))
    rotated = file.metadata.get("llama.rope.dimension_count", config.head_dim)
    if rotated != config.head_dim:
        raise InputError(f"{file.path} rotates only {rotated} of {config.head_dim} entries of a head: not supported.")
    return config


def _short(value: Any) -> float:
    """A float32 read as a double, as the shortest decimal that means it: 9.99999974e-06 is 1e-05."""
    return float(str(np.float32(value)))


def open_gguf(path: Path) -> Release:
    """Raises InputError if the file is damaged, or no Llama that is read here."""
    file = read_gguf(path)
    return Release(path, gguf_config(file), gguf_weights(file), tokenizer_from_gguf(file), template_from_gguf(file))


def gguf_weights(file: GgufFile) -> dict[str, LazyTensor]:
    """All weights by our names, dequantised to float32. Raises InputError on a tensor without a counterpart."""
    return {
        _our_name(file, name): LazyTensor(info.shape, torch.float32, partial(_read, file, name))
        for name, info in sorted(file.tensors.items())
    }


def _read(file: GgufFile, name: str) -> Tensor:
    return torch.from_numpy(file.tensor(name))


def _our_name(file: GgufFile, name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in _BLOCK and parts[3] == "weight":
        return f"layers.{parts[1]}.{_BLOCK[parts[2]]}.weight"
    raise InputError(f"{file.path} has a tensor {name!r}, which a plain Llama has no place for.")
