"""A copy of a model in training that is made for sampling."""

import torch

from arriero.model import Transformer
from arriero.model.linear import LoraLinear


def inference_copy(model: Transformer, dtype: torch.dtype) -> Transformer:
    """The model with its adapters merged in float32, cast to `dtype`, frozen. The original is untouched."""
    whole = {name: tensor.detach().to(dtype, copy=True) for name, tensor in model.state_dict().items()}
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear):
            whole[f"{name}.weight"] = layer.merged().to(dtype)
            del whole[f"{name}.lora_a"], whole[f"{name}.lora_b"]
    copied = Transformer(model.config)
    copied.load_state_dict(whole, assign=True)
    return copied.requires_grad_(False).eval()
