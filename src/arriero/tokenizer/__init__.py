"""Text to ids and back, and the one place where dialogues become ids."""

from arriero.tokenizer.chat_format import (
    ChatFormat,
    Rendered,
    fitting,
    load_chat_format,
    save_chat_format,
    without_tags,
)
from arriero.tokenizer.export import export_huggingface_tokenizer
from arriero.tokenizer.gguf import gguf_vocabulary, tokenizer_from_gguf
from arriero.tokenizer.jinja_template import LLAMA3, LLAMA3_CONTROL, JinjaTemplate, template_from_gguf
from arriero.tokenizer.storage import from_huggingface, load_tokenizer, save_tokenizer, tokenizer_from_file
from arriero.tokenizer.tiktoken import tiktoken_file
from arriero.tokenizer.tokenizer import StreamDecoder, Tokenizer

__all__ = [
    "LLAMA3",
    "LLAMA3_CONTROL",
    "ChatFormat",
    "JinjaTemplate",
    "Rendered",
    "StreamDecoder",
    "Tokenizer",
    "export_huggingface_tokenizer",
    "fitting",
    "from_huggingface",
    "gguf_vocabulary",
    "load_chat_format",
    "load_tokenizer",
    "save_chat_format",
    "save_tokenizer",
    "template_from_gguf",
    "tiktoken_file",
    "tokenizer_from_file",
    "tokenizer_from_gguf",
    "without_tags",
]
