"""A model's own chat template as its files bring it: the text, and what the text relies on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_bytes, read_json
from arriero.containers.gguf import GgufFile
from arriero.errors import InputError

_NAMED = ("bos_token", "eos_token")
_MOST_BYTES = 2 << 20  # of the settings or a template; Llama 3.1's have 56 kB


@dataclass(frozen=True)
class JinjaTemplate:
    """A chat template with what a model's files say beside it.

    names: the text of the control tokens that it calls `bos_token` and `eos_token`
    space_after_control: whether a SentencePiece tokenizer puts its space in front of every text between control tokens
        (SentencePiece itself, and `Prepend` in a `tokenizer.json`), or only at the start of the whole (`Metaspace`
        with the scheme `first`)
    """

    text: str
    names: Mapping[str, str]
    space_after_control: bool = True


# Llama 3's chats without the date and tools of later templates: `ChatFormat` in llama3/tokenizer.py of Meta's release.
LLAMA3 = JinjaTemplate(
    "{{- bos_token -}}{%- for message in messages -%}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim -}}"
    "{{- '<|eot_id|>' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}",
    {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
)
LLAMA3_CONTROL = frozenset({"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"})


def template_from_gguf(file: GgufFile) -> JinjaTemplate | None:
    """The template in the file's metadata; None if it has none."""
    text = file.metadata.get("tokenizer.chat_template")
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(text, str) or not isinstance(tokens, list):
        return None
    ids = {name: file.metadata.get(f"tokenizer.ggml.{name}_id") for name in _NAMED}
    names = {name: tokens[index] for name, index in ids.items() if isinstance(index, int) and 0 <= index < len(tokens)}
    return JinjaTemplate(text, names)


def template_from_huggingface(
    folder: Path, tokenizer_json: Mapping[str, Any], settings: Mapping[str, Any]
) -> JinjaTemplate | None:
    """The template, which lies in a file of its own or in the tokenizer's settings; None if there is none.

    Raises InputError if a file is damaged.
    """
    own = folder / "chat_template.jinja"
    try:
        text = read_bytes(own, _MOST_BYTES).decode("utf-8") if own.is_file() else settings.get("chat_template")
    except UnicodeDecodeError as error:
        raise InputError(f"{own} is not UTF-8: {error}. Fetch it again.") from None
    if isinstance(text, list):  # several by name
        text = next((entry.get("template") for entry in text if entry.get("name") == "default"), None)
    if not isinstance(text, str):
        return None
    names = {name: token_text(settings[name]) for name in _NAMED if settings.get(name) is not None}
    splitting = tokenizer_json.get("pre_tokenizer") or {}
    first = splitting.get("type") == "Metaspace" and splitting.get("prepend_scheme") == "first"
    return JinjaTemplate(text, names, space_after_control=not first)


def read_settings(folder: Path) -> dict[str, Any]:
    """What `tokenizer_config.json` holds; empty if there is none."""
    path = folder / "tokenizer_config.json"
    found = read_json(path, most_bytes=_MOST_BYTES) if path.is_file() else {}
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object. Fetch it again.")
    return found


def token_text(entry: Any) -> str:
    """A token in `tokenizer_config.json` is its text, or an object with its text."""
    return str(entry["content"]) if isinstance(entry, dict) else str(entry)
