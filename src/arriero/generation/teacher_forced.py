"""One pass over texts that are there already: log-probabilities of responses, hidden states at the last token.

Rows are sorted by length and read in batches of a bounded number of tokens, padded at the right.
Shapes: B rows of a batch, T tokens, D dim, V vocabulary.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from arriero.generation.cache import Continuation, Recorder
from arriero.generation.engine import WIDTH, pad_right, rounded
from arriero.generation.prefixes import Group, shared_prefixes
from arriero.model import Transformer

# Tokens read in one pass, padding included.
TOKEN_BUDGET = 2048
# Positions whose logits are held at once.
LOGIT_ROWS = 512


def length_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of rows in batches of like length, shortest first: at most `budget` tokens with padding, or one row."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and rounded(lengths[index], WIDTH) * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@torch.no_grad()
def last_hidden(model: Transformer, rows: Sequence[Sequence[int]]) -> Tensor:
    """Hidden state (after the final norm) at each row's last token, (n, D) in float32. No row may be empty.

    Rows that begin alike, as several answers to one prompt do, have their common beginning read once.
    """
    if not all(rows):
        raise ValueError("every row needs at least one token")
    result = torch.empty(len(rows), model.config.dim, device=model.device)
    groups = shared_prefixes(rows)
    alone = [group.members[0] for group in groups if not group.shared]
    for batch in length_batches([len(rows[i]) for i in alone], TOKEN_BUDGET):
        members = [alone[i] for i in batch]
        tokens_BT = pad_right([rows[i] for i in members], model.device)
        result[members] = _at_ends(model.hidden(tokens_BT), [len(rows[i]) for i in members])
    families = [group for group in groups if group.shared]
    for batch in length_batches([group.shared for group in families], TOKEN_BUDGET):
        _continue_families(model, rows, [families[i] for i in batch], result)
    return result


def _continue_families(
    model: Transformer, rows: Sequence[Sequence[int]], families: Sequence[Group], result_ND: Tensor
) -> None:
    """Reads the families' common beginnings, then the rest of each row; puts the rows' last states into `result_ND`."""
    prefixes = [rows[family.members[0]][: family.shared] for family in families]
    tokens_UP = pad_right(prefixes, model.device)
    recorder = Recorder(tokens_UP)
    model.hidden(tokens_UP, cache=recorder)
    sources = [(source, member) for source, family in enumerate(families) for member in family.members]
    rests = [rows[member][len(prefixes[source]) :] for source, member in sources]
    for batch in length_batches([len(rest) for rest in rests], TOKEN_BUDGET):
        tokens_BT = pad_right([rests[i] for i in batch], model.device)
        sources_B = torch.tensor([sources[i][0] for i in batch], device=model.device)
        lengths_B = torch.tensor([len(prefixes[sources[i][0]]) for i in batch], device=model.device)
        view = Continuation(recorder.read, sources_B, lengths_B, tokens_BT)
        hidden_BTD = model.hidden(tokens_BT, cache=view, attention_mask=view.attention_mask)
        result_ND[[sources[i][1] for i in batch]] = _at_ends(hidden_BTD, [len(rests[i]) for i in batch])


def _at_ends(hidden_BTD: Tensor, lengths: Sequence[int]) -> Tensor:
    """The state at each row's last token, (B, D) in float32."""
    ends_B = torch.tensor(lengths, device=hidden_BTD.device) - 1
    return hidden_BTD[torch.arange(len(lengths), device=hidden_BTD.device), ends_B].float()


@torch.no_grad()
def response_logprobs(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    temperature: float = 1.0,
) -> list[Tensor]:
    """log p(token | what precedes it) of every response token at the given temperature: float32, (length,) each.

    No prompt may be empty; a response may be. To compare with a model in training, call it on that model under the
    same autocast.
    """
    if not all(prompts):
        raise ValueError("every prompt needs at least one token")
    rows = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    result: list[Tensor] = [torch.empty(0)] * len(rows)
    for batch in length_batches([len(row) for row in rows], TOKEN_BUDGET):
        hidden_BTD = model.hidden(pad_right([rows[i] for i in batch], model.device))
        # The hidden state at position t predicts the token at t + 1.
        states = torch.cat([hidden_BTD[b, len(prompts[i]) - 1 : len(rows[i]) - 1] for b, i in enumerate(batch)])
        tokens = torch.tensor([token for i in batch for token in responses[i]], dtype=torch.long, device=model.device)
        parts = [
            token_logprobs(model.logits(some) / temperature, wanted)
            for some, wanted in zip(torch.split(states, LOGIT_ROWS), torch.split(tokens, LOGIT_ROWS), strict=True)
        ]
        found = torch.split(torch.cat(parts), [len(responses[i]) for i in batch])
        for i, logprobs in zip(batch, found, strict=True):
            result[i] = logprobs.clone()
    return result


def token_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """log softmax(logits)[token], float32: (..., V) and (...) give (...)."""
    logits = logits.float()
    return logits.gather(-1, tokens[..., None])[..., 0] - logits.logsumexp(-1)
