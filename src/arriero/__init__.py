"""Arriero: the Llama 2 recipe, from raw web text to a safe chat model."""

__version__ = "0.1.0.dev0"
