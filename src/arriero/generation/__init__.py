"""Sampling from a model, and scoring what is written already."""

from arriero.generation.engine import Completion, answer, generate, stream
from arriero.generation.inference import inference_copy
from arriero.generation.sampling import SamplingConfig
from arriero.generation.teacher_forced import last_hidden, length_batches, response_logprobs, token_logprobs

__all__ = [
    "Completion",
    "SamplingConfig",
    "answer",
    "generate",
    "inference_copy",
    "last_hidden",
    "length_batches",
    "response_logprobs",
    "stream",
    "token_logprobs",
]
