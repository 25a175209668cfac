"""Sampling many answers at once.

Rows of a fixed KV cache are streams. Prompts wait in a queue, longest first; whenever enough rows are free the next
prompts are read in one pass and take them. All active rows then advance by one token a step, and a finished row gives
its place to the last active one, so that the active rows are always the first ones.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from arriero.dialogue import Dialogue
from arriero.errors import InputError
from arriero.generation.cache import Continuation, KVCache, Layers, Recorder
from arriero.generation.graph import DecodeGraph
from arriero.generation.prefixes import common_prefix
from arriero.generation.sampling import SamplingConfig, choose, row_uniforms
from arriero.model import LoadedModel, Transformer

# Slots of the cache are rounded up to the first, widths of padded batches to the second.
SLOTS = 32
WIDTH = 8
# A beginning that all prompts share, such as a system prompt, is read once if it has this many tokens.
SHARED = 8
# Prompt tokens read in one pass, and the share of rows that must be free before waiting prompts are read.
PREFILL_TOKENS = 2048
REFILL_SHARE = 8
# On a GPU, answers of at least so many tokens are worth recording a step, which takes as long as a few of them.
RECORDED = 8


@dataclass(frozen=True)
class Completion:
    """An answer's ids, and the stop id that ended it: None where max_new_tokens cut it off."""

    ids: tuple[int, ...]
    stop_id: int | None

    @property
    def chosen(self) -> tuple[int, ...]:
        """All that the model chose: the ids and, if it ended the answer, the stop id."""
        return self.ids if self.stop_id is None else (*self.ids, self.stop_id)


@dataclass
class _Row:
    """One active stream: which prompt it answers, and what it has said."""

    index: int
    ids: list[int] = field(default_factory=list)


def rounded(length: int, multiple: int) -> int:
    """`length` rounded up to a multiple."""
    return -(-length // multiple) * multiple


def pad_right(rows: Sequence[Sequence[int]], device: torch.device, length: int | None = None) -> Tensor:
    """(B, T) long: rows padded with id 0 to `length`, or else to the longest one's rounded length.

    Causal attention needs no mask.
    """
    width = length or rounded(max(map(len, rows)), WIDTH)
    return torch.tensor([[*row, *([0] * (width - len(row)))] for row in rows], device=device)


@torch.inference_mode()
def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    *,
    stop_ids: Collection[int],
    seed: int,
    streams: int = 64,
) -> list[Completion]:
    """One completion for each prompt, in order. A function of (model, prompts, sampling, seed, streams).

    Row i draws from (seed, i): to sample one prompt K times, give it K times (it is read once). Raises InputError if
    a prompt is empty, or too long for the model with the new tokens.
    """
    _check(model, prompts, sampling)
    if not prompts:
        return []
    return _Engine(model, prompts, sampling, frozenset(stop_ids), seed, min(streams, len(prompts))).run()


def _check(model: Transformer, prompts: Sequence[Sequence[int]], sampling: SamplingConfig) -> None:
    room = model.config.max_seq_len - sampling.max_new_tokens
    for index, prompt in enumerate(prompts):
        if not 0 < len(prompt) <= room:
            raise InputError(
                f"Prompt {index} has {len(prompt)} tokens; with {sampling.max_new_tokens} new ones it must have 1 to "
                f"{room}, for the model's {model.config.max_seq_len}. Shorten it, or lower max_new_tokens."
            )


class _Engine:
    """One call of `generate`."""

    def __init__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingConfig,
        stop_ids: frozenset[int],
        seed: int,
        streams: int,
    ) -> None:
        self.model, self.prompts, self.sampling, self.stop_ids, self.seed = model, prompts, sampling, stop_ids, seed
        # Popped from the end: longest first, equal prompts together.
        self.queue = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), list(prompts[i]), -i))
        self.cache = KVCache(model.config, streams, SLOTS, dtype=model.dtype, device=model.device)
        self.streams = streams
        self.rows: list[_Row] = []
        self.last_R = torch.zeros(streams, dtype=torch.long)
        self.position_R = torch.zeros(streams, dtype=torch.long)
        self.uniforms_RT = torch.zeros(streams, sampling.max_new_tokens, dtype=torch.float64)
        self.done: dict[int, Completion] = {}
        self.graph: DecodeGraph | None = None
        self.prefix = list(prompts[0])[: self._shared()]
        self.prefix_read: Layers = self._read_prefix()

    def _shared(self) -> int:
        """Length of the beginning that all prompts share; each keeps a token of its own, whose logits are needed."""
        low, high = min(map(list, self.prompts)), max(map(list, self.prompts))
        shared = min(common_prefix(low, high), min(map(len, self.prompts)) - 1)
        return shared if shared >= SHARED and len(self.prompts) > 1 else 0

    def _read_prefix(self) -> Layers:
        if not self.prefix:
            return []
        tokens_1T = torch.tensor([self.prefix], device=self.model.device)
        recorder = Recorder(tokens_1T)
        self.model.hidden(tokens_1T, cache=recorder)
        return recorder.read

    def run(self) -> list[Completion]:
        while self.queue or self.rows:
            free = self.streams - len(self.rows)
            if self.queue and free >= min(len(self.queue), max(1, self.streams // REFILL_SHARE)):
                self.admit()
            else:
                self.step()
        return [self.done[index] for index in range(len(self.prompts))]

    def admit(self) -> list[int]:
        """Reads the next prompts, as many as fit in the free rows and in one pass; returns their first tokens."""
        first, device = len(self.rows), self.model.device
        taken, distinct, sources = self._next_prompts(self.streams - first)
        start = len(self.prefix)
        tokens_BT = pad_right([prompt[start:] for prompt in distinct], device)
        sources_N = torch.tensor(sources, device=device)
        ends_B = torch.tensor([len(prompt) - 1 - start for prompt in distinct], device=device)
        if self.prefix:
            zeros = torch.zeros_like(ends_B)
            reader: Recorder = Continuation(self.prefix_read, zeros, zeros + start, tokens_BT)
        else:
            reader = Recorder(tokens_BT)
        hidden_BTD = self.model.hidden(tokens_BT, cache=reader, attention_mask=reader.attention_mask)
        self._fit(start + tokens_BT.shape[1])
        if self.prefix:
            self.cache.fill(first, torch.zeros_like(sources_N), 0, self.prefix_read)
        self.cache.fill(first, sources_N, start, reader.read)
        for row, index in enumerate(taken, first):
            self.rows.append(_Row(index))
            self.position_R[row] = len(self.prompts[index]) - 1
            self.uniforms_RT[row] = torch.from_numpy(row_uniforms(self.seed, index, self.sampling.max_new_tokens))
        logits_BV = self.model.logits(hidden_BTD[torch.arange(len(distinct), device=device), ends_B])
        return self._accept(first, logits_BV[sources_N])

    def _next_prompts(self, free: int) -> tuple[list[int], list[Sequence[int]], list[int]]:
        """(indices of the prompts taken from the queue, the distinct ones among them, which of these each is)."""
        taken: list[int] = []
        distinct: list[Sequence[int]] = []
        sources: list[int] = []
        while self.queue and len(taken) < free:
            prompt = self.prompts[self.queue[-1]]
            if not distinct or list(prompt) != list(distinct[-1]):
                if distinct and len(distinct[0]) * (len(distinct) + 1) > PREFILL_TOKENS:
                    break
                distinct.append(prompt)
            taken.append(self.queue.pop())
            sources.append(len(distinct) - 1)
        return taken, distinct, sources

    def step(self) -> list[int]:
        """One token for every active row; returns those that are not stop ids."""
        active, device = len(self.rows), self.model.device
        positions_B = self.position_R[:active]
        self._fit(int(positions_B.max()) + 1)
        if device.type == "cuda" and self.sampling.max_new_tokens >= RECORDED:
            return self._accept(0, self._replayed()[:active])
        view = self.cache.decode(positions_B.to(device))
        last_B1 = self.last_R[:active, None].to(device)
        hidden_B1D = self.model.hidden(last_B1, cache=view, attention_mask=view.attention_mask)
        return self._accept(0, self.model.logits(hidden_B1D[:, 0]))

    def _replayed(self) -> Tensor:
        """The logits of all rows, those without a stream among them."""
        positions_R = self.position_R.clone()
        positions_R[len(self.rows) :] = 0
        if self.graph is None or not self.graph.fits(self.cache):
            self.graph = DecodeGraph(self.model, self.cache, self.last_R, positions_R)
        return self.graph(self.last_R, positions_R)

    def _fit(self, needed: int) -> None:
        """Gives the cache the slots that it needs, and takes them back when it has far too many."""
        needed = max([needed, *(self.position_R[: len(self.rows)] + 1).tolist()])
        slots = rounded(needed, SLOTS)
        if not slots <= self.cache.slots <= slots + SLOTS:
            self.cache.resize(slots, len(self.rows))

    def _accept(self, first: int, logits_BV: Tensor) -> list[int]:
        """Chooses the next token of the rows from `first` on; rows that end make room."""
        said_B = torch.tensor([len(row.ids) for row in self.rows[first:]])
        uniforms_B = self.uniforms_RT[first : first + len(said_B)].gather(1, said_B[:, None])[:, 0]
        chosen_B = choose(logits_BV, uniforms_B.to(logits_BV.device), self.sampling).cpu()
        self.last_R[first : first + len(said_B)] = chosen_B
        self.position_R[first : first + len(said_B)] += 1
        spoken: list[int] = []
        for row, token in reversed(list(enumerate(chosen_B.tolist(), first))):
            state = self.rows[row]
            if token in self.stop_ids:
                self._finish(row, token)
                continue
            spoken.append(token)
            state.ids.append(token)
            if len(state.ids) == self.sampling.max_new_tokens:
                self._finish(row, None)
        return spoken

    def _finish(self, row: int, stop_id: int | None) -> None:
        state = self.rows[row]
        self.done[state.index] = Completion(tuple(state.ids), stop_id)
        last = self.rows.pop()
        if last is not state:
            self.rows[row] = last
            moved = len(self.rows)
            self.cache.move(moved, row)
            for tensor in (self.last_R, self.position_R, self.uniforms_RT):
                tensor[row] = tensor[moved]


@torch.inference_mode()
def stream(
    model: Transformer, prompt_ids: Sequence[int], sampling: SamplingConfig, *, stop_ids: Collection[int], seed: int
) -> Iterator[int]:
    """The tokens of one answer as they come, without the stop id: those that `generate` gives the lone prompt."""
    _check(model, [prompt_ids], sampling)
    engine = _Engine(model, [prompt_ids], sampling, frozenset(stop_ids), seed, 1)
    yield from engine.admit()
    while engine.rows:
        yield from engine.step()


def answer(loaded: LoadedModel, dialogues: Sequence[Dialogue], sampling: SamplingConfig, *, seed: int) -> list[str]:
    """The assistant's next turn in each dialogue (whose last turn is the user's), as text."""
    prompts = [loaded.chat_format.render_prompt(dialogue) for dialogue in dialogues]
    completions = generate(loaded.model, prompts, sampling, stop_ids=loaded.chat_format.stop_ids, seed=seed)
    return [loaded.tokenizer.decode(list(completion.ids)).strip() for completion in completions]
