"""Estimators of KL(policy || ref_policy) from the log-probabilities of sampled tokens.

Sources: the per-token penalty is that of Ziegler et al. (arXiv:1909.08593) as kept by lm-human-preference-details
("KL penalty per token", there `kl = logprobs - ref_logprobs`); k1 and k3 are named after J. Schulman, "Approximating KL
divergence" (joschu.net/blog/kl-approx.html). The Llama 2 paper (section 3.2.3, equation 4) writes the KL of whole
answers and does not state an estimator: summed over an answer's tokens, both are unbiased for it.
Shapes: any; both arguments alike. B answers, R response tokens.
"""

import torch
from torch import Tensor


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """log(policy / ref_policy): unbiased, of either sign, high variance. What the reward is charged with."""
    return logprobs - ref_logprobs


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """(r - 1) - log r with r = ref_policy / policy: unbiased, never negative, low variance. What is reported."""
    log_ratio = ref_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio


def sequence_kl(kl_BR: Tensor, response_mask_BR: Tensor) -> Tensor:
    """(B,) KL of each answer in nats: the sum over its counted tokens."""
    return torch.where(response_mask_BR, kl_BR, 0.0).sum(dim=1)
