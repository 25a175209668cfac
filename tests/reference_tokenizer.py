"""Our tokenizers' exports as `transformers` reads them."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from arriero.dialogue import Dialogue
from arriero.tokenizer import ChatFormat, export_huggingface_tokenizer


def jsonlike(dialogue: Dialogue) -> list[dict[str, str]]:
    return [{"role": str(m.role), "content": m.content} for m in dialogue.messages]


def exported(chat_format: ChatFormat, folder: Path) -> PreTrainedTokenizerBase:
    export_huggingface_tokenizer(chat_format, folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')  # as in a model's folder
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return found


def plain_ids(reference: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = reference(text, add_special_tokens=False)["input_ids"]
    return ids


def template_ids(
    reference: PreTrainedTokenizerBase, dialogue: Dialogue, template: str | None = None, prompt: bool = False
) -> list[int]:
    ids: list[int] = reference.apply_chat_template(
        jsonlike(dialogue), chat_template=template, add_generation_prompt=prompt, tokenize=True, return_dict=False
    )
    return ids
