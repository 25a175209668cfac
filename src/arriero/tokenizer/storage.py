"""Tokenizers on disk and from other projects' files.

A tokenizer's folder holds `tokenizer.model` (SentencePiece) or `tokenizer.json` (byte-level BPE), and
`vocabulary.json`, which says which family it is and which ids are control tokens.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_json, write_atomic, write_json
from arriero.containers.gguf import GgufFile
from arriero.errors import ArtifactError, InputError, at
from arriero.tokenizer.bpe import JSON_FILE, ByteLevelTokenizer, build_json
from arriero.tokenizer.jinja_template import token_text
from arriero.tokenizer.sentencepiece import CONTROL, MODEL_FILE, SentencePieceTokenizer, build_model, extended
from arriero.tokenizer.sentencepiece_json import is_sentencepiece, sentencepiece_from_json
from arriero.tokenizer.tokenizer import Tokenizer

VOCABULARY_FILE = "vocabulary.json"
_FAMILIES: dict[str, type[Tokenizer]] = {"sentencepiece": SentencePieceTokenizer, "byte_level": ByteLevelTokenizer}

# What ends a document in pretraining where a chat model's own EOS ends a turn (SmolLM2's is <|im_end|>).
_END_OF_DOCUMENT = "<|endoftext|>"


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


def tokenizer_from_gguf(file: GgufFile) -> Tokenizer:
    """The tokenizer inside a GGUF file: Llama's SentencePiece, or SmolLM2's byte-level BPE. Raises InputError."""
    tokens: list[str] = file.value("tokenizer.ggml.tokens", list)
    kinds: list[int] = file.value("tokenizer.ggml.token_type", list)
    if len(kinds) != len(tokens):
        raise InputError(f"{file.path} names {len(tokens)} tokens but {len(kinds)} token types; fetch it again.")
    family = file.value("tokenizer.ggml.model", str)
    if family == "llama":
        scores: list[float] = file.value("tokenizer.ggml.scores", list)
        if len(scores) != len(tokens):
            raise InputError(f"{file.path} names {len(tokens)} tokens but {len(scores)} scores; fetch it again.")
        return SentencePieceTokenizer(build_model(tokens, scores, kinds))
    splitting = file.metadata.get("tokenizer.ggml.pre")
    if family != "gpt2" or splitting != "smollm":
        raise InputError(
            f"{file.path} has a tokenizer of the kind {family!r} with the splitting {splitting!r}; only Llama's "
            f"SentencePiece ('llama') and SmolLM2's byte-level BPE ('gpt2', 'smollm') are read from GGUF. "
            f"Import the model from its Hugging Face folder instead."
        )
    control = {token: index for index, token in enumerate(tokens) if kinds[index] == CONTROL}
    begin = (
        file.metadata.get("tokenizer.ggml.bos_token_id") if file.metadata.get("tokenizer.ggml.add_bos_token") else None
    )
    end = control.get(_END_OF_DOCUMENT, file.metadata.get("tokenizer.ggml.eos_token_id"))
    if end is None:
        raise InputError(f"{file.path} names no end-of-text token.")
    merges: list[str] = file.value("tokenizer.ggml.merges", list)
    return ByteLevelTokenizer(build_json(tokens, merges, control), bos_id=begin, eos_id=end)


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
    end_id = control.get(_END_OF_DOCUMENT, control.get(token_text(settings.get("eos_token"))))
    if end_id is None:
        raise InputError(f"{folder / 'tokenizer_config.json'} names no eos_token that {JSON_FILE} has.")
    adds_begin = settings.get("add_bos_token", _starts_with_control(spec.get("post_processor") or {}))
    begin_id = control.get(token_text(settings.get("bos_token"))) if adds_begin else None
    return ByteLevelTokenizer(path.read_bytes(), bos_id=begin_id, eos_id=end_id)


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
