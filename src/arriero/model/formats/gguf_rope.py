"""Rotary scaling in a GGUF file: metadata for linear and YaRN, a tensor of divisors for Llama 3's.

llama.cpp divides the frequency of each pair by its entry of `rope_freqs.weight`, and knows nothing of the formula that
gave them; here it is found again. YaRN's `attn_factor` there is what multiplies 0.1 ln(factor) + 1.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arriero.config import parse
from arriero.containers.gguf import GgufFile
from arriero.errors import InputError
from arriero.model.config import ModelConfig, RopeScaling
from arriero.model.rope import rope_frequencies

ROPE_DIVISORS = "rope_freqs.weight"
_KEY = "llama.rope.scaling."
_TOLERANCE = 1e-5
# Contexts of pretraining that are tried, with Llama 3's other values, before the equations are solved. Its own first.
_CONTEXTS = (8192, *(1 << power for power in range(9, 19)))


def short(value: Any) -> float:
    """A float32 read as a double, as the shortest decimal that means it: 9.99999974e-06 is 1e-05."""
    return float(str(np.float32(value)))


def gguf_rope_scaling(file: GgufFile, config: ModelConfig) -> ModelConfig:
    """The config with the scaling that the file names. Raises InputError on one that ours lacks."""
    found = {key.removeprefix(_KEY): value for key, value in file.metadata.items() if key.startswith(_KEY)}
    kind = found.get("type", "linear")  # the defaults are llama.cpp's
    factor = short(found.get("factor", file.metadata.get("llama.rope.scale_linear", 1.0)))
    if kind == "linear" and factor in (0.0, 1.0):
        kind = "none"
    if ROPE_DIVISORS in file.tensors:
        if kind != "none":
            raise InputError(f"{file.path} scales its rotary positions twice, which is not supported.")
        return replace(config, rope_scaling=_from_divisors(file, config))
    if kind == "none":
        return config
    if kind not in ("linear", "yarn") or found.get("yarn_log_multiplier") or found.get("yarn_ext_factor", 1.0) != 1.0:
        raise InputError(
            f"{file.path} scales its rotary positions by {kind!r}, in a way that is not supported. Those read here are "
            f"linear, yarn and Llama 3's."
        )
    values: dict[str, Any] = {"kind": kind, "factor": factor}
    if kind == "yarn":
        values |= {
            "original_max_seq_len": found.get("original_context_length", config.max_seq_len),
            "beta_fast": short(found.get("yarn_beta_fast", 32.0)),
            "beta_slow": short(found.get("yarn_beta_slow", 1.0)),
        }
        if "attn_factor" in found:
            values["attention_factor"] = short(short(found["attn_factor"]) * _usual_attention_factor(factor))
    return replace(config, rope_scaling=parse(RopeScaling, values, f"{file.path}: {_KEY.removesuffix('.')}"))


def _usual_attention_factor(factor: float) -> float:
    return 0.1 * math.log(factor) + 1.0


def rope_entries(config: ModelConfig) -> dict[str, Any]:
    """The metadata of linear and YaRN scaling. Raises InputError if llama.cpp would turn by other angles."""
    scaling = config.rope_scaling
    if scaling is None or scaling.kind == "llama3":
        return {f"{_KEY}type": "none"}
    if scaling.kind == "linear":
        return {f"{_KEY}type": "linear", f"{_KEY}factor": scaling.factor}
    usual = RopeScaling(kind="yarn", factor=scaling.factor, original_max_seq_len=scaling.original_max_seq_len)
    if not torch.equal(rope_frequencies(config), rope_frequencies(replace(config, rope_scaling=usual))):
        raise InputError(
            "YaRN with a ramp of its own has no counterpart in GGUF: in a Llama, llama.cpp takes beta_fast = 32, "
            "beta_slow = 1 and rounds the ramp's ends. Export with `--to hf` instead."
        )
    entries = {
        f"{_KEY}type": "yarn",
        f"{_KEY}factor": scaling.factor,
        f"{_KEY}original_context_length": scaling.original_max_seq_len,
    }
    if scaling.attention_factor != usual.attention_factor:
        entries[f"{_KEY}attn_factor"] = scaling.attention_factor / usual.attention_factor
    return entries


def rope_divisors(config: ModelConfig) -> Tensor | None:
    """(head_dim / 2,) what llama.cpp divides each pair's frequency by; None where no tensor says it."""
    if config.rope_scaling is None or config.rope_scaling.kind != "llama3":
        return None
    return rope_frequencies(replace(config, rope_scaling=None)) / rope_frequencies(config)


def _from_divisors(file: GgufFile, config: ModelConfig) -> RopeScaling | None:
    """Llama 3's parameters that give the file's divisors. Raises InputError if none do."""
    divisors = file.tensor(ROPE_DIVISORS).read().float()
    if divisors.shape == (config.head_dim // 2,) and bool(torch.isfinite(divisors).all()):
        if torch.allclose(divisors, torch.ones_like(divisors), rtol=0, atol=_TOLERANCE):
            return None
        factor = max(1.0, short(divisors.max().item()))
        tried = [(context, 1.0, 4.0) for context in _CONTEXTS] + _solved(divisors.double(), config)
        for context, low, high in tried:
            scaling = RopeScaling(
                kind="llama3",
                factor=factor,
                original_max_seq_len=context,
                low_freq_factor=low,
                high_freq_factor=high,
            )
            mine = rope_divisors(replace(config, rope_scaling=scaling))
            assert mine is not None
            if torch.allclose(mine, divisors, rtol=_TOLERANCE, atol=0):
                return scaling
    raise InputError(
        f"{file.path}: {ROPE_DIVISORS} scales the rotary positions by factors that are not of Llama 3's formula, which "
        f"is not supported. Choose another model."
    )


def _solved(divisors: Tensor, config: ModelConfig) -> list[tuple[int, float, float]]:
    """(original context, low_freq_factor, high_freq_factor), one of which is free: all three may be multiplied.

    On the ramp 1 / divisor is kept + (1 - kept) / factor, and kept = (context f / 2 pi - low) / (high - low) is linear
    in the frequency f: two pairs there determine it. With low 1 if the context is a whole number then, or with 8192.
    """
    on_ramp = (divisors > 1 + _TOLERANCE) & (divisors < divisors.max() * (1 - _TOLERANCE))
    if int(on_ramp.sum()) < 2:
        return []
    frequencies = rope_frequencies(replace(config, rope_scaling=None)).double()[on_ramp]
    least = 1 / divisors.max()
    kept = (1 / divisors[on_ramp] - least) / (1 - least)
    slope, offset = np.polyfit(frequencies.numpy(), kept.numpy(), 1).tolist()
    if slope <= 0 or offset >= 0:
        return []
    context, high = -slope / offset * 2 * math.pi, 1 - 1 / offset
    if context < 1 or high < 1.01:
        return []
    multiple = _CONTEXTS[0] / context
    return [(round(context), 1.0, round(high, 4)), (_CONTEXTS[0], multiple, multiple * high)]
