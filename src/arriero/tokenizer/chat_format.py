"""Dialogues to ids: the one place where turns get their tags and control tokens.

llama2 (RECIPE section 11): every finished turn is BOS + "[INST] {user} [/INST] {answer} " + EOS; the system text opens
the first user message; contents are stripped. The tags are plain text, so user text that holds them is refused.
chatml (SmolLM2's own): "<|im_start|>{role}\\n{content}<|im_end|>\\n" with control tokens, which no text can yield.
template: the model's own Jinja template (`chat_template.py`); no text can yield its control tokens, nor those that it
writes for roles and that a text could yield. A text of user or system that holds a tag which it writes in plain text is
refused.

The answer is encoded apart from the prompt, as a model meets it when it continues the prompt. Only an answer that
starts with white space could have other ids if prompt and answer were encoded together.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_json, write_json
from arriero.dialogue import Dialogue, Message, Role
from arriero.errors import ArtifactError, InputError
from arriero.tokenizer.chat_template import ChatTemplate
from arriero.tokenizer.jinja_template import JinjaTemplate
from arriero.tokenizer.tokenizer import Tokenizer

CHAT_FILE = "chat.json"

# The system prompt where a dialogue has none. Llama 2's was removed after its release, to cut false refusals.
DEFAULT_SYSTEM = {
    "llama2": "",
    "chatml": "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
    "template": "",  # the template has its own, or none
}

_LLAMA2_TAGS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")
_TURN_START, _TURN_END = "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class Rendered:
    """A dialogue as ids; `loss_mask` is True on the tokens of trained answers, their end-of-turn token included."""

    ids: list[int]
    loss_mask: list[bool]


class ChatFormat:
    """A chat format bound to a tokenizer.

    No message makes a control token, nor a token for a role that a template writes. Tags in plain text ("[INST]",
    "USER:") are no tokens of their own: where they are distinctive, a sign and three characters at least, texts of user
    and system that hold them are refused, as written and no other spelling; an assistant's text may hold them.

    stop_ids: the ids that end an answer when sampling
    end_of_turn_id: the one of them that ends each answer in `render`
    Raises InputError if the name is unknown or the tokenizer lacks the control tokens that the format needs.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        default_system: str | None = None,
        template: JinjaTemplate | None = None,
        more_stop_ids: Iterable[int] = (),
    ) -> None:
        """`default_system`: the system text of dialogues without one; None: the format's own; "": no system text.

        `template`: what the format "template" renders, and no other has. `more_stop_ids`: what else ends an answer of
        the model.
        """
        if name not in DEFAULT_SYSTEM:
            raise InputError(f"There is no chat format {name!r}; choose one of {', '.join(sorted(DEFAULT_SYSTEM))}.")
        self.name = name
        self.tokenizer = tokenizer
        self.default_system = DEFAULT_SYSTEM[name] if default_system is None else default_system
        self._template: ChatTemplate | None = None
        if name == "template":
            if template is None:
                raise InputError(f"The chat format template needs a Jinja template. {_advice(tokenizer)}")
            self._template = ChatTemplate(template, tokenizer)
            self.end_of_turn_id = self._template.end_of_turn_id
        elif name == "llama2":
            if tokenizer.bos_id is None or not tokenizer.leading_space:
                raise InputError(
                    f"The chat format llama2 needs a SentencePiece tokenizer with BOS. {_advice(tokenizer)}"
                )
            self.end_of_turn_id = tokenizer.eos_id
        else:
            missing = [token for token in (_TURN_START, _TURN_END) if token not in tokenizer.control]
            if missing:
                raise InputError(
                    f"The chat format chatml needs the control tokens {_TURN_START} and {_TURN_END}; the tokenizer "
                    f"lacks {', '.join(missing)}. {_advice(tokenizer)}"
                )
            self.end_of_turn_id = tokenizer.control[_TURN_END]
        self.stop_ids = frozenset({self.end_of_turn_id, tokenizer.eos_id, *more_stop_ids})

    def render(self, dialogue: Dialogue) -> Rendered:
        """A whole dialogue. Raises InputError unless it ends with an answer, or if a text holds the format's tags.

        The ids start with `render_prompt` of the dialogue without its last answer.
        """
        if dialogue.messages[-1].role is not Role.ASSISTANT:
            raise InputError("A dialogue to train on or to score must end with an answer of the assistant.")
        return self._render(dialogue)

    def render_prompt(self, dialogue: Dialogue) -> list[int]:
        """Ids up to where the assistant's text starts. Raises InputError unless the last turn is the user's."""
        if dialogue.messages[-1].role is not Role.USER:
            raise InputError("A prompt must end with a message of the user.")
        return self._render(dialogue).ids

    def _render(self, dialogue: Dialogue) -> Rendered:
        rendered = Rendered([], [])
        system = self.default_system if dialogue.system is None else dialogue.system
        turns = [message for message in dialogue.messages if message.role is not Role.SYSTEM]
        if self._template is not None:
            # What the template makes of an empty system message is its own affair.
            opening = [Message(Role.SYSTEM, system)] if system or dialogue.system is not None else []
            for message in (*opening, *turns):
                if message.role is not Role.ASSISTANT:
                    without_tags(message.content, self._template.tags)
            for ids, counts in self._template.pieces([*opening, *turns]):
                _add(rendered, ids, counts)
            return rendered
        (self._llama2 if self.name == "llama2" else self._chatml)(rendered, system, turns)
        return rendered

    def _llama2(self, out: Rendered, system: str, turns: Sequence[Message]) -> None:
        bos, eos = self.tokenizer.bos_id, self.tokenizer.eos_id
        assert bos is not None
        opening = f"<<SYS>>\n{without_tags(system).strip()}\n<</SYS>>\n\n" if system.strip() else ""
        for message in turns:
            if message.role is Role.USER:
                prompt = f"[INST] {opening}{without_tags(message.content).strip()} [/INST]"
                _add(out, [bos, *self.tokenizer.encode(prompt)], False)
                opening = ""
            else:
                # The tokenizer itself puts the space in front that parts the answer from the tag.
                _add(out, [*self.tokenizer.encode(f"{message.content.strip()} "), eos], message.trained)

    def _chatml(self, out: Rendered, system: str, turns: Sequence[Message]) -> None:
        start, end = self.tokenizer.control[_TURN_START], self.tokenizer.control[_TURN_END]
        encode = self.tokenizer.encode
        between = encode("\n")
        if system:
            _add(out, [start, *encode(f"system\n{system}"), end, *between], False)
        for message in turns:
            if message.role is Role.USER:
                _add(out, [start, *encode(f"user\n{message.content}"), end, *between], False)
                _add(out, [start, *encode("assistant\n")], False)
            else:
                _add(out, [*encode(message.content), end], message.trained)
                _add(out, between, False)

    def jinja(self) -> str:
        """The format as the Jinja template that `transformers` keeps in `chat_template`."""
        default = json.dumps(self.default_system, ensure_ascii=False)
        if self._template is not None:
            opening = _SYSTEM_JINJA.replace("DEFAULT", default) if self.default_system else ""
            return opening + self._template.source.text
        return (_LLAMA2_JINJA if self.name == "llama2" else _CHATML_JINJA).replace("DEFAULT", default)

    def token_names(self) -> dict[str, str]:
        """What `jinja` means by `bos_token` and `eos_token`."""
        names = self.tokenizer.names
        begin = {} if self.tokenizer.bos_id is None else {"bos_token": names[self.tokenizer.bos_id]}
        own = {} if self._template is None else self._template.source.names
        return begin | {"eos_token": names[self.end_of_turn_id]} | dict(own)

    @property
    def space_after_control(self) -> bool:
        """Whether a SentencePiece tokenizer puts its space in front of a text that follows a control token."""
        return self._template is None or self._template.source.space_after_control

    def to_json(self) -> dict[str, Any]:
        template = {} if self._template is None else {"template": asdict(self._template.source)}
        more = sorted(self.stop_ids - {self.end_of_turn_id, self.tokenizer.eos_id})
        further = {"more_stop_ids": more} if more else {}
        return {"name": self.name, "default_system": self.default_system} | template | further


def fitting(tokenizer: Tokenizer) -> str | None:
    """The format of ours whose control tokens the tokenizer has; None if it has those of none."""
    if tokenizer.bos_id is not None and tokenizer.leading_space:
        return "llama2"
    return "chatml" if {_TURN_START, _TURN_END} <= tokenizer.control.keys() else None


def _advice(tokenizer: Tokenizer) -> str:
    fits = fitting(tokenizer)
    return f"Use {fits}." if fits else "Use the model's own (chat_format = own)."


def _add(out: Rendered, ids: list[int], counts: bool) -> None:
    out.ids.extend(ids)
    out.loss_mask.extend([counts] * len(ids))


def without_tags(text: str, tags: Iterable[str] = _LLAMA2_TAGS) -> str:
    """The text of a user or system message. Raises InputError if it holds a tag, which would pass for a turn's."""
    found = [tag for tag in tags if tag in text]
    if found:
        around = text[max(0, text.index(found[0]) - 30) :]
        raise InputError(f"A message holds the chat format's own tag {found[0]}, near {around!r:.80}. Remove the tag.")
    return text


def save_chat_format(chat_format: ChatFormat, folder: Path) -> None:
    """Writes `chat.json` into `folder`."""
    write_json(folder / CHAT_FILE, chat_format.to_json())


def load_chat_format(folder: Path, tokenizer: Tokenizer) -> ChatFormat:
    """Raises ArtifactError if `folder` holds no chat format that fits the tokenizer."""
    path = folder / CHAT_FILE
    try:
        stored = read_json(path)
        template = JinjaTemplate(**stored["template"]) if "template" in stored else None
        more = stored.get("more_stop_ids", ())
        return ChatFormat(stored["name"], tokenizer, stored["default_system"], template, more)
    except (InputError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is missing or damaged ({error!s}). Make the artifact again.") from error


# The turns of `_llama2` and `_chatml`, for other programs. DEFAULT is the default system text as a string literal.
_SYSTEM_JINJA = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{%- set messages = [{'role': 'system', 'content': DEFAULT}] + messages -%}{%- endif -%}"
)
_LLAMA2_JINJA = (
    "{%- set ns = namespace(system=DEFAULT) -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{%- set ns.system = message['content'] -%}"
    "{%- elif message['role'] == 'user' -%}"
    "{{- bos_token + '[INST] ' -}}"
    "{%- if ns.system | trim -%}{{- '<<SYS>>\\n' + ns.system | trim + '\\n<</SYS>>\\n\\n' -}}{%- endif -%}"
    "{{- message['content'] | trim + ' [/INST]' -}}"
    "{%- set ns.system = '' -%}"
    "{%- else -%}{{- ' ' + message['content'] | trim + ' ' + eos_token -}}{%- endif -%}"
    "{%- endfor -%}"
)
_CHATML_JINJA = (
    "{%- if messages[0]['role'] != 'system' and DEFAULT -%}"
    "{{- '<|im_start|>system\\n' + DEFAULT + '<|im_end|>\\n' -}}{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] != 'system' or message['content'] -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
