"""Low-rank adapters (LoRA, arXiv:2106.09685): the base is frozen, A and B are trained in float32.

With the adapters off the model is exactly its base, so one set of weights is both the policy and the reference.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from arriero.errors import ConfigError
from arriero.model.config import LORA_TARGETS, LoraConfig
from arriero.model.linear import Linear, LoraLinear
from arriero.model.transformer import Transformer


def _lora_layers(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


def add_lora(model: Transformer, lora: LoraConfig, seed: int) -> Transformer:
    """Freezes every weight of `model` and puts adapters on its target layers, in place; returns the model.

    A is drawn from normal(0, 1 / in), B is zero, so the output is unchanged at first. Raises ConfigError if the model
    has adapters already (merge them first) or if no layer is targeted.
    """
    if has_lora(model):
        raise ConfigError("The model has adapters already; merge them before adding others.")
    if not lora.targets:
        raise ConfigError("lora.targets is empty; name at least one of " + ", ".join(LORA_TARGETS) + ".")
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for block in model.layers:
        for part in (block.attention, block.feed_forward):
            for target in LORA_TARGETS:
                base = getattr(part, target, None)
                if target not in lora.targets or not isinstance(base, Linear):
                    continue
                outputs, inputs = base.weight.shape
                lora_a = torch.empty(lora.rank, inputs).normal_(0.0, inputs**-0.5, generator=generator)
                lora_b = torch.zeros(outputs, lora.rank)
                device = base.weight.device
                setattr(part, target, LoraLinear(base, lora_a.to(device), lora_b.to(device), lora.alpha / lora.rank))
    model.lora = lora
    return model


def has_lora(model: Transformer) -> bool:
    return model.lora is not None


def lora_parameters(model: Transformer) -> list[nn.Parameter]:
    """The trainable A and B of every adapter, in a fixed order."""
    return [parameter for _, layer in _lora_layers(model) for parameter in (layer.lora_a, layer.lora_b)]


def lora_state(model: Transformer) -> dict[str, torch.Tensor]:
    """Name -> tensor of every adapter, as an adapter file holds them."""
    return {
        f"{name}.{which}": getattr(layer, which).detach()
        for name, layer in _lora_layers(model)
        for which in ("lora_a", "lora_b")
    }


@contextmanager
def adapters_off(model: Transformer) -> Iterator[None]:
    """Inside, the model is exactly its base."""
    layers = [layer for _, layer in _lora_layers(model)]
    before = [layer.enabled for layer in layers]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer, enabled in zip(layers, before, strict=True):
            layer.enabled = enabled


def merge_lora(model: Transformer) -> Transformer:
    """Adds every adapter into its base weight (in float32) and removes it, in place; returns the model.

    All weights are trainable afterwards.
    """
    for name, layer in list(_lora_layers(model)):
        plain = Linear(0, 0)
        plain.weight = nn.Parameter(layer.merged())
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, plain)
    model.lora = None
    return model.requires_grad_(True)
