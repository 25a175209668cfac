import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.rlhf.advantages import RunningMoments, gae, masked_mean, token_rewards, whiten


def ragged_batch(seed, lengths, width):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]
    values = torch.randn(len(lengths), width, generator=generator, dtype=torch.float64)
    rewards = torch.randn(len(lengths), width, generator=generator, dtype=torch.float64)
    return rewards, values, mask


def slow_gae(rewards, values, length, gae_lambda):
    """Equation 16 of arXiv:1506.02438 as the double sum it is, gamma 1."""
    advantages = []
    for t in range(length):
        total = 0.0
        for step in range(length - t):
            at = t + step
            after = values[at + 1] if at + 1 < length else 0.0
            total += gae_lambda**step * (rewards[at] + after - values[at])
        advantages.append(float(total))
    return advantages


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10_000), st.lists(st.integers(1, 7), min_size=1, max_size=4), st.sampled_from([0.0, 0.5, 0.95, 1.0])
)
def test_gae_is_the_double_sum_on_ragged_rows_whatever_lies_in_the_padding(seed, lengths, gae_lambda):
    rewards, values, mask = ragged_batch(seed, lengths, width=8)
    rewards[~mask], values[~mask] = float("nan"), float("nan")
    advantages, returns = gae(rewards, values, mask, gae_lambda)
    for row, length in enumerate(lengths):
        expected = torch.tensor(slow_gae(rewards[row], values[row], length, gae_lambda), dtype=torch.float64)
        torch.testing.assert_close(advantages[row, :length], expected)
        torch.testing.assert_close(returns[row, :length], expected + values[row, :length])
    assert bool((advantages[~mask] == 0).all())
    assert bool((returns[~mask] == 0).all())


def test_with_lambda_one_the_returns_are_the_rewards_to_go_whatever_the_values():
    rewards, values, mask = ragged_batch(1, [5, 3], width=5)
    _, returns = gae(torch.where(mask, rewards, 0.0), values, mask, gae_lambda=1.0)
    torch.testing.assert_close(returns[0], rewards[0].flip(0).cumsum(0).flip(0))
    torch.testing.assert_close(returns[1, :3], rewards[1, :3].flip(0).cumsum(0).flip(0))


def test_with_lambda_zero_the_advantage_is_the_one_step_error():
    rewards, values, mask = ragged_batch(2, [4], width=4)
    advantages, _ = gae(rewards, values, mask, gae_lambda=0.0)
    torch.testing.assert_close(advantages[0, 1], rewards[0, 1] + values[0, 2] - values[0, 1])
    torch.testing.assert_close(advantages[0, 3], rewards[0, 3] - values[0, 3])


def test_a_score_goes_to_the_last_counted_token_and_kl_is_charged_everywhere():
    mask = torch.tensor([[True, True, False], [True, True, True]])
    kl = torch.tensor([[0.5, -1.0, 99.0], [1.0, 2.0, 3.0]])
    rewards = token_rewards(torch.tensor([10.0, 20.0]), kl, mask, kl_coef=0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.05, 10.1, 0.0], [-0.1, -0.2, 19.7]]))
    # Undiscounted, what an answer earns in all is the paper's R = score - beta * KL of the whole answer.
    torch.testing.assert_close(rewards.sum(dim=1), torch.tensor([10.0 + 0.05, 20.0 - 0.6]))


def test_an_answer_without_tokens_is_refused():
    with pytest.raises(ValueError, match="no counted token"):
        token_rewards(torch.zeros(1), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), 0.1)


@given(st.integers(0, 1000), st.floats(-50, 50), st.floats(0.1, 50))
@settings(deadline=None, max_examples=30)
def test_whitening_gives_mean_zero_variance_one_over_what_counts_and_ignores_shift_and_scale(seed, shift, scale):
    values, _, mask = ragged_batch(seed, [3, 6, 5], width=6)
    white = whiten(values, mask)
    assert abs(float(white[mask].mean())) < 1e-9
    assert float(white[mask].var(unbiased=False)) == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(whiten(values * scale + shift, mask), white, rtol=1e-4, atol=1e-5)
    assert bool((white[~mask] == 0).all())


def test_a_mean_over_nothing_is_refused_and_padding_never_leaks_into_one():
    with pytest.raises(ValueError, match="mask is False everywhere"):
        masked_mean(torch.ones(2), torch.zeros(2, dtype=torch.bool))
    assert float(masked_mean(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([True, True, False]))) == 2.0


def test_running_moments_over_batches_equal_those_of_all_values_at_once():
    values = torch.randn(57, generator=torch.Generator().manual_seed(3)) * 4 + 100
    moments = RunningMoments()
    for part in values.split([1, 6, 0, 30, 20]):
        moments = moments.update(part)
    assert moments.mean == pytest.approx(float(values.double().mean()))
    assert moments.squares / moments.count == pytest.approx(float(values.double().var(unbiased=False)))
    white = moments.whiten(values)
    assert float(white.mean()) == pytest.approx(0, abs=1e-5)
    assert float(white.std(unbiased=False)) == pytest.approx(1, abs=1e-5)


def test_whitening_before_any_reward_is_refused():
    with pytest.raises(ValueError, match="update the moments"):
        RunningMoments().whiten(torch.ones(2))
