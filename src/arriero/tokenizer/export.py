"""A tokenizer as the files of a Hugging Face model folder, which `transformers` reads to the same ids."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.artifacts.files import write_atomic, write_json
from arriero.tokenizer.bpe import JSON_FILE, added_token
from arriero.tokenizer.chat_format import ChatFormat
from arriero.tokenizer.sentencepiece import NORMAL, SentencePieceTokenizer

_SPACE = "\u2581"
_SPACE_ALWAYS = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": _SPACE},
        {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
    ],
}
_SPACE_FIRST = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "first", "split": False}


def export_huggingface_tokenizer(
    chat_format: ChatFormat, destination: Path, settings: Mapping[str, Any] | None = None
) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json` (with the chat template), and SentencePiece's own model.

    `settings` go into `tokenizer_config.json`, over what would stand there.
    `transformers` puts Llama's BOS in front of plain text unless asked not to, and, unlike Arriero, takes the name of
    a control token in a text for the token.
    """
    tokenizer = chat_format.tokenizer
    files = dict(tokenizer.files())
    if isinstance(tokenizer, SentencePieceTokenizer):
        files[JSON_FILE] = _sentencepiece_json(tokenizer, chat_format.space_after_control)
    for name, data in files.items():
        write_atomic(destination / name, data)
    names = {token: name for name, token in tokenizer.control.items()}
    own: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": names[chat_format.end_of_turn_id],
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_format.jinja(),
        **chat_format.token_names(),
    }
    write_json(destination / "tokenizer_config.json", own | dict(settings or {}))


def _sentencepiece_json(tokenizer: SentencePieceTokenizer, space_after_control: bool) -> bytes:
    """SentencePiece BPE in the terms of the `tokenizers` library: scores become an order of merges."""
    pieces = tokenizer.scored_pieces()
    names = {token: name for name, token in tokenizer.control.items()}
    unknown = pieces[0][0] if 0 in names else None
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(name, token) for token, name in sorted(names.items())],
        "normalizer": _SPACE_ALWAYS if space_after_control else None,
        "pre_tokenizer": None if space_after_control else _SPACE_FIRST,
        "post_processor": None if tokenizer.bos_id is None else _bos_first(names[tokenizer.bos_id], tokenizer.bos_id),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: index for index, (piece, _, _) in enumerate(pieces)},
            "merges": _merges(pieces),
        },
    }
    return json.dumps(spec, ensure_ascii=False).encode("utf-8")


def _merges(pieces: list[tuple[str, float, int]]) -> list[list[str]]:
    """Every way to join two pieces into a third, the best score of the third first."""
    ids = {piece: index for index, (piece, _, kind) in enumerate(pieces) if kind == NORMAL}
    ranked: list[tuple[float, int, int, int, str, str]] = []
    for piece, index in ids.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                ranked.append((-pieces[index][1], index, ids[left], ids[right], left, right))
    return [[left, right] for *_, left, right in sorted(ranked)]


def _bos_first(name: str, token: int) -> dict[str, Any]:
    bos = {"SpecialToken": {"id": name, "type_id": 0}}
    text = [{"Sequence": {"id": which, "type_id": 0}} for which in "AB"]
    return {
        "type": "TemplateProcessing",
        "single": [bos, text[0]],
        "pair": [bos, *text],
        "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]}},
    }
