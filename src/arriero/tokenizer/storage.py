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
from arriero.tokenizer.llama2c import tokenizer_from_llama2c
from arriero.tokenizer.sentencepiece import MODEL_FILE, SentencePieceTokenizer
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

    Raises InputError if there is neither, or the latter is of another family than byte-level BPE.
    """
    if (folder / MODEL_FILE).is_file():
        return SentencePieceTokenizer((folder / MODEL_FILE).read_bytes())
    path = folder / JSON_FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no tokenizer: neither {MODEL_FILE} nor {JSON_FILE}.")
    settings = read_json(folder / "tokenizer_config.json")
    control = {added["content"]: added["id"] for added in read_json(path).get("added_tokens", ()) if added["special"]}
    end = end_of_document(control, control.get(_token_name(settings.get("eos_token"))))
    if end is None:
        raise InputError(f"{folder / 'tokenizer_config.json'} names no eos_token that {JSON_FILE} has.")
    begin = control.get(_token_name(settings.get("bos_token"))) if settings.get("add_bos_token") else None
    return ByteLevelTokenizer(path.read_bytes(), bos_id=begin, eos_id=end)


def _token_name(entry: Any) -> str:
    """A token in `tokenizer_config.json` is its text, or an object with its text."""
    return str(entry["content"]) if isinstance(entry, dict) else str(entry)


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
