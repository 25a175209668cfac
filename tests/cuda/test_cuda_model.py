"""One model on two devices: the same logits, the same answers."""

import random

import pytest
import torch
from torch import Tensor

from arriero.generation import SamplingConfig, generate, last_hidden, stream
from arriero.generation.teacher_forced import response_logprobs
from arriero.model import ModelConfig, Transformer
from arriero.pipeline.machine import measured_dtype

CONFIG = ModelConfig(dim=128, n_layers=3, n_heads=4, n_kv_heads=2, vocab_size=600, ffn_dim=256, max_seq_len=512)
STOP = {3, 4, 5}
MODES = {
    "greedy": SamplingConfig(temperature=0.0, max_new_tokens=40),
    "warm": SamplingConfig(temperature=1.3, max_new_tokens=40),
    "nucleus": SamplingConfig(temperature=0.8, top_p=0.8, max_new_tokens=25),
}


def made(dtype: torch.dtype = torch.float32) -> Transformer:
    """Weights large enough that attention is sharp and no two logits nearly tie."""
    model = Transformer(CONFIG)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.12, generator=generator)
    return model.to(dtype)


def some_rows(count: int, longest: int, shared: int = 0) -> list[list[int]]:
    rng = random.Random(0)
    start = [rng.randrange(600) for _ in range(shared)]
    return [start + [rng.randrange(600) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def distance(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().cpu().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())


def documents(length: int) -> Tensor:
    """Documents of 32 tokens that do not see each other: (1, 1, T, T)."""
    number = torch.arange(length) // 32
    return ((number[:, None] == number) & torch.ones(length, length, dtype=torch.bool).tril())[None, None]


@pytest.mark.parametrize("masked", [False, True], ids=["causal", "documents"])
@pytest.mark.parametrize("length", [1, 7, 300])
def test_logits_are_the_cpu_s(device: str, length: int, masked: bool) -> None:
    tokens = torch.randint(0, 600, (3, length), generator=torch.Generator().manual_seed(length))
    mask = documents(length) if masked else None
    on_device = None if mask is None else mask.to(device)
    with torch.no_grad():
        expected = made()(tokens, attention_mask=mask)
        found = made().to(device)(tokens.to(device), attention_mask=on_device)
        low = made(torch.bfloat16)(tokens, attention_mask=mask)
        low_found = made(torch.bfloat16).to(device)(tokens.to(device), attention_mask=on_device)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)
    assert distance(found, expected) < 1e-5
    rounding = distance(low, expected)
    assert 1e-3 < rounding < 5e-2
    assert distance(low_found, expected) < 1.5 * rounding


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("streams", "shared"), [(5, 0), (64, 20)])
def test_answers_are_the_cpu_s(device: str, mode: str, streams: int, shared: int) -> None:
    prompts, sampling = some_rows(18, 45, shared), MODES[mode]
    expected = generate(made(), prompts, sampling, stop_ids=STOP, seed=11, streams=streams)
    assert generate(made().to(device), prompts, sampling, stop_ids=STOP, seed=11, streams=streams) == expected
    assert {c.stop_id is None for c in expected} == {True, False}, "the case must hold both kinds of ending"


def test_a_stream_gives_the_lone_prompt_s_tokens(device: str) -> None:
    model, sampling = made().to(device), MODES["greedy"]
    for prompt in some_rows(4, 30):
        tokens = tuple(stream(model, prompt, sampling, stop_ids=STOP, seed=9))
        assert tokens == generate(model, [prompt], sampling, stop_ids=STOP, seed=9)[0].ids


def test_bfloat16_answers_begin_as_float32_ones(device: str) -> None:
    """The cache in bfloat16: rounding flips few of the second tokens, the first that are read from it."""
    prompts, sampling = some_rows(100, 45), SamplingConfig(temperature=0.0, max_new_tokens=2)
    expected = generate(made(), prompts, sampling, stop_ids=(), seed=0)
    found = generate(made(torch.bfloat16).to(device), prompts, sampling, stop_ids=(), seed=0)
    assert sum(a == b for a, b in zip(found, expected, strict=True)) > 85


def test_scores_and_logprobs_are_the_cpu_s(device: str) -> None:
    prompts, answers = some_rows(20, 45), [row[:9] for row in some_rows(20, 30, shared=3)]
    rows = [*prompts, *[prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]]
    torch.testing.assert_close(
        last_hidden(made().to(device), rows).cpu(), last_hidden(made(), rows), rtol=1e-4, atol=1e-4
    )
    expected = response_logprobs(made(), prompts, answers)
    for found, wanted in zip(response_logprobs(made().to(device), prompts, answers), expected, strict=True):
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-4)


def test_a_gpu_with_bfloat16_units_computes_in_it() -> None:
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs a CUDA device of compute capability 8 or higher")
    dtype, ratio = measured_dtype("cuda")
    assert dtype == "bfloat16"
    assert ratio > 4
