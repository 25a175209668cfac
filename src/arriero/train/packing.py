"""Dialogues concatenated until the sequence is full, as rows of one fixed shape.

Source: Llama 2 (arXiv:2307.09288) section 3.1: "we concatenate all the prompts and answers from the training set", with
the loss zeroed on user tokens. How dialogues are chosen for a row is not stated: first-fit in a seeded order, new in
every epoch; nor is whether dialogues in one row see each other: here they do not, unless asked.
Shapes: B rows, T = sequence length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from arriero.tokenizer import Rendered

FILL = 0  # id of the tokens that fill a row up: never seen by a dialogue, never counted


@dataclass(frozen=True)
class TokenBatch:
    """One micro-batch of a language model."""

    tokens: Tensor  # long (B, T)
    targets: Tensor  # long (B, T): the token that follows each of `tokens`
    loss_mask: Tensor  # bool (B, T): True where the target counts in the loss
    attention_mask: Tensor | None = None  # bool (B, 1, T, T), True where a token may attend; None: causal
    trained_tokens: int = 0  # tokens that are not fill

    def to(self, device: str) -> "TokenBatch":
        mask = None if self.attention_mask is None else self.attention_mask.to(device)
        return TokenBatch(
            self.tokens.to(device),
            self.targets.to(device),
            self.loss_mask.to(device),
            mask,
            self.trained_tokens,
        )


def mask_within(documents_BT: Tensor) -> Tensor:
    """(B, 1, T, T): a token may attend to those before it, and to itself, of the document with its number."""
    T = documents_BT.shape[1]
    causal = torch.ones(T, T, dtype=torch.bool, device=documents_BT.device).tril()
    return (documents_BT[:, None, :, None] == documents_BT[:, None, None, :]) & causal


def document_numbers(tokens_BT: Tensor, eos_id: int) -> Tensor:
    """(B, T) long: the number of each token's document in its row, from 0; `eos_id` is the last of each."""
    ends = (tokens_BT == eos_id).long()
    return ends.cumsum(1) - ends


def first_fit(lengths: Sequence[int], order: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of indices into `lengths`: each, in `order`, goes to the first row with room. Every length <= capacity."""
    rows: list[list[int]] = []
    open_rows: list[int] = []  # rows that can still take the shortest one, in order
    room: list[int] = []
    shortest = min(lengths, default=0)
    for index in order:
        length = lengths[index]
        assert 0 < length <= capacity
        place = next((at for at, row in enumerate(open_rows) if room[row] >= length), None)
        if place is None:
            rows.append([])
            room.append(capacity)
            open_rows.append(len(rows) - 1)
            place = len(open_rows) - 1
        row = open_rows[place]
        rows[row].append(index)
        room[row] -= length
        if room[row] < shortest:
            del open_rows[place]
    return rows


def pack_epochs(lengths: Sequence[int], capacity: int, epochs: int, seed: int) -> list[list[int]]:
    """The rows of all epochs, one after the other; each epoch holds every dialogue once, in an order of its own."""
    return [
        row
        for epoch in range(epochs)
        for row in first_fit(lengths, np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist(), capacity)
    ]


def collate(
    rows: Sequence[Sequence[int]],
    dialogues: Sequence[Rendered],
    *,
    batch_size: int,
    sequence_length: int,
    mask_documents: bool,
) -> TokenBatch:
    """(B, T) of the packed rows; B = `batch_size` whatever the number of rows, filled up with rows that count nothing.

    A target counts if its token's `loss_mask` is True and it is not the first of its dialogue.
    """
    assert len(rows) <= batch_size
    shape = (batch_size, sequence_length)
    tokens, counted = torch.full(shape, FILL), torch.zeros(shape, dtype=torch.bool)
    documents = torch.zeros(shape, dtype=torch.long)  # number of the dialogue in its row, 0 is fill
    for b, row in enumerate(rows):
        start = 0
        for number, index in enumerate(row, 1):
            rendered = dialogues[index]
            span = slice(start, start + len(rendered.ids))
            tokens[b, span] = torch.tensor(rendered.ids)
            counted[b, span] = torch.tensor(rendered.loss_mask)
            counted[b, start] = False  # nothing of its own dialogue precedes it
            documents[b, span] = number
            start = span.stop
    mask = mask_within(documents) if mask_documents else None
    ahead = (tokens.roll(-1, 1), counted.roll(-1, 1))  # wraps the row's first token to its end, where it is not counted
    return TokenBatch(tokens, *ahead, mask, int((documents > 0).sum()))
