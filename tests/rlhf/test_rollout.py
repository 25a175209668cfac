import pytest
import torch

from arriero.artifacts import Machine
from arriero.dialogue import Dialogue, Message, Role
from arriero.generation import SamplingConfig, response_logprobs
from arriero.model import LoraConfig
from arriero.rlhf.policy import Policy
from arriero.rlhf.rollout import (
    Sample,
    collate,
    derive_seed,
    in_units,
    mini_batches,
    only_answer_trained,
    sample_answers,
    spread,
)
from tiny_chat import prompt, tiny_loaded


def sampled_batch(policy, count=7, seed=3):
    return policy.sample([prompt(i * 5) for i in range(count)], seed)


def tiny_policy(lora=None, temperature=1.0):
    sampling = SamplingConfig(temperature=temperature, max_new_tokens=9)
    return Policy(tiny_loaded(), lora, sampling, Machine(), seed=1)


def test_collate_keeps_every_token_and_counts_the_answers():
    samples = [Sample((7, 8, 9, 99), "abc", True), Sample((5,), "a", False), Sample((99,), "", True)]
    sampled = collate([prompt(0)] * 3, [[1, 2], [1, 2, 3], [4]], samples)
    assert sampled.tokens_BT.tolist() == [[1, 2, 7, 8, 9, 99], [1, 2, 3, 5, 0, 0], [4, 99, 0, 0, 0, 0]]
    assert sampled.prompt_lengths_B.tolist() == [2, 3, 1]
    assert sampled.response_mask_BR.sum(dim=1).tolist() == [4, 1, 1]
    assert sampled.lengths.tolist() == [6, 4, 2]


def test_an_answer_ends_with_the_stop_id_that_was_sampled_unless_it_was_cut_off():
    loaded = tiny_loaded()
    dialogues = [prompt(i).dialogue for i in range(40)]
    samples = sample_answers(loaded, dialogues, SamplingConfig(temperature=2.0, max_new_tokens=60), seed=1)
    stops = loaded.chat_format.stop_ids
    assert {s.finished for s in samples} == {True, False}
    for sample in samples:
        said = sample.ids[:-1] if sample.finished else sample.ids
        assert (sample.ids[-1] in stops) == sample.finished
        assert not stops & set(said)
        assert sample.text == loaded.tokenizer.decode(list(said)).strip()


def test_mini_batches_hold_every_row_once_and_micro_batches_are_cut_to_their_longest():
    samples = [Sample(tuple(range(5, 5 + n)), "", False) for n in (1, 9, 2, 8, 3, 7, 4)]
    sampled = collate([prompt(0)] * 7, [[1, 2]] * 7, samples)
    batches = mini_batches(sampled, mini_batch_size=4, micro_batch_size=2, seed=0)
    assert [len(micro.rows) for batch in batches for micro in batch] == [2, 2, 2, 1]
    assert sorted(int(row) for batch in batches for micro in batch for row in micro.rows) == list(range(7))
    for micro in (micro for batch in batches for micro in batch):
        assert micro.tokens_BT.shape[1] == int(sampled.lengths[micro.rows].max())
        torch.testing.assert_close(micro.tokens_BT, sampled.tokens_BT[micro.rows, : micro.tokens_BT.shape[1]])
    orders = {tuple(b[0].rows.tolist()) for b in (mini_batches(sampled, 7, 7, s)[0:1][0] for s in range(5))}
    assert len(orders) == 1  # one mini-batch, sorted by length: the seed cannot matter
    assert len({str([[m.rows.tolist() for m in b] for b in mini_batches(sampled, 2, 2, s)]) for s in range(9)}) > 3


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_policys_logprobs_are_those_of_teacher_forcing_each_answer_alone(temperature):
    policy = tiny_policy(temperature=temperature)
    sampled = sampled_batch(policy)
    for micro in mini_batches(sampled, 7, 3, seed=0)[0]:
        estimated = micro.scattered(policy.estimate(micro)[0].detach())
        for row, original in enumerate(micro.rows.tolist()):
            start, end = int(sampled.prompt_lengths_B[original]), int(sampled.lengths[original])
            tokens = sampled.tokens_BT[original].tolist()
            expected = response_logprobs(policy.model, [tokens[:start]], [tokens[start:end]], temperature=temperature)[
                0
            ]
            torch.testing.assert_close(estimated[row, : end - start], expected.float(), rtol=1e-4, atol=1e-4)
            assert bool((estimated[row, end - start :] == 0).all())


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
def test_the_reference_stays_the_input_model_while_the_policy_moves_and_sampling_follows_it(lora):
    policy = tiny_policy(lora)
    sampled = sampled_batch(policy)
    micro = mini_batches(sampled, 7, 7, seed=0)[0][0]
    before = policy.estimate(micro)[0].detach()
    torch.testing.assert_close(policy.ref_logprobs(micro), before, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
    after = policy.estimate(micro)[0].detach()
    assert float((after - before).abs().max()) > 0.01
    torch.testing.assert_close(policy.ref_logprobs(micro), before, rtol=0, atol=0)
    merged = policy.for_sampling().model
    torch.testing.assert_close(merged(micro.tokens_BT), policy.model(micro.tokens_BT), rtol=1e-3, atol=1e-3)


def test_the_value_head_sends_no_gradient_into_the_policy():
    policy = tiny_policy(LoraConfig(rank=2))
    with torch.no_grad():
        policy.value_head.weight.fill_(1.0)
    micro = mini_batches(sampled_batch(policy), 7, 7, seed=0)[0][0]
    policy.estimate(micro)[1].sum().backward()
    assert all(parameter.grad is None for parameter in policy.model.parameters())
    assert float(policy.value_head.weight.grad.abs().sum()) > 0


def test_seeds_differ_by_purpose_and_are_stable():
    assert derive_seed(1, "a", 2) == derive_seed(1, "a", 2)
    assert len({derive_seed(s, p, i) for s in range(5) for p in "ab" for i in range(20)}) == 200


def test_spread_draws_in_order_without_repeats():
    drawn = spread(list(range(100)), 30, seed=4)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 30
    assert drawn != spread(list(range(100)), 30, seed=5)
    assert spread([3, 1], None, 0) == spread([3, 1], 9, 0) == [3, 1]


def test_units_hold_all_items_and_at_least_one_each():
    assert in_units(list(range(5)), 64) == [[0, 1], [2, 3], [4]]
    assert in_units([1, 2], 1000) == [[1], [2]]


def test_only_the_new_answer_is_trained():
    dialogue = Dialogue((Message(Role.USER, "a"), Message(Role.ASSISTANT, "b"), Message(Role.USER, "c")))
    made = only_answer_trained(dialogue, "d")
    assert [(m.content, m.trained) for m in made.messages] == [("a", True), ("b", False), ("c", True), ("d", True)]
