"""The engine: the same tokens as the model gives when every step reads the whole text again."""

import random

import pytest
import torch

from arriero.errors import InputError
from arriero.generation import Completion, SamplingConfig, engine, generate, inference_copy, stream
from arriero.generation.cache import KVCache
from arriero.generation.sampling import choose, row_uniforms
from arriero.model import ModelConfig, Transformer

CONFIG = ModelConfig(dim=32, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=60, ffn_dim=48, max_seq_len=128)
STOP = {3, 4}


@pytest.fixture(scope="module")
def model() -> Transformer:
    """Weights large enough that answers differ, stop at different times, and no two logits nearly tie."""
    made = Transformer(CONFIG)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.25, generator=generator)
    return made


def some_prompts(count: int, seed: int = 0, shared: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    start = [rng.randrange(60) for _ in range(shared)]
    return [start + [rng.randrange(60) for _ in range(rng.randint(1, 45))] for _ in range(count)]


def slowly(model: Transformer, prompt: list[int], index: int, sampling: SamplingConfig, seed: int) -> Completion:
    """One answer, the whole text read again for every token, in float32."""
    uniforms = torch.from_numpy(row_uniforms(seed, index, sampling.max_new_tokens))
    ids: list[int] = []
    for step in range(sampling.max_new_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids]))[:, -1]
        token = int(choose(logits, uniforms[step : step + 1], sampling))
        if token in STOP:
            return Completion(tuple(ids), token)
        ids.append(token)
    return Completion(tuple(ids), None)


GREEDY = SamplingConfig(temperature=0.0, max_new_tokens=40)
WARM = SamplingConfig(temperature=1.3, max_new_tokens=40)
NUCLEUS = SamplingConfig(temperature=0.8, top_p=0.8, max_new_tokens=25)


@pytest.mark.parametrize("sampling", [GREEDY, WARM, NUCLEUS], ids=["greedy", "warm", "nucleus"])
@pytest.mark.parametrize(("streams", "shared"), [(1, 0), (5, 0), (64, 0), (7, 20)])
def test_equals_reading_everything_again(
    model: Transformer, sampling: SamplingConfig, streams: int, shared: int
) -> None:
    prompts = some_prompts(18, shared=shared)
    found = generate(model, prompts, sampling, stop_ids=STOP, seed=11, streams=streams)
    assert found == [slowly(model, prompt, index, sampling, 11) for index, prompt in enumerate(prompts)]
    assert {c.stop_id is None for c in found} == {True, False}, "the case must hold both kinds of ending"


def test_small_passes_and_early_refills_change_nothing(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = some_prompts(20, seed=1)
    expected = generate(model, prompts, WARM, stop_ids=STOP, seed=1)
    monkeypatch.setattr(engine, "PREFILL_TOKENS", 50)
    monkeypatch.setattr(engine, "REFILL_SHARE", 100)
    assert generate(model, prompts, WARM, stop_ids=STOP, seed=1, streams=6) == expected


def test_a_prompt_given_many_times_is_read_once_and_answered_differently(model: Transformer) -> None:
    prompts = some_prompts(3, seed=2, shared=10)
    many = [prompt for prompt in prompts for _ in range(6)]
    reads: list[tuple[int, ...]] = []

    class Watched(Transformer):
        def hidden(self, tokens_BT: torch.Tensor, **rest: object) -> torch.Tensor:  # type: ignore[override]
            if tokens_BT.shape[1] > 1:
                reads.append(tuple(tokens_BT.shape))
            return super().hidden(tokens_BT, **rest)  # type: ignore[arg-type]

    watched = Watched(CONFIG)
    watched.load_state_dict(model.state_dict())
    found = generate(watched, many, WARM, stop_ids=STOP, seed=4)
    assert found == [slowly(model, prompt, index, WARM, 4) for index, prompt in enumerate(many)]
    assert len(set(found[:6])) == 6
    assert [rows for rows, _ in reads] == [1, 3], "the shared beginning once, then each prompt once"


def test_equal_seeds_give_equal_answers_and_others_do_not(model: Transformer) -> None:
    prompts = some_prompts(8)
    first, again, other = (generate(model, prompts, WARM, stop_ids=STOP, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("sampling", [GREEDY, WARM])
def test_a_stream_gives_the_lone_prompt_s_tokens(model: Transformer, sampling: SamplingConfig) -> None:
    for prompt in some_prompts(6, seed=5):
        tokens = tuple(stream(model, prompt, sampling, stop_ids=STOP, seed=9))
        assert tokens == generate(model, [prompt], sampling, stop_ids=STOP, seed=9)[0].ids


def test_bfloat16_follows_float32_closely(model: Transformer) -> None:
    """The first token of many answers: rounding flips few of them."""
    prompts = some_prompts(200, seed=6)
    one = SamplingConfig(temperature=0.0, max_new_tokens=2)
    exact = generate(model, prompts, one, stop_ids=(), seed=0)
    rounded = generate(inference_copy(model, torch.bfloat16), prompts, one, stop_ids=(), seed=0)
    assert sum(a == b for a, b in zip(exact, rounded, strict=True)) >= 180


def test_the_cache_grows_and_shrinks_without_loss() -> None:
    cache = KVCache(CONFIG, rows=3, slots=4, dtype=torch.float32, device=torch.device("cpu"))
    for stored in (*cache.keys, *cache.values):
        stored.normal_()
    before = [stored.clone() for stored in (*cache.keys, *cache.values)]
    cache.resize(9, used=2)
    assert cache.slots == 9
    cache.resize(3, used=2)
    for stored, old in zip((*cache.keys, *cache.values), before, strict=True):
        assert torch.equal(stored[:2], old[:2, :, :3])
    cache.move(1, 0)
    assert torch.equal(cache.values[1][0], before[-1][1, :, :3])


def test_prompts_that_do_not_fit_are_named(model: Transformer) -> None:
    for prompt, said in (([], "Prompt 1 has 0 tokens"), ([5] * 100, "Prompt 1 has 100 tokens.*1 to 88")):
        with pytest.raises(InputError, match=said):
            generate(model, [[5], prompt], GREEDY, stop_ids=STOP, seed=0)
    assert generate(model, [], GREEDY, stop_ids=STOP, seed=0) == []
