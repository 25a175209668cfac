"""Tokenizers on disk and from Hugging Face folders.

A tokenizer's folder holds `tokenizer.model` (SentencePiece) or `tokenizer.json` (byte-level BPE), and
`vocabulary.json`, which says which family it is and which ids are control tokens.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_json, write_atomic, write_json
from arriero.errors import ArtifactError, InputError, at
from arriero.tokenizer.bpe import JSON_FILE, ByteLevelTokenizer, end_of_document
from arriero.tokenizer.jinja_template import token_text
from arriero.tokenizer.llama2c import tokenizer_from_llama2c
from arriero.tokenizer.sentencepiece import CONTROL, MODEL_FILE, SentencePieceTokenizer, extended
from arriero.tokenizer.sentencepiece_json import is_sentencepiece, sentencepiece_from_json
from arriero.tokenizer.tiktoken import tokenizer_from_tiktoken
from arriero.tokenizer.tokenizer import Tokenizer

VOCABULARY_FILE = "vocabulary.json"
_FAMILIES: dict[str, type[Tokenizer]] = {"sentencepiece": SentencePieceTokenizer, "byte_level": ByteLevelTokenizer}

MAX_FILE_BYTES = 16 << 20  # Llama 3's 128,000 tokens have 2 MB


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the tokenizer's files into `folder`."""
    for name, data in tokenizer.files().items():
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
        return SentencePieceTokenizer((folder / MODEL_FILE).read_bytes())
    json_bytes = (folder / JSON_FILE).read_bytes()
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


def tokenizer_from_huggingface(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face model folder: its `tokenizer.model` if it has one, else its `tokenizer.json`.

    Raises InputError if there is neither, or the latter is neither byte-level BPE nor SentencePiece's.
    """
    path, model = folder / JSON_FILE, folder / MODEL_FILE
    if not path.is_file() and not model.is_file():
        raise InputError(f"{folder} holds no tokenizer: neither {MODEL_FILE} nor {JSON_FILE}.")
    spec = read_json(path) if path.is_file() else {}
    if model.is_file():
        return SentencePieceTokenizer(_with_added(model.read_bytes(), spec))
    settings = read_json(folder / "tokenizer_config.json")
    control = {added["content"]: added["id"] for added in spec.get("added_tokens", ()) if added["special"]}
    if is_sentencepiece(spec):
        begin, end = (
            name if name in control else token_text(settings.get(key))
            for name, key in (("<s>", "bos_token"), ("</s>", "eos_token"))
        )
        with at(str(path)):
            return SentencePieceTokenizer(sentencepiece_from_json(spec, begin, end))
    end_id = end_of_document(control, control.get(token_text(settings.get("eos_token"))))
    if end_id is None:
        raise InputError(f"{folder / 'tokenizer_config.json'} names no eos_token that {JSON_FILE} has.")
    adds_begin = settings.get("add_bos_token", _starts_with_control(spec.get("post_processor") or {}))
    begin_id = control.get(token_text(settings.get("bos_token"))) if adds_begin else None
    return ByteLevelTokenizer(path.read_bytes(), bos_id=begin_id, eos_id=end_id)


def tokenizer_from_file(path: Path) -> Tokenizer:
    """A tokenizer that lies alone in a file: llama2.c's `.bin`, Llama 3's (tiktoken), or SentencePiece's `.model`.

    Raises InputError that names the file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"The tokenizer {path} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{path} is no tokenizer: it has more than {MAX_FILE_BYTES} bytes.")
    with at(str(path)):
        if path.suffix == ".bin":
            return tokenizer_from_llama2c(data)
        if re.match(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n", data):
            return tokenizer_from_tiktoken(data)
        return SentencePieceTokenizer(data)


def _with_added(model: bytes, spec: Mapping[str, Any]) -> bytes:
    """A SentencePiece model with the control tokens that were added to it later, in `tokenizer.json` alone."""
    size = SentencePieceTokenizer(model).vocab_size
    later = sorted((added["id"], added["content"]) for added in spec.get("added_tokens", ()) if added["id"] >= size)
    if [token for token, _ in later] != list(range(size, size + len(later))):
        raise InputError(f"The tokens that {JSON_FILE} adds to {MODEL_FILE} do not follow its {size} without a gap.")
    return extended(model, pieces=[(name, CONTROL) for _, name in later]) if later else model


def _starts_with_control(processor: Mapping[str, Any]) -> bool:
    """Whether a `post_processor` puts a control token in front of a text (as Llama 3's does with BOS)."""
    if any(_starts_with_control(part) for part in processor.get("processors", ())):
        return True
    return processor.get("type") == "TemplateProcessing" and "SpecialToken" in next(iter(processor["single"]), {})
