"""Packing: nothing lost, nothing too long, and the loss of a packed row is that of its dialogues alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arriero.model import ModelConfig, Transformer, new_model
from arriero.tokenizer import Rendered
from arriero.train.loss import language_model_loss
from arriero.train.packing import FILL, collate, first_fit, pack_epochs
from arriero.train.pretrain import window_batch


def plain_first_fit(lengths: list[int], order: list[int], capacity: int) -> list[list[int]]:
    rows: list[list[int]] = []
    for index in order:
        for row in rows:
            if sum(lengths[i] for i in row) + lengths[index] <= capacity:
                row.append(index)
                break
        else:
            rows.append([index])
    return rows


@given(st.lists(st.integers(1, 20), max_size=60), st.randoms(use_true_random=False))
def test_first_fit_equals_the_plain_search(lengths: list[int], random) -> None:
    order = list(range(len(lengths)))
    random.shuffle(order)
    assert first_fit(lengths, order, 20) == plain_first_fit(lengths, order, 20)


@given(st.lists(st.integers(1, 16), min_size=1, max_size=40), st.integers(0, 5))
def test_every_epoch_holds_every_dialogue_once(lengths: list[int], seed: int) -> None:
    rows = pack_epochs(lengths, 16, 3, seed)
    assert all(sum(lengths[i] for i in row) <= 16 for row in rows)
    flat = [index for row in rows for index in row]
    everything = list(range(len(lengths)))
    assert [sorted(flat[i : i + len(lengths)]) for i in range(0, len(flat), len(lengths))] == [everything] * 3
    assert rows == pack_epochs(lengths, 16, 3, seed)


def test_epochs_and_seeds_differ() -> None:
    lengths = [8] * 50
    first, second = (pack_epochs(lengths, 16, 2, seed) for seed in (0, 1))
    assert first[:25] != first[25:]
    assert first != second


def dialogues(seed: int, count: int = 6) -> list[Rendered]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 9, (count,), generator=generator).tolist()
    return [
        Rendered(
            torch.randint(0, 19, (length,), generator=generator).tolist(),
            (torch.rand(length, generator=generator) < 0.6).tolist(),
        )
        for length in lengths
    ]


CONFIG = ModelConfig(dim=8, n_layers=2, n_heads=2, n_kv_heads=1, vocab_size=19, ffn_dim=12, max_seq_len=64)


def sharp_model() -> Transformer:
    """Weights twenty times the usual, so that what a token sees matters. Angles are float32 whatever the dtype."""
    model = new_model(CONFIG, 3).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20.0 if parameter.ndim == 2 else 1.0)
    return model


MODEL = sharp_model()


@pytest.mark.parametrize("seed", range(4))
def test_a_packed_loss_is_the_sum_of_its_dialogues(seed: int) -> None:
    """With masked documents neither neighbours nor fill change a dialogue's loss, nor the gradient."""
    given_dialogues = dialogues(seed)
    rows = pack_epochs([len(d.ids) for d in given_dialogues], 16, 1, seed)
    batch = collate(rows, given_dialogues, batch_size=len(rows) + 1, sequence_length=16, mask_documents=True)
    packed = language_model_loss(MODEL, batch)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for dialogue in given_dialogues:
        ids = torch.tensor([dialogue.ids])
        logprobs = MODEL(ids).log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        mask = torch.tensor(dialogue.loss_mask[1:])
        total = total - logprobs[mask].sum()
        count += int(mask.sum())
    assert packed.count == count
    assert packed.tokens == sum(len(d.ids) for d in given_dialogues)
    torch.testing.assert_close(packed.total, total, rtol=1e-6, atol=0)
    ours = torch.autograd.grad(packed.total, list(MODEL.parameters()))
    theirs = torch.autograd.grad(total, list(MODEL.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_unmasked_documents_see_their_neighbours() -> None:
    given_dialogues = dialogues(0)
    rows = pack_epochs([len(d.ids) for d in given_dialogues], 16, 1, 0)
    losses = [
        language_model_loss(
            MODEL, collate(rows, given_dialogues, batch_size=len(rows), sequence_length=16, mask_documents=masked)
        )
        for masked in (True, False)
    ]
    assert losses[0].count == losses[1].count
    assert abs(losses[0].total.item() - losses[1].total.item()) > 1.0


def test_layout_of_a_row() -> None:
    pair = [Rendered([5, 6, 7], [True, False, True]), Rendered([8, 9], [False, True])]
    batch = collate([[1, 0]], pair, batch_size=2, sequence_length=6, mask_documents=True)
    assert batch.tokens.tolist() == [[8, 9, 5, 6, 7, FILL], [FILL] * 6]
    assert batch.targets[0, :5].tolist() == [9, 5, 6, 7, FILL]
    # 9 and 7 count; 5 opens its dialogue, so it is no target although its mask says so.
    assert batch.loss_mask.tolist() == [[True, False, False, True, False, False], [False] * 6]
    assert batch.attention_mask is not None
    assert batch.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_masked_windows_of_text_have_the_loss_of_their_documents_alone() -> None:
    """Whole documents, one that began before the window, one that goes on after it."""
    eos = 9
    rows = [[3, 4, eos, 5, 6, 7, eos, 1, 2], [eos, 8, eos, 2, 2, 2, 1, 4, 4]]
    batch = window_batch(torch.tensor(rows), eos)
    total = torch.zeros(())
    for row in rows:
        document: list[int] = []
        for place, token in enumerate(row):
            document.append(token)
            if token == eos or place == len(row) - 1:
                logprobs = MODEL(torch.tensor([document])).log_softmax(-1)[0, :-1]
                total = total - logprobs.gather(1, torch.tensor(document)[1:, None]).sum()
                document = []
    found = language_model_loss(MODEL, batch)
    assert found.count == 6 + 6
    torch.testing.assert_close(found.total, total)
    plain = window_batch(torch.tensor(rows))
    assert plain.attention_mask is None
    assert language_model_loss(MODEL, plain).count == 16
