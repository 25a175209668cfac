"""Scoring texts that are there: the same as one row at a time, whatever the order and the shared beginnings."""

import random

import pytest
import torch

from arriero.generation import last_hidden, length_batches, response_logprobs, teacher_forced
from arriero.model import ModelConfig, Transformer, new_model

CONFIG = ModelConfig(dim=32, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=60, ffn_dim=48, max_seq_len=128)


@pytest.fixture(scope="module")
def model() -> Transformer:
    made = new_model(CONFIG, 0)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    return made


def some_rows(seed: int) -> list[list[int]]:
    """Families of answers to shared prompts under one system prompt, some rows alone, one row twice."""
    rng = random.Random(seed)
    system = [rng.randrange(60) for _ in range(9)]
    rows = []
    for _ in range(6):
        prompt = system + [rng.randrange(60) for _ in range(rng.randint(1, 30))]
        rows += [prompt + [rng.randrange(60) for _ in range(rng.randint(1, 12))] for _ in range(rng.randint(1, 5))]
    rows += [[rng.randrange(60) for _ in range(length)] for length in (1, 1, 17, 40)]
    rows.append(list(rows[3]))
    rng.shuffle(rows)
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_last_states_equal_those_of_each_row_alone(
    model: Transformer, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_forced, "TOKEN_BUDGET", 100)
    rows = some_rows(seed)
    found = last_hidden(model, rows)
    expected = torch.stack([model.hidden(torch.tensor([row]))[0, -1] for row in rows])
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)


def test_shared_beginnings_are_read_once(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = list(range(40))
    rows = [[*prompt, answer, answer + 1] for answer in range(40, 48)]
    read = 0
    whole = Transformer.hidden

    def counted(self: Transformer, tokens_BT: torch.Tensor, **rest: object) -> torch.Tensor:
        nonlocal read
        read += tokens_BT.numel()
        return whole(self, tokens_BT, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Transformer, "hidden", counted)
    last_hidden(model, rows)
    assert read == 40 + 8 * 8, "the prompt once, and the answers, padded to eight"


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_those_of_each_row_alone(
    model: Transformer, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_forced, "LOGIT_ROWS", 16)
    rng = random.Random(1)
    prompts = [[rng.randrange(60) for _ in range(rng.randint(1, 30))] for _ in range(20)]
    responses = [[rng.randrange(60) for _ in range(rng.randint(0, 20))] for _ in range(20)]
    found = response_logprobs(model, prompts, responses, temperature=temperature)
    for prompt, response, logprobs in zip(prompts, responses, found, strict=True):
        table = torch.log_softmax(model(torch.tensor([prompt + response]))[0] / temperature, -1)
        expected = [table[len(prompt) + t - 1, token] for t, token in enumerate(response)]
        assert logprobs.shape == (len(response),)
        if response:
            torch.testing.assert_close(logprobs, torch.stack(expected), atol=1e-4, rtol=1e-4)


def test_results_may_enter_a_loss(model: Transformer) -> None:
    """Tensors made in inference mode could not: PPO subtracts these from the policy's own."""
    logprobs = response_logprobs(model, [[1, 2]], [[3, 4]])[0]
    weight = torch.ones(2, requires_grad=True)
    (weight * logprobs).sum().backward()
    torch.testing.assert_close(weight.grad, logprobs)
    head = torch.ones(CONFIG.dim, requires_grad=True)
    (last_hidden(model, [[1, 2]]) @ head).sum().backward()
    assert head.grad is not None


def test_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = [random.Random(0).randint(1, 90) for _ in range(100)] + [400]
    batches = list(length_batches(lengths, 256))
    assert sorted(index for batch in batches for index in batch) == list(range(101))
    for batch in batches:
        width = -(-max(lengths[i] for i in batch) // 8) * 8
        assert width * len(batch) <= 256 or len(batch) == 1
    assert [lengths[i] for batch in batches for i in batch] == sorted(lengths)


def test_empty_rows_are_refused(model: Transformer) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        last_hidden(model, [[1], []])
    with pytest.raises(ValueError, match="at least one token"):
        response_logprobs(model, [[]], [[1]])
