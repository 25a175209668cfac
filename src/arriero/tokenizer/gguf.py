"""A tokenizer in a GGUF file's metadata, as llama.cpp reads it to the same ids.

Names and types: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and llama.cpp's `llama-vocab.cpp`.
"""

import json
from typing import Any

from arriero.containers.gguf import GgufFile
from arriero.dialogue import first_user
from arriero.errors import InputError
from arriero.tokenizer.bpe import JSON_FILE, ByteLevelTokenizer, build_json, end_of_document
from arriero.tokenizer.chat_format import ChatFormat
from arriero.tokenizer.sentencepiece import (
    CONTROL,
    LITERAL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    SentencePieceTokenizer,
    build_model,
)
from arriero.tokenizer.splitting import SPLITTINGS, splitting_name
from arriero.tokenizer.tokenizer import Tokenizer

# Other names of the same splittings (llama-vocab.cpp).
_ALIASES = {"llama3": "llama-bpe", "llama-v3": "llama-bpe", "gpt2": "gpt-2", "deepseek-r1-qwen": "qwen2"}
# What llama.cpp does where a file does not say whether a document starts with BOS.
_BOS_UNLESS_TOLD = ("llama-bpe",)
# Parts of a `tokenizer.json` that change ids and have no place in GGUF, with the value that changes nothing.
_NEUTRAL = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}


def tokenizer_from_gguf(file: GgufFile) -> Tokenizer:
    """The tokenizer inside a GGUF file: Llama's SentencePiece, or byte-level BPE of a known splitting.

    Unused tokens at the vocabulary's end are left out. Raises InputError if it is another tokenizer, or incomplete.
    """
    tokens: list[str] = file.value("tokenizer.ggml.tokens", list)
    kinds: list[int] = _beside_tokens(file, "token_type", tokens)
    used = max((index + 1 for index, kind in enumerate(kinds) if kind != UNUSED), default=0)
    family = file.value("tokenizer.ggml.model", str)
    if family == "llama":
        if file.metadata.get("tokenizer.ggml.add_space_prefix") is False:
            raise InputError(
                f"{file.path} has a SentencePiece tokenizer without the space in front, which is not supported. "
                f"Choose another model."
            )
        scores: list[float] = _beside_tokens(file, "scores", tokens)
        return SentencePieceTokenizer(build_model(tokens[:used], scores[:used], kinds[:used]))
    named = file.metadata.get("tokenizer.ggml.pre")
    splitting = _ALIASES.get(named, named) if isinstance(named, str) else None
    if family != "gpt2" or splitting not in SPLITTINGS:
        raise InputError(
            f"{file.path} has a tokenizer of the kind {family!r} with the splitting {named!r}; only Llama's "
            f"SentencePiece ('llama') and byte-level BPE ('gpt2') with the splitting {', '.join(sorted(SPLITTINGS))} "
            f"are read from GGUF. Import the model from its Hugging Face folder instead."
        )
    return _byte_level(file, tokens[:used], kinds[:used], splitting)


def _beside_tokens(file: GgufFile, key: str, tokens: list[str]) -> list[Any]:
    """An array with an entry for each token."""
    found: list[Any] = file.value(f"tokenizer.ggml.{key}", list)
    if len(found) != len(tokens):
        raise InputError(f"{file.path} names {len(tokens)} tokens but {len(found)} of {key}; fetch it again.")
    return found


def _byte_level(file: GgufFile, tokens: list[str], kinds: list[int], splitting: str) -> ByteLevelTokenizer:
    control = {token: index for index, token in enumerate(tokens) if kinds[index] in (CONTROL, UNKNOWN, UNUSED)}
    literal = {token: index for index, token in enumerate(tokens) if kinds[index] == LITERAL}
    adds_bos = file.metadata.get("tokenizer.ggml.add_bos_token", splitting in _BOS_UNLESS_TOLD)
    bos_id = file.value("tokenizer.ggml.bos_token_id", int) if adds_bos else None
    eos_id = end_of_document(control, file.metadata.get("tokenizer.ggml.eos_token_id"))
    if eos_id is None:
        raise InputError(f"{file.path} names no end-of-text token.")
    merges: list[str] = file.value("tokenizer.ggml.merges", list)
    spec = build_json(tokens, merges, control, literal=literal, splitting=splitting)
    return ByteLevelTokenizer(spec, bos_id=bos_id, eos_id=eos_id)


def gguf_vocabulary(chat_format: ChatFormat, vocab_size: int) -> dict[str, Any]:
    """The metadata that gives llama.cpp the tokenizer, its chat template and where an answer ends.

    `vocab_size`: rows of the model's embedding; those beyond the tokenizer's get names that no text yields. EOS is
    the token that ends a turn: it is what llama.cpp stops on. BOS is added where chats begin with it: llama.cpp has
    one rule for chats and plain text. Raises InputError on a tokenizer that llama.cpp lacks.
    """
    tokenizer = chat_format.tokenizer
    if isinstance(tokenizer, SentencePieceTokenizer):
        found = _sentencepiece_entries(tokenizer, vocab_size)
    else:
        assert isinstance(tokenizer, ByteLevelTokenizer)
        found = _byte_level_entries(tokenizer, vocab_size)
    # A model without BOS: GPT-2's custom, what ends a document stands for it, and is not added.
    bos_id = tokenizer.eos_id if tokenizer.bos_id is None else tokenizer.bos_id
    return found | {
        "tokenizer.ggml.bos_token_id": bos_id,
        "tokenizer.ggml.eos_token_id": chat_format.end_of_turn_id,
        "tokenizer.ggml.eot_token_id": chat_format.end_of_turn_id,
        "tokenizer.ggml.padding_token_id": chat_format.end_of_turn_id,
        "tokenizer.ggml.add_bos_token": chat_format.render_prompt(first_user("Hello"))[0] == tokenizer.bos_id,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": chat_format.jinja(),
    }


def _sentencepiece_entries(tokenizer: SentencePieceTokenizer, vocab_size: int) -> dict[str, Any]:
    pieces = tokenizer.scored_pieces()
    pieces += [(name, 0.0, UNUSED) for name in _padding(len(pieces), vocab_size)]
    entries = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [piece for piece, _, _ in pieces],
        "tokenizer.ggml.scores": [score for _, score, _ in pieces],
        "tokenizer.ggml.token_type": [kind for _, _, kind in pieces],
        "tokenizer.ggml.add_space_prefix": True,
    }
    unknown = [index for index, (_, _, kind) in enumerate(pieces) if kind == UNKNOWN]
    return entries | ({"tokenizer.ggml.unknown_token_id": unknown[0]} if unknown else {})


def _padding(tokens: int, vocab_size: int) -> list[str]:
    return [f"[PAD{index}]" for index in range(tokens, vocab_size)]


def _byte_level_entries(tokenizer: ByteLevelTokenizer, vocab_size: int) -> dict[str, Any]:
    spec = json.loads(tokenizer.files()[JSON_FILE])
    model = spec["model"]
    splitting = splitting_name(spec)
    if splitting is None or any(model.get(key) not in (neutral, "") for key, neutral in _NEUTRAL.items()):
        raise InputError(
            f"The tokenizer splits or merges text in a way that has no name in GGUF; those written here are "
            f"{', '.join(sorted(SPLITTINGS))}. Export with `--to hf` instead."
        )
    tokens, kinds = _padding(0, vocab_size), [UNUSED] * vocab_size
    for token, index in model["vocab"].items():
        tokens[index], kinds[index] = token, NORMAL
    for added in spec["added_tokens"]:
        tokens[added["id"]], kinds[added["id"]] = added["content"], CONTROL if added["special"] else LITERAL
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": splitting,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
    }
