"""A model's own Jinja chat template: dialogues to ids, with control tokens from the template's text alone.

A template writes text, in which a control token is its name; a message that holds such a name must not become one. So
the template is rendered with a placeholder (a private-use character) in every message's place, between the message's
own leading and trailing white space. Control tokens are looked for in that text, which holds nothing of what the
messages say; then the messages are filled in, and the text between two control tokens is encoded as plain text.

Some vocabularies hold the names of roles as tokens that a text yields (`Tokenizer.literal`). Those that the template
writes are structure, too: a dialogue is refused if its messages add one. What a template writes in plain text before a
message ("USER:") is made of tokens that any text has; it is refused in the messages of user and system alone.

A template that looks into the messages (DeepSeek's and Qwen's cut what comes before `</think>` out of earlier answers)
writes something else with the messages themselves. That text is taken if it has the same control tokens in the same
order and no message holds the name of one; otherwise the dialogue is refused.

As in the other formats, an answer is encoded apart from the prompt that it continues; an answer ends with the first
control token after it, and both count in the loss.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

from arriero.dialogue import Message, Role
from arriero.errors import InputError
from arriero.tokenizer.jinja_template import JinjaTemplate
from arriero.tokenizer.template_process import REMEDY, TEMPLATES, Conversation
from arriero.tokenizer.tokenizer import Tokenizer

_PRIVATE_USE = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
_TAG = re.compile(r"<\|\w+\|>|\[/?[A-Z_]+\]|<</?SYS>>")
_SHORTEST_TAG = 3  # characters: "Q:" stands in front of much that is no role
_PROBE = (
    Message(Role.USER, "One?"),
    Message(Role.ASSISTANT, "Two."),
    Message(Role.USER, "Three?"),
    Message(Role.ASSISTANT, "Four."),
)


@dataclass(frozen=True)
class _Text:
    """What a template wrote, cut at its control tokens: text, name, text, name, ..., text."""

    texts: list[str]
    names: list[str]

    def __str__(self) -> str:
        return "".join(part for pair in zip_longest(self.texts, self.names, fillvalue="") for part in pair)


class ChatTemplate:
    """A template bound to a tokenizer.

    source: the template
    tags: what it writes as text and a user's text could forge, as "[INST]", "<|user|>" or "USER:", sorted
    end_of_turn_id: the control token that it puts after an answer
    Raises InputError if it is broken, or its prompts do not lead to its answers; every method does so if the template
    refuses a dialogue.
    """

    def __init__(self, source: JinjaTemplate, tokenizer: Tokenizer) -> None:
        self.source = source
        self._tokenizer = tokenizer
        # A name with white space in it could be completed by a message's own white space, so no template can write it.
        found = [name for name in tokenizer.control if not any(character.isspace() for character in name)]
        self._control = re.compile("|".join(map(re.escape, sorted(found, key=len, reverse=True))) or r"(?!)")
        self._used = set(source.text).union(*tokenizer.control)
        shown = self._shown()
        names = {name.strip() for name in tokenizer.literal if _distinctive(name.strip())}
        self._roles = {name for name in names if any(name in part for parts in shown for part in parts)}
        lines = [part.strip().rpartition("\n")[2] for parts in shown for part in parts[:-1]]
        tags = {name for name in names if name in source.text} | {line for line in lines if _distinctive(line)}
        self.tags = sorted((self._roles | tags).union(_TAG.findall(source.text)) - set(tokenizer.control))
        self._gap = self._find_gap()
        self.end_of_turn_id = [ids[-1] for ids, counts in self.pieces(_PROBE) if counts][-1]

    def pieces(self, messages: Sequence[Message]) -> list[tuple[list[int], bool]]:
        """(ids, whether they count in the loss), in order. After a user's message the next answer is opened."""
        answered = messages[-1].role is Role.ASSISTANT
        whole, starts = self._read(messages, not answered)
        if answered:
            prompt, _ = self._read(messages[:-1], True)
            last, length = len(prompt.names), len(prompt.texts[-1])
            same = whole.names[:last] == prompt.names and whole.texts[:last] == prompt.texts[:-1]
            if not same or starts.get(last, (-1,))[0] != length or whole.texts[last][:length] != prompt.texts[-1]:
                raise InputError(
                    "The model's chat template writes an answer's prompt otherwise when the answer is there, so that "
                    f"a model would be trained on what it never meets. {REMEDY}"
                )
        return list(self._encoded(whole, starts))

    def _shown(self) -> list[list[str]]:
        """What the template writes between two control tokens, parted where messages stand in it."""
        mark = next(self._free(()))
        turns = tuple((str(message.role), mark) for message in _PROBE)
        written = self._render([Conversation(turns, False)])
        with contextlib.suppress(InputError):  # some refuse a system message
            written += self._render([Conversation((("system", mark), *turns), False)])
        return [between.split(mark) for text in written for between in self._cut(text).texts]

    def _find_gap(self) -> str:
        """The white space that the template puts between an opened answer and the answer's text."""
        mark = next(self._free(_PROBE[:2]))
        prompt, whole = self._render(
            [
                Conversation((("user", "One?"),), True),
                Conversation((("user", "One?"), ("assistant", mark)), False),
            ]
        )
        gap = whole[len(prompt) : whole.find(mark)]
        if mark not in whole or not whole.startswith(prompt) or gap.strip():
            raise InputError(
                "The model's chat template opens an answer (add_generation_prompt) otherwise than it writes one: the "
                f"prompt is {prompt!r:.200}, with an answer it is {whole!r:.200}. {REMEDY}"
            )
        return gap

    def _read(self, messages: Sequence[Message], open_answer: bool) -> tuple[_Text, dict[int, tuple[int, bool]]]:
        """The dialogue's text, and for each text that holds an answer (where it starts, whether it is trained)."""
        marks = list(islice(self._free(messages), len(messages)))
        if len(marks) < len(messages):
            raise InputError("The dialogue uses all private-use characters: none is left to stand for its messages.")
        parts = [_parted(message.content) for message in messages]
        opaque = [
            f"{before}{mark}{after}" if core or message.role is Role.ASSISTANT else message.content
            for message, mark, (before, core, after) in zip(messages, marks, parts, strict=True)
        ]
        bare = [
            m if message.role is Role.ASSISTANT else o for message, m, o in zip(messages, marks, opaque, strict=True)
        ]
        forms = [[message.content for message in messages], opaque, *([bare] if bare != opaque else [])]
        roles = [str(message.role) for message in messages]
        found = self._render([Conversation(tuple(zip(roles, form, strict=True)), open_answer) for form in forms])
        cores = {ord(mark): core for mark, (_, core, _) in zip(marks, parts, strict=True)}
        whole = self._filled(found[0], self._cut(found[1]), cores, forms[0])
        return whole, self._starts(whole, self._cut(found[-1]), messages, marks, cores)

    def _filled(self, written: str, opaque: _Text, cores: Mapping[int, str], contents: Sequence[str]) -> _Text:
        """The opaque text with the messages in it; `written` if that differs and is as certain.

        Raises InputError if it is not, or the messages add a role's token.
        """
        whole = _Text([text.translate(cores) for text in opaque.texts], opaque.names)
        if str(whole) != written:
            whole = self._cut(written)
            if whole.names != opaque.names or any(self._control.search(content) for content in contents):
                raise InputError(
                    "The model's chat template writes other text for what a message says, so that its control tokens "
                    f"are not certain; the dialogue starts with {contents[0]!r:.80}. Shorten or reword it, or "
                    f"{REMEDY[0].lower()}{REMEDY[1:]}"
                )
        for name in self._roles:
            if str(whole).count(name) != str(opaque).count(name):
                raise InputError(
                    f"A message makes the chat template's own token {name}; the dialogue starts with "
                    f"{contents[0]!r:.80}. Remove it."
                )
        return whole

    def _starts(
        self, whole: _Text, bare: _Text, messages: Sequence[Message], marks: Sequence[str], cores: Mapping[int, str]
    ) -> dict[int, tuple[int, bool]]:
        starts: dict[int, tuple[int, bool]] = {}
        for message, mark in zip(messages, marks, strict=True):
            if message.role is not Role.ASSISTANT:
                continue
            holding = [index for index, text in enumerate(bare.texts) for _ in range(text.count(mark))]
            before = bare.texts[holding[0]].partition(mark)[0].translate(cores) if len(holding) == 1 else ""
            certain = len(holding) == 1 and holding[0] not in starts and bare.names == whole.names
            if not certain or not whole.texts[holding[0]].startswith(before):
                raise InputError(
                    f"The model's chat template leaves it open where the answer {message.content!r:.80} starts: it "
                    f"drops, repeats or changes answers. {REMEDY}"
                )
            if holding[0] == len(bare.names):
                raise InputError(
                    "The model's chat template puts no control token of the tokenizer after an answer, so that a model "
                    f"could not end one. {REMEDY}"
                )
            starts[holding[0]] = (len(before.removesuffix(self._gap)), message.trained)
        return starts

    def _encoded(self, whole: _Text, starts: Mapping[int, tuple[int, bool]]) -> Iterator[tuple[list[int], bool]]:
        encode = self._tokenizer.encode
        for index, text in enumerate(whole.texts):
            start, trained = starts.get(index, (len(text), False))
            head, answer = text[:start], text[start:]
            end = [self._tokenizer.control[name] for name in whole.names[index : index + 1]]
            continued = index > 0 and not self.source.space_after_control
            yield encode(head, continued=continued), False
            yield [*encode(answer, continued=continued or head != ""), *end], trained

    def _free(self, messages: Sequence[Message]) -> Iterator[str]:
        """Characters that neither a message, the template nor a control token's name uses."""
        used = self._used.union(*(message.content for message in messages))
        return (chr(code) for block in _PRIVATE_USE for code in block if chr(code) not in used)

    def _render(self, conversations: Sequence[Conversation]) -> list[str]:
        return TEMPLATES.render(self.source.text, self.source.names, conversations)

    def _cut(self, text: str) -> _Text:
        return _Text(self._control.split(text), self._control.findall(text))


def _distinctive(text: str) -> bool:
    """Whether a text is seldom met but as a tag: it has a sign as well as a letter or digit."""
    signs = any(not (character.isalnum() or character.isspace()) for character in text)
    return len(text) >= _SHORTEST_TAG and signs and any(map(str.isalnum, text))


def _parted(content: str) -> tuple[str, str, str]:
    """Leading white space, text, trailing white space."""
    core = content.strip()
    begin = content.index(core) if core else len(content)
    return content[:begin], core, content[begin + len(core) :]
