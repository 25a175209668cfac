"""Shapes of Llamas by name: the paper's, its relatives', and small ones to train from scratch.

Llama 2: arXiv:2307.09288, the 34B (never released) with the dimensions of Code Llama 34B; ffn_dim follows from Meta's
`multiple_of` and `ffn_dim_multiplier`. Llama 3 and 3.2: Meta's params.json. Mistral 7B from v0.2 on, whose attention is
full. Stories: karpathy's llama2.c. `scratch-1m` is the quickstart's.
"""

from typing import Any

from arriero.model.config import ModelConfig, RopeScaling


def _llama2(dim: int, n_layers: int, n_heads: int, n_kv_heads: int, **ffn: Any) -> ModelConfig:
    return ModelConfig(dim=dim, n_layers=n_layers, n_heads=n_heads, n_kv_heads=n_kv_heads, vocab_size=32000, **ffn)


def _stories(dim: int, n_layers: int, n_heads: int, context: int) -> ModelConfig:
    return ModelConfig(
        dim=dim,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        multiple_of=32,
        vocab_size=32000,
        max_seq_len=context,
        tied_embeddings=True,
    )


PRESETS: dict[str, ModelConfig] = {
    "llama2-7b": _llama2(4096, 32, 32, 32),
    "llama2-13b": _llama2(5120, 40, 40, 40),
    "llama2-34b": _llama2(8192, 48, 64, 8),
    "llama2-70b": _llama2(8192, 80, 64, 8, multiple_of=4096, ffn_dim_multiplier=1.3),
    "llama3-8b": ModelConfig(
        dim=4096,
        n_layers=32,
        n_heads=32,
        n_kv_heads=8,
        multiple_of=1024,
        ffn_dim_multiplier=1.3,
        rope_theta=500000.0,
        vocab_size=128256,
        max_seq_len=8192,
    ),
    "llama3.2-1b": ModelConfig(
        dim=2048,
        n_layers=16,
        n_heads=32,
        n_kv_heads=8,
        ffn_dim_multiplier=1.5,
        rope_theta=500000.0,
        rope_scaling=RopeScaling(kind="llama3", factor=32.0, original_max_seq_len=8192),
        vocab_size=128256,
        max_seq_len=131072,
        tied_embeddings=True,
    ),
    "mistral-7b": ModelConfig(
        dim=4096,
        n_layers=32,
        n_heads=32,
        n_kv_heads=8,
        ffn_dim=14336,
        rope_theta=1000000.0,
        vocab_size=32000,
        max_seq_len=32768,
    ),
    "tinyllama-1.1b": ModelConfig(
        dim=2048, n_layers=22, n_heads=32, n_kv_heads=4, ffn_dim=5632, vocab_size=32000, max_seq_len=2048
    ),
    "smollm2-135m": ModelConfig(
        dim=576,
        n_layers=30,
        n_heads=9,
        n_kv_heads=3,
        ffn_dim=1536,
        rope_theta=100000.0,
        vocab_size=49152,
        max_seq_len=8192,
        tied_embeddings=True,
    ),
    "stories-110m": _stories(768, 12, 12, 1024),
    "stories-42m": _stories(512, 8, 8, 1024),
    "stories-15m": _stories(288, 6, 6, 256),
    "scratch-1m": ModelConfig(
        dim=128, n_layers=4, n_heads=4, n_kv_heads=2, ffn_dim=352, vocab_size=2048, max_seq_len=256
    ),
    "stories-260k": ModelConfig(
        dim=64,
        n_layers=5,
        n_heads=8,
        n_kv_heads=4,
        ffn_dim=172,
        vocab_size=512,
        max_seq_len=512,
        tied_embeddings=True,
    ),
}
