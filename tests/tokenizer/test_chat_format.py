"""Dialogues to ids: the tags as written, the mask on answers alone, prompts as prefixes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.dialogue import Dialogue, Message, Role, first_user
from arriero.errors import ArtifactError, InputError
from arriero.tokenizer import ChatFormat, Rendered, Tokenizer, load_chat_format, save_chat_format
from arriero.tokenizer.bpe import ByteLevelTokenizer
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer


@pytest.fixture(scope="session")
def llama2(sentencepiece_tokenizer: SentencePieceTokenizer) -> ChatFormat:
    return ChatFormat("llama2", sentencepiece_tokenizer)


@pytest.fixture(scope="session")
def chatml(byte_level_tokenizer: ByteLevelTokenizer) -> ChatFormat:
    return ChatFormat("chatml", byte_level_tokenizer)


@pytest.fixture(scope="session", params=["llama2", "chatml"])
def chat_format(request: pytest.FixtureRequest) -> ChatFormat:
    found: ChatFormat = request.getfixturevalue(request.param)
    return found


def spelled(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The ids' text with control tokens by name."""
    names = {token: name for name, token in tokenizer.control.items()}
    return b"".join(names[t].encode() if t in names else tokenizer.piece(t) for t in ids).decode()


def trained_text(chat_format: ChatFormat, rendered: Rendered) -> str:
    counted = [token for token, counts in zip(rendered.ids, rendered.loss_mask, strict=True) if counts]
    return spelled(chat_format.tokenizer, counted)


TWO_TURNS = Dialogue(
    (
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.USER, " Hello? "),
        Message(Role.ASSISTANT, "Yes.", trained=False),
        Message(Role.USER, "Bye"),
        Message(Role.ASSISTANT, "Bye!"),
    )
)


def test_llama2_as_written(llama2: ChatFormat) -> None:
    rendered = llama2.render(TWO_TURNS)
    # SentencePiece puts one space before each encoded text.
    assert spelled(llama2.tokenizer, rendered.ids) == (
        "<s> [INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello? [/INST] Yes. </s><s> [INST] Bye [/INST] Bye! </s>"
    )
    assert trained_text(llama2, rendered) == " Bye! </s>"
    assert llama2.stop_ids == {2}


def test_chatml_as_written(chatml: ChatFormat) -> None:
    rendered = chatml.render(TWO_TURNS)
    assert spelled(chatml.tokenizer, rendered.ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hello? <|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nBye!<|im_end|>\n"
    )
    assert trained_text(chatml, rendered) == "Bye!<|im_end|>"
    assert chatml.stop_ids == {0, 2}


def test_default_system(llama2: ChatFormat, chatml: ChatFormat) -> None:
    prompt = first_user("Hi")
    assert spelled(llama2.tokenizer, llama2.render_prompt(prompt)) == "<s> [INST] Hi [/INST]"
    assert spelled(chatml.tokenizer, chatml.render_prompt(prompt)) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    for chat_format, system in ((llama2, "<<SYS>>\nX\n<</SYS>>"), (chatml, "system\nX<|im_end|>")):
        with_default = ChatFormat(chat_format.name, chat_format.tokenizer, default_system="X")
        assert system in spelled(chat_format.tokenizer, with_default.render_prompt(prompt))
        assert with_default.render_prompt(first_user("Hi", "Y")) == chat_format.render_prompt(first_user("Hi", "Y"))
    silent = ChatFormat("chatml", chatml.tokenizer, default_system="")
    assert spelled(chatml.tokenizer, silent.render_prompt(prompt)).startswith("<|im_start|>user")


PIECES = st.sampled_from([" ", "\n", "a", "word", "<s>", "</s>", "<|im_end|>", "<|im_start|>assistant\n", "é", "7"])
CONTENT = st.lists(PIECES, max_size=6).map("".join)


@given(
    turns=st.lists(CONTENT, min_size=1, max_size=5).filter(lambda t: len(t) % 2 == 1), answer=CONTENT, system=CONTENT
)
def test_a_prompt_is_a_prefix_and_the_answer_alone_is_trained(
    chat_format: ChatFormat, turns: list[str], answer: str, system: str
) -> None:
    roles = (Role.USER, Role.ASSISTANT)
    messages = [Message(roles[i % 2], text, trained=False) for i, text in enumerate(turns)]
    dialogue = Dialogue((Message(Role.SYSTEM, system), *messages))
    prompt = chat_format.render_prompt(dialogue)
    rendered = chat_format.render(dialogue.with_answer(answer))
    assert len(rendered.ids) == len(rendered.loss_mask)
    assert rendered.ids[: len(prompt)] == prompt
    expected = f" {answer.strip()} </s>" if chat_format.name == "llama2" else f"{answer}<|im_end|>"
    assert trained_text(chat_format, rendered) == expected
    assert sum(rendered.loss_mask[: len(prompt)]) == 0
    # Structure alone makes control ids: as many as there are turns, whatever the texts say.
    control = [token for token in rendered.ids if token in set(chat_format.tokenizer.control.values())]
    shown = len(turns) + 1 + (chat_format.name == "chatml" and system != "")
    assert len(control) == (len(turns) + 1 if chat_format.name == "llama2" else 2 * shown)


@given(user=CONTENT, answer=CONTENT, system=CONTENT)
def test_llama2_equals_encoding_each_turn_as_one_text(llama2: ChatFormat, user: str, answer: str, system: str) -> None:
    encode = llama2.tokenizer.encode
    opening = f"<<SYS>>\n{system.strip()}\n<</SYS>>\n\n" if system.strip() else ""
    whole = f"[INST] {opening}{user.strip()} [/INST] {answer.strip()} "
    assert llama2.render(first_user(user, system or None).with_answer(answer)).ids == [1, *encode(whole), 2]


@pytest.mark.parametrize("tag", ["[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"])
def test_llama2_refuses_its_tags(llama2: ChatFormat, chatml: ChatFormat, tag: str) -> None:
    for dialogue in (first_user(f"hello {tag} world"), first_user("hello", f"be {tag}")):
        with pytest.raises(InputError, match=r"own tag .*\[?.* near '"):
            llama2.render_prompt(dialogue)
        chatml.render_prompt(dialogue)
    llama2.render(first_user("hello").with_answer(f"a model may say {tag}"))


def test_wrong_ends(chat_format: ChatFormat) -> None:
    with pytest.raises(InputError, match="must end with an answer"):
        chat_format.render(first_user("Hi"))
    with pytest.raises(InputError, match="must end with a message of the user"):
        chat_format.render_prompt(first_user("Hi").with_answer("Ho"))


def test_formats_that_do_not_fit(llama2: ChatFormat, chatml: ChatFormat) -> None:
    with pytest.raises(InputError, match="chatml, llama2"):
        ChatFormat("alpaca", llama2.tokenizer)
    with pytest.raises(InputError, match="needs a SentencePiece tokenizer"):
        ChatFormat("llama2", chatml.tokenizer)
    with pytest.raises(InputError, match=r"lacks <\|im_start\|>, <\|im_end\|>"):
        ChatFormat("chatml", llama2.tokenizer)


def test_saved_and_loaded(chat_format: ChatFormat, tmp_path: Path) -> None:
    mine = ChatFormat(chat_format.name, chat_format.tokenizer, "Speak.")
    save_chat_format(mine, tmp_path)
    loaded = load_chat_format(tmp_path, mine.tokenizer)
    assert (loaded.name, loaded.default_system) == (mine.name, "Speak.")
    assert loaded.render(TWO_TURNS) == mine.render(TWO_TURNS)
    (tmp_path / "chat.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"chat\.json"):
        load_chat_format(tmp_path, mine.tokenizer)
