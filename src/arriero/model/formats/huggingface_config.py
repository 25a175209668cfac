"""Hugging Face's config.json of a Llama, and of a Mistral with full attention, to and from ours.

transformers 4 keeps rotary positions in `rope_theta` and `rope_scaling`, transformers 5 in `rope_parameters`. Both
forms are read as transformers 5.23 reads them (modeling_rope_utils.py), and both are written.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_json
from arriero.config import parse
from arriero.errors import InputError
from arriero.model.config import ModelConfig, RopeScaling

CONFIG = "config.json"
_MOST_BYTES = 1 << 20
# Fields that must have one of these values, if they are there.
_REQUIRED = {
    "model_type": ("llama", "mistral"),
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "partial_rotary_factor": (1, None),
    "quantization_config": (None,),
}
_MISTRAL_WINDOW = 4096  # what transformers takes where a Mistral's config has no `sliding_window`
_MISTRAL_KV_HEADS = 8  # or no `num_key_value_heads`


def huggingface_config(folder: Path) -> ModelConfig:
    """The config of a folder. Raises InputError if it is no Llama or has a feature that ours lacks."""
    path = folder / CONFIG
    found = read_json(path, most_bytes=_MOST_BYTES)
    try:
        _check_features(path, found)
        values = {
            "dim": found["hidden_size"],
            "n_layers": found["num_hidden_layers"],
            "n_heads": found["num_attention_heads"],
            "n_kv_heads": found.get("num_key_value_heads", _kv_heads(found)) or found["num_attention_heads"],
            "vocab_size": found["vocab_size"],
            "ffn_dim": found["intermediate_size"],
            "norm_eps": found["rms_norm_eps"],
            "max_seq_len": found["max_position_embeddings"],
            "tied_embeddings": found.get("tie_word_embeddings", False),
            **_rope(path, found),
        }
    except KeyError as error:
        raise InputError(f"{path} has no field {error}, which a Llama's config needs.") from None
    if found.get("head_dim") is not None:
        values["head_dim"] = found["head_dim"]
    return parse(ModelConfig, values, str(path))


def _kv_heads(found: Mapping[str, Any]) -> int | None:
    """What transformers takes where a config has no `num_key_value_heads`; None: as many as query heads."""
    return _MISTRAL_KV_HEADS if found.get("model_type") == "mistral" else None


def _check_features(path: Path, found: Mapping[str, Any]) -> None:
    for key, allowed in _REQUIRED.items():
        if found.get(key, allowed[0]) not in allowed:
            raise InputError(f"{path}: {key} is {found[key]!r}; only {allowed[0]!r} is read. Choose another model.")
    if found.get("model_type") != "mistral":
        return
    window = found.get("sliding_window", _MISTRAL_WINDOW)
    if window is not None and window < found["max_position_embeddings"]:
        raise InputError(
            f"{path}: attention slides over {window} tokens, and only full attention is supported. Choose a model "
            f"whose sliding_window is null, or set max_position_embeddings to {window}: up to there both are the same."
        )
    if set(found.get("layer_types") or ()) - {"full_attention"}:
        raise InputError(f"{path}: layer_types names layers without full attention, which are not supported.")


def _rope(path: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`, from either form."""
    rope = found.get("rope_scaling") or found.get("rope_parameters") or {}
    if any(isinstance(value, dict) for value in rope.values()):
        raise InputError(f"{path}: the rotary positions differ from layer to layer, which is not supported.")
    if rope.get("partial_rotary_factor", 1) != 1:
        raise InputError(
            f"{path}: only a part of each head is rotated (partial_rotary_factor), which is not supported."
        )
    theta = rope.get("rope_theta", found.get("rope_theta", 10000.0))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return {"rope_theta": theta}
    if kind not in ("linear", "llama3", "yarn"):
        raise InputError(
            f"{path}: rope_type is {kind!r}; rotary positions are read as default, linear, llama3 and yarn. Choose "
            "another model."
        )
    scaling = {"kind": kind, "factor": rope["factor"]}
    if kind != "linear":
        longest = found["max_position_embeddings"]
        original = found.get("original_max_position_embeddings") or rope.get("original_max_position_embeddings")
        scaling["original_max_seq_len"] = original or longest
    if kind == "llama3":
        scaling |= {key: rope[key] for key in ("low_freq_factor", "high_freq_factor")}
    if kind == "yarn":
        if scaling["factor"] is None:
            scaling["factor"] = longest / scaling["original_max_seq_len"]
        scaling |= {
            "beta_fast": rope.get("beta_fast") or 32,
            "beta_slow": rope.get("beta_slow") or 1,
            "attention_factor": _attention_factor(rope, scaling["factor"]),
            "truncate": rope.get("truncate", True),
        }
    return {"rope_theta": theta, "rope_scaling": scaling}


def _attention_factor(rope: Mapping[str, Any], factor: float) -> float:
    """YaRN's; DeepSeek's configs give it as the quotient of two."""
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])

    def from_scale(mscale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0

    over, under = rope.get("mscale"), rope.get("mscale_all_dim")
    return from_scale(over) / from_scale(under) if over and under else from_scale(1.0)


def huggingface_description(config: ModelConfig, architecture: str, dtype: str) -> dict[str, Any]:
    """config.json of a model. `dtype` is torch's name of the weights' type."""
    rope = {"rope_type": "default"} if config.rope_scaling is None else _described(config.rope_scaling)
    return {
        "architectures": [architecture],
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
        "rope_scaling": None if config.rope_scaling is None else rope,
        "rope_parameters": rope | {"rope_theta": config.rope_theta},
        "max_position_embeddings": config.max_seq_len,
        "tie_word_embeddings": config.tied_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": dtype,
        "dtype": dtype,
    }


def _described(scaling: RopeScaling) -> dict[str, Any]:
    described: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind != "linear":
        described["original_max_position_embeddings"] = scaling.original_max_seq_len
    if scaling.kind == "llama3":
        keys: tuple[str, ...] = ("low_freq_factor", "high_freq_factor")
    else:
        keys = ("beta_fast", "beta_slow", "attention_factor", "truncate") if scaling.kind == "yarn" else ()
    return described | {key: getattr(scaling, key) for key in keys}
