"""What a model of a given shape costs, by count: parameters, memory, arithmetic."""

import math
from dataclasses import dataclass

from arriero.model.config import ModelConfig, block_shapes

BYTES_FLOAT32, BYTES_BF16 = 4, 2


@dataclass(frozen=True)
class ModelStatistics:
    """Counts of one model; FLOPs count a multiplication and an addition as two.

    parameters               all weights, norms included; a tied output layer counts once
    block_parameters         those within the blocks: no embeddings, no output layer, no final norm
    bytes_float32, _bf16     of all weights
    kv_bytes_per_token       keys and values of all layers, bf16
    kv_bytes_per_token_mha   the same if every query head had a key/value head of its own
    kv_bytes_full_context    one sequence of the longest length, bf16
    flops_matmul             forward pass of one token through the matrices, the output layer among them: 2 a weight
    flops_attention          of one token that attends to a full context, scores and mixing:
                             4 x layers x context x heads x head_dim
    flops_forward            both
    flops_training           3 x forward: the backward pass costs two
    """

    parameters: int
    block_parameters: int
    bytes_float32: int
    bytes_bf16: int
    kv_bytes_per_token: int
    kv_bytes_per_token_mha: int
    kv_bytes_full_context: int
    flops_matmul: int
    flops_attention: int
    flops_forward: int
    flops_training: int


def statistics(config: ModelConfig) -> ModelStatistics:
    """The counts that follow from a config."""
    block = block_shapes(config).values()
    matrices = config.n_layers * sum(math.prod(shape) for shape in block if len(shape) == 2)
    kv_head_bytes = 2 * config.n_layers * config.head_dim * BYTES_BF16
    matmul = 2 * (matrices + config.vocab_size * config.dim)
    attention = 4 * config.n_layers * config.max_seq_len * config.n_heads * config.head_dim
    return ModelStatistics(
        parameters=config.n_parameters,
        block_parameters=config.n_layers * sum(map(math.prod, block)),
        bytes_float32=BYTES_FLOAT32 * config.n_parameters,
        bytes_bf16=BYTES_BF16 * config.n_parameters,
        kv_bytes_per_token=kv_head_bytes * config.n_kv_heads,
        kv_bytes_per_token_mha=kv_head_bytes * config.n_heads,
        kv_bytes_full_context=kv_head_bytes * config.n_kv_heads * config.max_seq_len,
        flops_matmul=matmul,
        flops_attention=attention,
        flops_forward=matmul + attention,
        flops_training=3 * (matmul + attention),
    )
