"""Safety beyond the reward: context distillation (RECIPE 9)."""
