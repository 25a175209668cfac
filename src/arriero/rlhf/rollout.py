"""What reinforcement learning samples, and the record it keeps of it.

Shapes: B answers, T tokens of prompt and answer (right-padded), R tokens of the longest answer, D model dim, N counted
answer tokens of a batch, row after row. response_mask_BR: True = counts. Position r of an (B, R) tensor is the answer's
token r, its log-probability, and the value of the state in which it was chosen.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from arriero.dialogue import Dialogue, Message, Prompt, Role
from arriero.generation import SamplingConfig, generate
from arriero.model import LoadedModel

T = TypeVar("T")

# Answers sampled or scored at once, and what a killed run repeats at most.
ANSWERS_PER_UNIT = 128


def derive_seed(seed: int, *parts: int | str) -> int:
    """A 32-bit seed for one draw: of a stage's seed and what the draw is for, independent of what was drawn before."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def spread(items: Sequence[T], count: int | None, seed: int) -> list[T]:
    """`count` of the items drawn without replacement, in their order; all of them if there are fewer, or for None."""
    if count is None or count >= len(items):
        return list(items)
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(derive_seed(seed, "spread")))
    return [items[i] for i in sorted(order[:count].tolist())]


def in_units(items: Sequence[T], answers_each: int) -> list[list[T]]:
    """The items in units of about ANSWERS_PER_UNIT answers, at least one item each."""
    size = max(1, ANSWERS_PER_UNIT // answers_each)
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def only_answer_trained(dialogue: Dialogue, answer: str) -> Dialogue:
    """The dialogue with the answer, all earlier assistant turns taken out of the loss."""
    earlier = tuple(Message(m.role, m.content, trained=m.role is not Role.ASSISTANT) for m in dialogue.messages)
    return Dialogue((*earlier, Message(Role.ASSISTANT, answer)))


@dataclass(frozen=True)
class Sample:
    """One sampled answer: all ids that the model chose, the stop id included, and its text.

    `finished`: the model ended it, rather than the limit on new tokens.
    """

    ids: tuple[int, ...]
    text: str
    finished: bool


def sample_answers(
    loaded: LoadedModel, dialogues: Sequence[Dialogue], sampling: SamplingConfig, *, seed: int
) -> list[Sample]:
    """One answer to each dialogue. A dialogue may come several times; its answers then differ."""
    prompts = [loaded.chat_format.render_prompt(dialogue) for dialogue in dialogues]
    completions = generate(loaded.model, prompts, sampling, stop_ids=loaded.chat_format.stop_ids, seed=seed)
    return [
        Sample(c.chosen, loaded.tokenizer.decode(list(c.ids)).strip(), finished=c.stop_id is not None)
        for c in completions
    ]


@dataclass(frozen=True)
class Sampled:
    """Prompts with their sampled answers, as one padded batch."""

    prompts: tuple[Prompt, ...]
    answers: tuple[str, ...]
    tokens_BT: Tensor  # long
    prompt_lengths_B: Tensor  # long
    response_mask_BR: Tensor  # bool

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens of prompt and answer."""
        return self.prompt_lengths_B + self.response_mask_BR.sum(dim=1)


@dataclass(frozen=True)
class Rollout:
    """A batch with all that one PPO update needs of it. `logprobs_BR` and `values_BR` are those before the update."""

    sampled: Sampled
    logprobs_BR: Tensor
    values_BR: Tensor
    advantages_BR: Tensor
    returns_BR: Tensor


@dataclass(frozen=True)
class MicroBatch:
    """Rows of a Sampled, cut to their longest."""

    rows: Tensor  # long: where they stand in the batch
    tokens_BT: Tensor
    prompt_lengths_B: Tensor
    response_mask_BR: Tensor

    def counted_positions(self) -> tuple[Tensor, Tensor]:
        """(row_N, position_N) of the states in which the counted tokens were chosen: one before the tokens."""
        row_N, offset_N = self.response_mask_BR.nonzero(as_tuple=True)
        return row_N, self.prompt_lengths_B[row_N] - 1 + offset_N

    def scattered(self, values_N: Tensor) -> Tensor:
        """(B, R) with the counted positions filled and zero elsewhere."""
        filled_BR = torch.zeros(self.response_mask_BR.shape, dtype=values_N.dtype, device=values_N.device)
        return filled_BR.masked_scatter(self.response_mask_BR, values_N)


def collate(prompts: Sequence[Prompt], prompt_ids: Sequence[Sequence[int]], samples: Sequence[Sample]) -> Sampled:
    """Pads prompts and answers to one batch. An answer's stop id counts: to end was the policy's choice too."""
    answers = [s.ids for s in samples]
    assert all(answers)
    rows = [(*prompt, *answer) for prompt, answer in zip(prompt_ids, answers, strict=True)]
    width, longest = max(map(len, rows)), max(map(len, answers))
    tokens_BT = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    lengths_B = torch.tensor([len(answer) for answer in answers])
    return Sampled(
        tuple(prompts),
        tuple(s.text for s in samples),
        tokens_BT,
        torch.tensor([len(p) for p in prompt_ids]),
        torch.arange(longest)[None, :] < lengths_B[:, None],
    )


def mini_batches(sampled: Sampled, mini_batch_size: int, micro_batch_size: int, seed: int) -> list[list[MicroBatch]]:
    """The batch in mini-batches drawn without replacement, each in micro-batches of like length.

    Cut once for a rollout: log-probabilities before and after an update then come from the same padded shapes, so that
    rounding does not move the first mini-batch's ratios from one.
    """
    order = torch.randperm(len(sampled), generator=torch.Generator().manual_seed(seed))
    lengths_B = sampled.lengths
    batches = []
    for mini in torch.split(order, mini_batch_size):
        by_length = mini[torch.argsort(lengths_B[mini], stable=True)]
        batches.append([_micro_batch(sampled, rows) for rows in torch.split(by_length, micro_batch_size)])
    return batches


def _micro_batch(sampled: Sampled, rows: Tensor) -> MicroBatch:
    width = int(sampled.lengths[rows].max())
    return MicroBatch(
        rows, sampled.tokens_BT[rows, :width], sampled.prompt_lengths_B[rows], sampled.response_mask_BR[rows]
    )
