"""Reward models: ranking loss, safety loss, data mix, training, scoring, the gated reward (RECIPE 5 and 6)."""

from arriero.reward.model import RewardModel, load_reward_model

__all__ = ["RewardModel", "load_reward_model"]
