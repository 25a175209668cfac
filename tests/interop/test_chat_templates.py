"""Models' own chat templates give the ids that `transformers` gives, where no message holds a control token's name."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

import chat_templates
from arriero.containers.gguf import GgufFile
from arriero.dialogue import Dialogue, Message, Role
from arriero.tokenizer import LLAMA3 as LLAMA3_TEMPLATE
from arriero.tokenizer import ChatFormat, JinjaTemplate, Tokenizer, template_from_gguf, tokenizer_from_gguf
from arriero.tokenizer.bpe import ByteLevelTokenizer
from arriero.tokenizer.sentencepiece import CONTROL, SentencePieceTokenizer, extended
from reference_tokenizer import exported, template_ids

LLAMA = {"bos_token": "<s>", "eos_token": "</s>"}
CHATML = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
LLAMA3 = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
KINDS = {  # whether there may be a system message
    "smollm2": True,
    "smollm2 with zephyr's": True,
    "reasoning": True,
    "llama3": True,
    "llama3 without a template": True,
    "llama2": True,
    "llama2 with zephyr's": True,
    "tinyllama": True,
    "llama2 with added tokens": True,
    "mistral": False,
}


def llama3_tokenizer(smollm2: Tokenizer) -> ByteLevelTokenizer:
    """SmolLM2's vocabulary with Llama 3's control tokens and splitting."""
    spec: dict[str, Any] = json.loads(smollm2.files()["tokenizer.json"])
    for added, name in zip(spec["added_tokens"], LLAMA3, strict=False):
        spec["model"]["vocab"][name] = spec["model"]["vocab"].pop(added["content"])
        added["content"] = name
    split = {"type": "Split", "pattern": {"Regex": LLAMA3_WORDS}, "behavior": "Isolated", "invert": False}
    spell = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, spell]}
    return ByteLevelTokenizer(json.dumps(spec).encode(), bos_id=0, eos_id=3)


def bound(kind: str, request: pytest.FixtureRequest) -> ChatFormat:
    def own(tokenizer: Tokenizer, text: str, names: dict[str, str], *, space: bool = True) -> ChatFormat:
        return ChatFormat("template", tokenizer, template=JinjaTemplate(text, names, space))

    if kind in ("smollm2", "smollm2 with zephyr's", "reasoning", "llama3", "llama3 without a template"):
        file: GgufFile = request.getfixturevalue("smollm2_file")
        smollm2 = tokenizer_from_gguf(file)
        if kind == "smollm2":
            found = template_from_gguf(file)
            assert found == JinjaTemplate(chat_templates.SMOLLM2, CHATML)
            return ChatFormat("template", smollm2, template=found)
        if kind == "llama3 without a template":
            return own(llama3_tokenizer(smollm2), LLAMA3_TEMPLATE.text, dict(LLAMA3_TEMPLATE.names))
        if kind == "llama3":
            names = {"bos_token": LLAMA3[0], "eos_token": LLAMA3[3]}
            return own(llama3_tokenizer(smollm2), chat_templates.LLAMA3, names)
        return own(smollm2, chat_templates.REASONING if kind == "reasoning" else chat_templates.ZEPHYR, CHATML)
    llama2: SentencePieceTokenizer = request.getfixturevalue("llama2")
    if kind == "llama2 with added tokens":
        added = extended(llama2.files()["tokenizer.model"], pieces=[("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL)])
        return own(SentencePieceTokenizer(added), chat_templates.SMOLLM2, LLAMA)
    text = {"llama2": chat_templates.LLAMA2, "mistral": chat_templates.MISTRAL}.get(kind, chat_templates.ZEPHYR)
    return own(llama2, text, LLAMA, space=kind != "tinyllama")


@pytest.fixture(scope="module", params=KINDS)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ChatFormat, PreTrainedTokenizerBase]:
    """A kind, its format, and our export of it in transformers."""
    chat_format = bound(request.param, request)
    return request.param, chat_format, exported(chat_format, tmp_path_factory.mktemp("exported"))


FRAGMENTS = [
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "'s",
    " The",
    "12",
    "½",
    "é",
    "e\u0301",
    "日本",
    "🙂",
    "\U000f0000",
    "(",
    "!!",
]
TEXT = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)), max_size=8
).map("".join)
# Prompt and answer are encoded apart, which shows where an answer starts with white space or punctuation.
ANSWER = TEXT.map("So".__add__) | TEXT.map("I think</think>\n\nSo".__add__)


@settings(max_examples=60)
@given(texts=st.lists(st.tuples(TEXT, ANSWER), min_size=1, max_size=3), system=st.none() | TEXT)
def test_ids_equal_transformers(
    case: tuple[str, ChatFormat, PreTrainedTokenizerBase], texts: list[tuple[str, str]], system: str | None
) -> None:
    kind, chat_format, reference = case
    opening = [Message(Role.SYSTEM, system)] if system is not None and KINDS[kind] else []
    turns = [
        Message(role, text) for pair in texts for role, text in zip((Role.USER, Role.ASSISTANT), pair, strict=True)
    ]
    dialogue, prompt = Dialogue((*opening, *turns)), Dialogue((*opening, *turns[:-1]))
    assert chat_format.render(dialogue).ids == template_ids(reference, dialogue)
    assert chat_format.render_prompt(prompt) == template_ids(reference, prompt, prompt=True)


def test_the_default_system_text_is_exported(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    smollm2 = bound("smollm2", request)
    source = JinjaTemplate(chat_templates.SMOLLM2, CHATML)
    mine = ChatFormat("template", smollm2.tokenizer, "Say \"é\" \\ 'x'\n🙂", source)
    dialogue = Dialogue((Message(Role.USER, "Hi"), Message(Role.ASSISTANT, "Ho")))
    assert template_ids(exported(mine, tmp_path), dialogue) == mine.render(dialogue).ids
