"""Per-token rewards, whitening and generalised advantage estimation, gamma 1.

Sources: rewards, masks and whitening as in lm-human-preference-details (`whiten`: biased variance, 1e-8 inside the
root); GAE is Schulman et al. (arXiv:1506.02438), equation 16. The Llama 2 paper (section 3.2.3) states the whitening of
the reward, not its statistics, and neither the advantage estimator nor the value network.
Shapes: B answers, R response tokens (right-padded). response_mask_BR: True = counts; in a row True comes before False.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 1e-8


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the counted values; raises ValueError where nothing counts."""
    if not bool(mask.any()):
        raise ValueError("no value counts: the mask is False everywhere")
    return torch.where(mask, values, 0.0).sum() / mask.sum()


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale to mean 0 and variance 1 over the counted values; zero elsewhere."""
    centred = values - masked_mean(values, mask)
    scaled = centred * torch.rsqrt(masked_mean(centred.square(), mask) + EPSILON)
    return torch.where(mask, scaled, 0.0)


@dataclass(frozen=True)
class RunningMoments:
    """Count, mean and sum of squared deviations of all rewards seen so far (Chan's parallel update).

    The paper does not state over what the reward is whitened. Over all rollouts so far: a batch's own statistics would
    hide a rise of the reward from the value head, and would blow noise up to unit variance once answers grow alike.
    """

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def update(self, values: Tensor) -> "RunningMoments":
        """The moments with `values` (any shape) counted too."""
        new = values.double().flatten()
        if new.numel() == 0:
            return self
        new_mean = float(new.mean())
        delta = new_mean - self.mean
        count = self.count + new.numel()
        squares = self.squares + float((new - new_mean).square().sum()) + delta**2 * self.count * new.numel() / count
        return RunningMoments(count, self.mean + delta * new.numel() / count, squares)

    def whiten(self, values: Tensor) -> Tensor:
        """(values - mean) / standard deviation. Raises ValueError before the first update."""
        if self.count == 0:
            raise ValueError("no reward was seen yet: update the moments before whitening")
        return (values - self.mean) / math.sqrt(self.squares / self.count + EPSILON)


def token_rewards(score_B: Tensor, kl_BR: Tensor, response_mask_BR: Tensor, kl_coef: float) -> Tensor:
    """Rewards (B, R): -kl_coef * KL at every counted token, and the answer's score at its last one.

    Raises ValueError if an answer has no counted token: its score would have nowhere to go.
    """
    lengths_B = response_mask_BR.sum(dim=1)
    if not bool((lengths_B > 0).all()):
        raise ValueError("an answer has no counted token")
    rewards_BR = torch.where(response_mask_BR, -kl_coef * kl_BR, 0.0)
    rows_B = torch.arange(len(score_B), device=score_B.device)
    rewards_BR[rows_B, lengths_B - 1] += score_B
    return rewards_BR


def gae(rewards_BR: Tensor, values_BR: Tensor, response_mask_BR: Tensor, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """(advantages, returns), both (B, R), zero where nothing counts. gamma = 1; the value after the last token is 0."""
    values_BR = torch.where(response_mask_BR, values_BR, 0.0)
    advantages_BR = torch.zeros_like(values_BR)
    running_B = torch.zeros_like(values_BR[:, 0])
    next_value_B = torch.zeros_like(running_B)
    for position in reversed(range(values_BR.shape[1])):
        counted_B = response_mask_BR[:, position]
        delta_B = rewards_BR[:, position] + next_value_B - values_BR[:, position]
        running_B = torch.where(counted_B, delta_B + gae_lambda * running_B, 0.0)
        next_value_B = values_BR[:, position]
        advantages_BR[:, position] = running_B
    return advantages_BR, torch.where(response_mask_BR, advantages_BR + values_BR, 0.0)
