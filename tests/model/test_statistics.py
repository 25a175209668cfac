"""The counts against what torch counts and what the cache allocates."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from arriero.generation.cache import KVCache
from arriero.model import PRESETS, ModelConfig
from arriero.model.checkpoint import shapes_of, skeleton
from arriero.model.statistics import statistics

CONFIGS = st.builds(
    lambda heads, group, half, layers, tied, vocabulary, ffn, context: ModelConfig(
        dim=24,
        n_layers=layers,
        n_heads=heads * group,
        n_kv_heads=heads,
        head_dim=2 * half,
        vocab_size=vocabulary,
        ffn_dim=ffn,
        max_seq_len=context,
        tied_embeddings=tied,
    ),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(1, 30),
)


@settings(max_examples=20)
@given(CONFIGS)
def test_flops_are_those_that_torch_counts(config: ModelConfig) -> None:
    """A full mask, so that each of the tokens attends to the whole context: what one token at its end costs."""
    T = config.max_seq_len
    everything = torch.ones(1, 1, T, T, dtype=torch.bool, device="meta")
    with FlopCounterMode(display=False) as counter:
        skeleton(config)(torch.zeros(1, T, dtype=torch.long, device="meta"), attention_mask=everything)
    assert counter.get_total_flops() == T * statistics(config).flops_forward


@given(CONFIGS)
def test_memory_is_what_is_allocated(config: ModelConfig) -> None:
    counts = statistics(config)
    cache = KVCache(config, 1, config.max_seq_len, dtype=torch.bfloat16, device=torch.device("meta"))
    assert counts.kv_bytes_full_context == sum(tensor.nbytes for tensor in (*cache.keys, *cache.values))
    assert counts.kv_bytes_full_context == config.max_seq_len * counts.kv_bytes_per_token
    weights = {name: torch.Size(shape).numel() for name, shape in shapes_of(skeleton(config)).items()}
    assert (counts.parameters, counts.bytes_float32) == (sum(weights.values()), 4 * sum(weights.values()))
    assert counts.block_parameters == sum(size for name, size in weights.items() if name.startswith("layers."))


def test_grouping_saves_eight_times_at_70b() -> None:
    """The paper's 70B shares each key/value head among 8 query heads: 320 KiB a token instead of 2.5 MiB."""
    counts = statistics(PRESETS["llama2-70b"])
    assert (counts.kv_bytes_per_token, counts.kv_bytes_per_token_mha) == (320 * 1024, 2560 * 1024)
