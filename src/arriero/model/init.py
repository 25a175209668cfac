"""Seeded initial weights. The paper does not state its scheme; this is GPT-2's, as most open Llamas use it."""

import math

import torch

from arriero.model.config import ModelConfig
from arriero.model.transformer import Transformer

STD = 0.02


def init_weights(model: Transformer, seed: int) -> Transformer:
    """Fills the matrices from normal(0, 0.02), norms with one; returns the model.

    The two matrices of a block that write to the residual stream (`wo`, `w2`) get 0.02 / sqrt(2 * n_layers), so that
    the stream's variance at the start does not grow with depth (GPT-2, section 2.3).
    """
    generator = torch.Generator().manual_seed(seed)
    residual_std = STD / math.sqrt(2 * model.config.n_layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0)
                continue
            std = residual_std if name.endswith(("wo.weight", "w2.weight")) else STD
            drawn = torch.empty(parameter.shape).normal_(0.0, std, generator=generator)
            parameter.copy_(drawn)
    return model


def new_model(config: ModelConfig, seed: int) -> Transformer:
    """A model with seeded initial weights, float32 on the CPU."""
    return init_weights(Transformer(config), seed)
