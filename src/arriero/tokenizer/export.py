"""A tokenizer as the files of a Hugging Face model folder, which `transformers` reads to the same ids."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.artifacts.files import write_atomic, write_json
from arriero.tokenizer.bpe import JSON_FILE
from arriero.tokenizer.chat_format import ChatFormat
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer
from arriero.tokenizer.sentencepiece_json import sentencepiece_json


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
        files[JSON_FILE] = sentencepiece_json(tokenizer, space_after_control=chat_format.space_after_control)
    for name, data in files.items():
        write_atomic(destination / name, data)
    own: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": tokenizer.names[chat_format.end_of_turn_id],
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_format.jinja(),
        **chat_format.token_names(),
    }
    write_json(destination / "tokenizer_config.json", own | dict(settings or {}))
