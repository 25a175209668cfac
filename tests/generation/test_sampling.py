"""Choosing tokens: the inverse of the distribution function, the smallest nucleus, and every row's own randomness."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arriero.generation.sampling import BLOCK, SamplingConfig, choose, draw, nucleus, row_uniforms

UNIFORMS = st.floats(0, 1, exclude_max=True)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=900).filter(any), UNIFORMS, st.integers(0, 400))
def test_draw_inverts_the_distribution_function(weights: list[int], uniform: float, zeros: int) -> None:
    """Small whole numbers add up without rounding, so the answer is exact."""
    row = [*weights, *([0] * zeros)]
    found = draw(torch.tensor([row, row], dtype=torch.float32), torch.tensor([uniform, 0.0], dtype=torch.float64))
    expected = np.searchsorted(np.cumsum(row), [uniform * sum(row), 0.0], side="right")
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("weights", [[0, 1, 0], [1e-30, 0], [0] * BLOCK + [3] + [0] * 700, [1.0] * (BLOCK * 2)])
def test_the_largest_uniform_draws_a_token_that_has_weight(weights: list[float]) -> None:
    almost_one = np.nextafter(1.0, 0.0)
    row = torch.tensor([weights], dtype=torch.float32)
    assert row[0, draw(row, torch.tensor([almost_one], dtype=torch.float64))] > 0


@given(st.integers(0, 2**32), st.floats(0.01, 0.999), st.sampled_from([3, 50, 1500]), st.sampled_from([0.3, 3.0]))
def test_the_nucleus_is_the_smallest_that_reaches_its_mass(seed: int, top_p: float, size: int, scale: float) -> None:
    """Also where it has more members than the candidates looked at first (flat rows of 1,500)."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.softmax(torch.randn(2, size, generator=generator) * scale, -1)
    weights, tokens = nucleus(probabilities, top_p)
    for row in range(2):
        kept = tokens[row, weights[row] > 0]
        inside = probabilities[row, kept].double()
        assert inside.sum() >= top_p - 1e-6
        assert inside.sum() - inside.min() < top_p + 1e-6
        outside = np.setdiff1d(np.arange(size), kept.numpy())
        assert outside.size == 0 or probabilities[row, outside].max() <= inside.min()


def test_tokens_come_as_often_as_the_model_says() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])
    count = 40_000
    uniforms = torch.from_numpy(np.random.default_rng(0).random(count))
    for sampling, weights in [
        (SamplingConfig(temperature=1.5), torch.softmax(logits / 1.5, 0)),
        (SamplingConfig(temperature=1.0, top_p=0.7), torch.tensor([0.5635, 0.2073, 0, 0, 0])),
    ]:
        chosen = choose(logits.expand(count, -1), uniforms, sampling)
        seen = torch.bincount(chosen, minlength=5) / count
        torch.testing.assert_close(seen, weights / weights.sum(), atol=0.01, rtol=0)


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.randn(40, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = choose(logits, torch.zeros(40, dtype=torch.float64), SamplingConfig(temperature=0))
    assert torch.equal(found, logits.float().argmax(-1))


def test_a_row_s_numbers_depend_on_seed_and_index_alone() -> None:
    assert np.array_equal(row_uniforms(5, 2, 10), row_uniforms(5, 2, 30)[:10])
    rows = {row_uniforms(seed, index, 4).tobytes() for seed in (-1, 0, 1, 2**63) for index in range(50)}
    assert len(rows) == 200
    many = np.concatenate([row_uniforms(7, index, 20) for index in range(500)])
    assert many.min() >= 0
    assert many.max() < 1
    assert abs(many.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(many[:-20], many[20:])[0, 1]) < 0.03
