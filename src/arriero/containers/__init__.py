"""Bytes on disk, bounds checked first: GGUF and safetensors, read and written."""
