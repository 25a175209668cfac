"""LoRA adapters in PEFT's format: adapter_config.json and adapter_model.safetensors.

PEFT puts adapters on Hugging Face's modules, so the rows of a query's or key's B are in Hugging Face's order.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from arriero.artifacts.files import write_json
from arriero.containers import safetensors
from arriero.containers.lazy import LazyTensor
from arriero.model.config import LoraConfig, ModelConfig
from arriero.model.formats.huggingface import NAMES, reordered


def write_peft(
    folder: Path, config: ModelConfig, lora: LoraConfig, adapters: Mapping[str, LazyTensor], base: str | None
) -> None:
    """`adapters` by our names (`layers.0.attention.wq.lora_a`). `base`: the Hugging Face folder of the base model."""
    tensors: dict[str, LazyTensor] = {}
    modules: set[str] = set()
    for name, tensor in adapters.items():
        layer, _, which = name.rpartition(".")
        module = NAMES.theirs(f"{layer}.weight").removesuffix(".weight")
        modules.add(module.rpartition(".")[2])
        theirs = f"base_model.model.{module}.{which.replace('_a', '_A').replace('_b', '_B')}.weight"
        change = partial(reordered, f"{layer}.weight", config, ours=False)
        tensors[theirs] = (tensor.then(change) if which == "lora_b" else tensor).to(torch.float32)
    safetensors.save(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    description = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    write_json(folder / "adapter_config.json", description)
