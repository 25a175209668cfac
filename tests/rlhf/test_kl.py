import torch

from arriero.rlhf.kl import kl_k1, kl_k3, sequence_kl


def exact_kl(policy_logits, ref_logits):
    policy = policy_logits.log_softmax(-1)
    return (policy.exp() * (policy - ref_logits.log_softmax(-1))).sum()


def test_both_estimators_average_to_the_exact_kl_under_the_policy():
    generator = torch.Generator().manual_seed(0)
    policy_logits = torch.randn(12, generator=generator, dtype=torch.float64)
    ref_logits = torch.randn(12, generator=generator, dtype=torch.float64)
    policy, ref = policy_logits.log_softmax(-1), ref_logits.log_softmax(-1)
    expected = exact_kl(policy_logits, ref_logits)
    for estimator in (kl_k1, kl_k3):
        # The expectation itself, not a sample of it: sum over the vocabulary weighted by the policy.
        torch.testing.assert_close((policy.exp() * estimator(policy, ref)).sum(), expected)
    assert expected > 0.1


def test_k3_is_never_negative_and_varies_less_than_k1_where_the_two_are_close():
    generator = torch.Generator().manual_seed(1)
    policy_logits = torch.randn(50, generator=generator, dtype=torch.float64)
    policy = policy_logits.log_softmax(-1)
    ref = (policy_logits + 0.1 * torch.randn(50, generator=generator, dtype=torch.float64)).log_softmax(-1)
    k1, k3 = kl_k1(policy, ref), kl_k3(policy, ref)
    assert bool((k3 >= 0).all())
    assert bool((k1 < 0).any())
    weight = policy.exp()
    spread = [float((weight * (k - (weight * k).sum()).square()).sum()) for k in (k1, k3)]
    assert spread[1] < spread[0] / 10


def test_equal_policies_have_no_kl():
    logprobs = torch.tensor([-1.0, -7.5])
    assert kl_k1(logprobs, logprobs).tolist() == kl_k3(logprobs, logprobs).tolist() == [0.0, 0.0]


def test_sequence_kl_sums_what_counts():
    kl = torch.tensor([[1.0, 2.0, float("nan")], [1.0, 1.0, 1.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert sequence_kl(kl, mask).tolist() == [3.0, 3.0]
