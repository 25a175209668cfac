"""Text to ids and back, and the one place where dialogues become ids."""

from arriero.tokenizer.chat_format import ChatFormat, Rendered, load_chat_format, save_chat_format, without_tags
from arriero.tokenizer.export import export_huggingface_tokenizer
from arriero.tokenizer.gguf import gguf_vocabulary, tokenizer_from_gguf
from arriero.tokenizer.jinja_template import JinjaTemplate, template_from_gguf, template_from_huggingface
from arriero.tokenizer.storage import (
    load_tokenizer,
    save_tokenizer,
    tokenizer_from_file,
    tokenizer_from_huggingface,
)
from arriero.tokenizer.tiktoken import tiktoken_file
from arriero.tokenizer.tokenizer import StreamDecoder, Tokenizer

__all__ = [
    "ChatFormat",
    "JinjaTemplate",
    "Rendered",
    "StreamDecoder",
    "Tokenizer",
    "export_huggingface_tokenizer",
    "gguf_vocabulary",
    "load_chat_format",
    "load_tokenizer",
    "save_chat_format",
    "save_tokenizer",
    "template_from_gguf",
    "template_from_huggingface",
    "tiktoken_file",
    "tokenizer_from_file",
    "tokenizer_from_gguf",
    "tokenizer_from_huggingface",
    "without_tags",
]
