"""Trains the tokenizer: SentencePiece BPE by Llama 2's recipe, on a bounded sample of the corpus.

Source: RECIPE section 1; Llama 2 (arXiv:2307.09288) section 2.2: BPE from SentencePiece, every digit alone, unknown
characters in bytes. Sample size and line length are not in the paper; BPE training is slow on long lines, so both are
bounded here.
"""

import heapq
import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from sentencepiece import SentencePieceTrainer

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.config import config, setting
from arriero.corpus import texts
from arriero.errors import InputError
from arriero.tokenizer.chat_format import ChatFormat, save_chat_format
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer
from arriero.tokenizer.storage import save_tokenizer


@config
class TokenizerConfig:
    """How large a vocabulary, learnt from how much text."""

    vocab_size: int = setting(32_000, "entries of the vocabulary (paper: 32,000)", ge=260, le=1 << 20)
    max_sentences: int = setting(200_000, "lines to learn from, drawn evenly (not in the paper)", unit="lines", ge=1)
    max_sentence_bytes: int = setting(4192, "a longer line is cut here (not in the paper)", unit="bytes", ge=16)
    seed: int = setting(0, "seed of the draw of lines", ge=0)


def train_sentencepiece(lines: list[str], vocab_size: int) -> bytes:
    """A SentencePiece model's bytes; equal lines give equal bytes. Raises InputError if the text cannot fill it."""
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            split_digits=True,
            byte_fallback=True,
            allow_whitespace_only_pieces=True,
            character_coverage=0.99995,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,
            unk_surface=" \u2047 ",
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            max_sentence_length=1 << 24,  # the lines are cut already
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(_why_not(str(error), vocab_size)) from error
    return model.getvalue()


def _why_not(message: str, vocab_size: int) -> str:
    """The library's message in the user's terms."""
    if most := re.search(r"set it to a value <= (\d+)", message):
        return (
            f"The corpus is too small for a vocabulary of {vocab_size}: it yields at most {most[1]} entries. "
            f"Set vocab_size to {most[1]} or less, or add text."
        )
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"A vocabulary of {vocab_size} cannot hold the corpus's characters, the 256 bytes and the control tokens. "
            f"Set vocab_size to {least[1]} or more."
        )
    return f"SentencePiece could not learn a vocabulary of {vocab_size}: {message}."


def sample_lines(batches: Iterator[list[str]], config: TokenizerConfig) -> list[str]:
    """`max_sentences` lines, drawn evenly and in the corpus's order; memory is bounded by the sample."""
    rng = np.random.default_rng(config.seed)

    def keyed() -> Iterator[tuple[float, int, str]]:
        index = 0
        for batch in batches:
            lines = [line for text in batch for line in text.split("\n") if line and not line.isspace()]
            for key, line in zip(rng.random(len(lines)).tolist(), lines, strict=True):
                yield key, index, _cut(line, config.max_sentence_bytes)
                index += 1

    chosen = heapq.nsmallest(config.max_sentences, keyed())
    return [line for _, _, line in sorted(chosen, key=lambda entry: entry[1])]


def _cut(line: str, most: int) -> str:
    if len(line) * 4 <= most:  # a character has at most four bytes
        return line
    return line.encode("utf-8")[:most].decode("utf-8", errors="ignore")


def _bytes_per_token(tokenizer: SentencePieceTokenizer, batches: Iterator[list[str]]) -> float | None:
    bytes_, tokens = 0, 0
    for batch in batches:
        bytes_ += sum(len(text.encode("utf-8")) for text in batch)
        tokens += sum(len(ids) for ids in tokenizer.encode_batch(batch))
    return bytes_ / tokens if tokens else None


def _run(config: TokenizerConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    corpus = inputs.one("corpus").path
    with context.progress(3, "steps") as progress:
        lines = sample_lines(texts(corpus, "train"), config)
        if not lines:
            raise InputError("The corpus holds no text to learn a tokenizer from: every document was dropped or empty.")
        progress.advance(lines=len(lines))
        context.check_stop()
        tokenizer = SentencePieceTokenizer(train_sentencepiece(lines, config.vocab_size))
        progress.advance()
        save_tokenizer(tokenizer, context.out)
        save_chat_format(ChatFormat("llama2", tokenizer), context.out)
        heldout = _bytes_per_token(tokenizer, texts(corpus, "heldout"))
        progress.advance()
    return {
        "vocab_size": tokenizer.vocab_size,
        "sentences": len(lines),
        "sentence_bytes": sum(len(line.encode("utf-8")) for line in lines),
        "bytes_per_token_heldout": heldout,
    }


STAGE = Stage("tokenizer.train", TokenizerConfig, (Input("corpus", "corpus"),), "tokenizer", _run)
