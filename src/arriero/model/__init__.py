"""The Llama decoder, its adapters, its files."""

from arriero.model.checkpoint import LoadedModel, load_model, load_weights, save_model
from arriero.model.config import LoraConfig, ModelConfig, ModelShape
from arriero.model.init import init_weights, new_model
from arriero.model.lora import adapters_off, add_lora, has_lora, lora_parameters, merge_lora
from arriero.model.one_model import OneModel
from arriero.model.presets import PRESETS
from arriero.model.scalar_head import ScalarHead
from arriero.model.transformer import Transformer

__all__ = [
    "PRESETS",
    "LoadedModel",
    "LoraConfig",
    "ModelConfig",
    "ModelShape",
    "OneModel",
    "ScalarHead",
    "Transformer",
    "adapters_off",
    "add_lora",
    "has_lora",
    "init_weights",
    "load_model",
    "load_weights",
    "lora_parameters",
    "merge_lora",
    "new_model",
    "save_model",
]
