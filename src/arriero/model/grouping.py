"""Stage model.group_heads: a trained model with fewer key and value heads, to be trained on a little afterwards.

Source: "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints" (arXiv:2305.13245),
section 2.1: the key and value heads of a group are mean-pooled into one. Its section 3.3 finds the mean best, then
the first head of each group, then newly drawn ones. Queries keep their heads and their order: attention lets
neighbouring query heads share a key/value head, so the heads that are pooled are neighbours, too.
Shapes: K key/value heads before, k after, G = K / k in a group, D width of a head, M = dim.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.config import config, setting
from arriero.containers.lazy import LazyTensor
from arriero.errors import ConfigError
from arriero.model.checkpoint import save_weights, stored_model
from arriero.model.config import ModelConfig
from arriero.model.init import STD

Pooling = Literal["mean", "first", "random"]


@config
class GroupHeadsConfig:
    """How many key and value heads the new model has, and what becomes of those it had."""

    n_kv_heads: int = setting(..., "key and value heads of the new model; must divide the old one's", ge=1)
    pooling: Pooling = setting("mean", "what a group's head is: their mean, the first of them, or newly drawn")
    seed: int = setting(1, "of newly drawn heads", ge=0)


def group_heads(
    config: ModelConfig, weights: Mapping[str, LazyTensor], n_kv_heads: int, pooling: Pooling = "mean", seed: int = 1
) -> tuple[ModelConfig, dict[str, LazyTensor]]:
    """The config and weights of the model with `n_kv_heads`; all but `wk` and `wv` are the given ones.

    Raises ConfigError unless `n_kv_heads` divides the number of key and value heads that there are.
    """
    if config.n_kv_heads % n_kv_heads:
        raise ConfigError(
            f"n_kv_heads is {n_kv_heads}, but the model's {config.n_kv_heads} key and value heads must fall into "
            f"groups of one size: choose a divisor of {config.n_kv_heads}."
        )
    shape = (n_kv_heads * config.head_dim, config.dim)
    grouped = dict(weights)
    for name, weight in weights.items():
        if name.endswith((".wk.weight", ".wv.weight")):
            if pooling == "random":
                grouped[name] = LazyTensor(shape, weight.dtype, partial(_drawn, shape, weight.dtype, f"{seed} {name}"))
            else:
                grouped[name] = weight.then(partial(_pooled, shape, config.head_dim, pooling), shape=shape)
    return replace(config, n_kv_heads=n_kv_heads), grouped


def _pooled(shape: tuple[int, int], head_dim: int, pooling: Pooling, weight: Tensor) -> Tensor:
    """(k D, M) of (K D, M), in its dtype; the mean is taken in float32."""
    groups_kGDM = weight.reshape(shape[0] // head_dim, -1, head_dim, shape[1])
    heads_kDM = groups_kGDM[:, 0] if pooling == "first" else groups_kGDM.float().mean(1).to(weight.dtype)
    return heads_kDM.reshape(shape)


def _drawn(shape: tuple[int, int], dtype: torch.dtype, key: str) -> Tensor:
    """Initial weights, as a new model has them, that depend on the key alone."""
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") >> 1
    return torch.empty(shape).normal_(0.0, STD, generator=torch.Generator().manual_seed(seed)).to(dtype)


def run(cfg: GroupHeadsConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes the model folder. Metrics: key and value heads before and after, and parameters."""
    base = inputs.one("base")
    config, weights = stored_model(base)
    if cfg.n_kv_heads == config.n_kv_heads:
        raise ConfigError(f"The model has {config.n_kv_heads} key and value heads already: choose fewer.")
    grouped, pooled = group_heads(config, weights, cfg.n_kv_heads, cfg.pooling, cfg.seed)
    save_weights(context.out, grouped, pooled, source=base.path)
    return {
        "kv_heads_before": config.n_kv_heads,
        "kv_heads": grouped.n_kv_heads,
        "parameters": grouped.n_parameters,
    }


STAGE = Stage(
    name="model.group_heads",
    config=GroupHeadsConfig,
    inputs=(Input("base", kind="model"),),
    output="model",
    run=run,
)
