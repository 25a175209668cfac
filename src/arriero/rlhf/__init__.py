"""Reinforcement learning from feedback: rejection sampling, PPO, Ghost Attention (RECIPE 6 and 7)."""
