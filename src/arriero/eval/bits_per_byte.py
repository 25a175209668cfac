"""Held-out bits per byte: how well a model predicts text, in a unit that no tokenizer can flatter.

The paper shows training loss only (figure 5); bits per byte is the field's practice. A document is read from a start
token on, in windows of the context's length that share `overlap` tokens; each token is counted once, with at least
`overlap` tokens before it from the second window on. The end of a document is not predicted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arriero.corpus import batches
from arriero.errors import InputError
from arriero.generation import response_logprobs
from arriero.model import LoadedModel


@dataclass(frozen=True)
class Document:
    """A held-out text, perhaps cut short; `module` is what it documents (whole modules are held out)."""

    id: str
    module: str
    text: str

    @property
    def bytes(self) -> int:
        return len(self.text.encode())


@dataclass(frozen=True)
class Window:
    """Tokens [start, counted) are read and [counted, end) predicted; token 0 is the start token."""

    start: int
    counted: int
    end: int


def heldout_documents(
    corpus: Path, total_bytes: int, document_bytes: int, seed: int, source: str | None = None
) -> list[Document]:
    """Held-out documents of a corpus, or of one source, in an order drawn by `seed`, until `total_bytes` are reached.

    Each is cut to `document_bytes` at a character's boundary, so that many documents are seen and none outweighs the
    rest. Raises InputError if there is no text.
    """
    rows = sorted(
        (row["id"], row["module"], row["text"].encode()[:document_bytes])
        for batch in batches(corpus, "heldout", ["id", "source", "module", "text"])
        for row in batch.to_pylist()
        if source in (None, row["source"])
    )
    order = np.random.default_rng(seed).permutation(len(rows))
    documents: list[Document] = []
    left = total_bytes
    for index in order:
        id, module, encoded = rows[index]
        text = encoded[:left].decode(errors="ignore")
        if text.strip():
            documents.append(Document(id, module, text))
            left -= documents[-1].bytes
        if left <= 0:
            break
    if not documents:
        raise InputError(
            f"{corpus} has no held-out text, so there is nothing to measure bits per byte on. Hold out more."
        )
    return documents


def windows(tokens: int, context: int, overlap: int) -> list[Window]:
    """Windows of at most `context` tokens in which each of the tokens 1 .. tokens - 1 is counted once.

    Raises ValueError unless 1 <= overlap < context.
    """
    if not 1 <= overlap < context:
        raise ValueError(f"overlap must be at least 1 and below the context of {context} tokens, got {overlap}")
    found, counted = [], 1
    while counted < tokens:
        start = max(0, counted - overlap)
        end = min(tokens, start + context)
        found.append(Window(start, counted, end))
        counted = end
    return found


def document_bits(loaded: LoadedModel, texts: Sequence[str], context: int, overlap: int) -> list[float]:
    """-log2 p(text) of each text under the model. Both lengths are cut to what the model was made for."""
    tokenizer = loaded.tokenizer
    start_id = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    context = min(context, loaded.config.max_seq_len)
    prompts: list[list[int]] = []
    responses: list[list[int]] = []
    owners: list[int] = []
    for owner, ids in enumerate(tokenizer.encode_batch(list(texts))):
        tokens = [start_id, *ids]
        for window in windows(len(tokens), context, min(overlap, context - 1)):
            prompts.append(tokens[window.start : window.counted])
            responses.append(tokens[window.counted : window.end])
            owners.append(owner)
    bits = [0.0] * len(texts)
    for owner, logprobs_T in zip(owners, response_logprobs(loaded.model, prompts, responses), strict=True):
        bits[owner] -= float(logprobs_T.double().sum()) / math.log(2)
    return bits
