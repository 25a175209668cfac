"""Tokenizers on disk and from Hugging Face folders.

A tokenizer's folder holds `tokenizer.model` (SentencePiece) or `tokenizer.json` (byte-level BPE), and
`vocabulary.json`, which says which family it is and which ids are control tokens. Beside `tokenizer.model` lies a
`tokenizer.json` with the same ids, for other programs.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_bytes, read_json, write_atomic, write_json
from arriero.errors import ArtifactError, InputError, at
from arriero.tokenizer.bpe import JSON_FILE, ByteLevelTokenizer, end_of_document
from arriero.tokenizer.jinja_template import JinjaTemplate, read_settings, template_from_huggingface, token_text
from arriero.tokenizer.llama2c import tokenizer_from_llama2c
from arriero.tokenizer.sentencepiece import MODEL_FILE, SentencePieceTokenizer, extended
from arriero.tokenizer.sentencepiece_json import (
    added_kind,
    is_sentencepiece,
    sentencepiece_from_json,
    sentencepiece_json,
)
from arriero.tokenizer.tiktoken import tokenizer_from_tiktoken
from arriero.tokenizer.tokenizer import Tokenizer

VOCABULARY_FILE = "vocabulary.json"
_FAMILIES: dict[str, type[Tokenizer]] = {"sentencepiece": SentencePieceTokenizer, "byte_level": ByteLevelTokenizer}

MOST_BYTES = 8 << 20  # Llama 3's 128,000 tokens have 2 MB, Gemma's 256,000 pieces 4 MB

_MOST_STORED_BYTES = 1 << 28  # of a file of ours


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the tokenizer's files into `folder`."""
    files = dict(tokenizer.files())
    if isinstance(tokenizer, SentencePieceTokenizer):
        files[JSON_FILE] = sentencepiece_json(tokenizer)
    for name, data in files.items():
        write_atomic(folder / name, data)
    write_json(folder / VOCABULARY_FILE, _summary(tokenizer))


def load_tokenizer(folder: Path) -> Tokenizer:
    """Raises ArtifactError if `folder` holds no tokenizer, or its files do not fit each other."""
    path = folder / VOCABULARY_FILE
    if not path.is_file():
        raise ArtifactError(f"{folder} holds no tokenizer: there is no {VOCABULARY_FILE}.")
    try:
        stored = read_json(path)
        tokenizer = _load_family(folder, stored)
    except (InputError, OSError, KeyError, TypeError) as error:
        raise ArtifactError(f"The tokenizer in {folder} is damaged ({error!s}). Make the artifact again.") from error
    if _summary(tokenizer) != stored:
        raise ArtifactError(f"The tokenizer in {folder} is damaged: {VOCABULARY_FILE} describes another vocabulary.")
    return tokenizer


def _load_family(folder: Path, stored: Mapping[str, Any]) -> Tokenizer:
    if stored["family"] == "sentencepiece":
        return SentencePieceTokenizer(read_bytes(folder / MODEL_FILE, _MOST_STORED_BYTES))
    json_bytes = read_bytes(folder / JSON_FILE, _MOST_STORED_BYTES)
    return ByteLevelTokenizer(json_bytes, bos_id=stored["bos_id"], eos_id=stored["eos_id"])


def _summary(tokenizer: Tokenizer) -> dict[str, Any]:
    family = next(name for name, kind in _FAMILIES.items() if isinstance(tokenizer, kind))
    return {
        "family": family,
        "vocab_size": tokenizer.vocab_size,
        "bos_id": tokenizer.bos_id,
        "eos_id": tokenizer.eos_id,
        "control": dict(tokenizer.control),
    }


def from_huggingface(folder: Path) -> tuple[Tokenizer, JinjaTemplate | None]:
    """The tokenizer and the chat template of a Hugging Face model folder; None if it has no template.

    The tokenizer is `tokenizer.model` if there is one, else `tokenizer.json`. Raises InputError if there is neither, or
    the latter is neither byte-level BPE nor SentencePiece's, or a file is damaged.
    """
    path, model = folder / JSON_FILE, folder / MODEL_FILE
    if not path.is_file() and not model.is_file():
        raise InputError(f"{folder} holds no tokenizer: neither {MODEL_FILE} nor {JSON_FILE}.")
    spec = read_json(path) if path.is_file() else {}
    settings = read_settings(folder)
    return _from_huggingface(folder, spec, settings), template_from_huggingface(folder, spec, settings)


def _from_huggingface(folder: Path, spec: Mapping[str, Any], settings: Mapping[str, Any]) -> Tokenizer:
    if (folder / MODEL_FILE).is_file():
        model = read_bytes(folder / MODEL_FILE, MOST_BYTES)
        with at(str(folder / MODEL_FILE)):
            return SentencePieceTokenizer(_with_added(model, spec))
    control = {added["content"]: added["id"] for added in spec.get("added_tokens", ()) if added["special"]}
    with at(str(folder / JSON_FILE)):
        if is_sentencepiece(spec):
            begin, end = (
                name if name in control else token_text(settings.get(key))
                for name, key in (("<s>", "bos_token"), ("</s>", "eos_token"))
            )
            return SentencePieceTokenizer(sentencepiece_from_json(spec, begin, end))
        end_id = end_of_document(control, control.get(token_text(settings.get("eos_token"))))
        if end_id is None:
            raise InputError(
                "It has no control token that the eos_token of tokenizer_config.json names. Fetch both again."
            )
        adds_begin = settings.get("add_bos_token", _starts_with_control(spec.get("post_processor") or {}))
        begin_id = control.get(token_text(settings.get("bos_token"))) if adds_begin else None
        return ByteLevelTokenizer(spec, bos_id=begin_id, eos_id=end_id)


def tokenizer_from_file(path: Path) -> Tokenizer:
    """A tokenizer that lies alone in a file: llama2.c's `.bin`, Llama 3's (tiktoken), or SentencePiece's `.model`.

    Raises InputError that names the file.
    """
    data = read_bytes(path, MOST_BYTES)
    with at(str(path)):
        if path.suffix == ".bin":
            return tokenizer_from_llama2c(data)
        if re.match(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n", data):
            return tokenizer_from_tiktoken(data)
        return SentencePieceTokenizer(data)


def _with_added(model: bytes, spec: Mapping[str, Any]) -> bytes:
    """A SentencePiece model with the tokens that were added to it later, in `tokenizer.json` alone."""
    size = SentencePieceTokenizer(model).vocab_size
    later = sorted((a for a in spec.get("added_tokens", ()) if a["id"] >= size), key=lambda added: added["id"])
    if [added["id"] for added in later] != list(range(size, size + len(later))):
        raise InputError(f"The tokens that {JSON_FILE} adds to {MODEL_FILE} do not follow its {size} without a gap.")
    return extended(model, pieces=[(a["content"], added_kind(a)) for a in later]) if later else model


def _starts_with_control(processor: Mapping[str, Any]) -> bool:
    """Whether a `post_processor` puts a control token in front of a text (as Llama 3's does with BOS)."""
    if any(_starts_with_control(part) for part in processor.get("processors", ())):
        return True
    return processor.get("type") == "TemplateProcessing" and "SpecialToken" in next(iter(processor["single"]), {})
