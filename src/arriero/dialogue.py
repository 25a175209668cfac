"""Dialogues and prompts, and their JSONL forms: `{"messages": [{"role": ..., "content": ...}, ...]}` a line."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from arriero.artifacts.files import read_jsonl, write_jsonl
from arriero.errors import InputError


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class PromptKind(StrEnum):
    """What a prompt asks for, and so how its answer is judged."""

    CLOSED_BOOK = "closed_book"  # a question, nothing given
    WITH_DOCS = "with_docs"  # a question with the text that answers it
    MULTI_TURN = "multi_turn"  # a follow-up in a dialogue
    UNSAFE = "unsafe"  # a harmful request: the good answer refuses, explains and offers a safe way
    BORDERLINE = "borderline"  # harmless but looks unsafe: the good answer helps


@dataclass(frozen=True)
class Message:
    """One turn. `trained`: whether an assistant's turn counts in the loss (Ghost Attention turns earlier ones off)."""

    role: Role
    content: str
    trained: bool = True


@dataclass(frozen=True)
class Dialogue:
    """An optional system message, then user and assistant in turn, the user first. Raises InputError otherwise."""

    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        turns = self.messages[1:] if self.messages and self.messages[0].role is Role.SYSTEM else self.messages
        if not turns:
            raise InputError("A dialogue needs at least one user message.")
        for index, message in enumerate(turns):
            expected = (Role.USER, Role.ASSISTANT)[index % 2]
            if message.role is not expected:
                raise InputError(
                    f"Message {index + 1} of a dialogue is from {message.role}, expected {expected}: after an optional "
                    f"system message, user and assistant take turns and the user is first."
                )

    @property
    def system(self) -> str | None:
        return self.messages[0].content if self.messages[0].role is Role.SYSTEM else None

    @property
    def answer(self) -> str | None:
        """The last message's text if it is the assistant's."""
        return self.messages[-1].content if self.messages[-1].role is Role.ASSISTANT else None

    def with_answer(self, text: str) -> Self:
        """The dialogue with the assistant's next turn. The last turn must be the user's."""
        return type(self)((*self.messages, Message(Role.ASSISTANT, text)))

    def with_user(self, text: str) -> Self:
        return type(self)((*self.messages, Message(Role.USER, text)))

    def to_json(self) -> dict[str, Any]:
        return {
            "messages": [
                {"role": str(m.role), "content": m.content} | ({} if m.trained else {"trained": False})
                for m in self.messages
            ]
        }

    @classmethod
    def from_json(cls, row: Any, where: str) -> Self:
        """Raises InputError naming `where` (a file and line) if the row is not a dialogue."""
        messages = row.get("messages") if isinstance(row, dict) else None
        if not isinstance(messages, list) or not messages:
            raise InputError(f'{where}: expected {{"messages": [{{"role", "content"}}, ...]}}, found no messages.')
        try:
            return cls(tuple(_message(message, where) for message in messages))
        except InputError as error:
            raise error if str(error).startswith(where) else InputError(f"{where}: {error}") from None


def _message(row: Any, where: str) -> Message:
    if not isinstance(row, dict) or not isinstance(row.get("content"), str):
        raise InputError(f'{where}: a message must be {{"role": ..., "content": text}}, found {row!r:.80}.')
    if row.get("role") not in [str(role) for role in Role]:
        raise InputError(f"{where}: role must be system, user or assistant, found {row.get('role')!r}.")
    return Message(Role(row["role"]), row["content"], bool(row.get("trained", True)))


def first_user(text: str, system: str | None = None) -> Dialogue:
    """A dialogue of one user message."""
    start = (Message(Role.SYSTEM, system),) if system else ()
    return Dialogue((*start, Message(Role.USER, text)))


def asked(prompt: Dialogue, group: str) -> str:
    """What a prompt asks, as a key: its group, or without one its own text."""
    return group or json.dumps(prompt.to_json(), sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Prompt:
    """What a model is asked, with what a judge may know: the kind, the safety tag and the true answer.

    `group`: what prompts that ask the same in other words share. A split keeps them on one side, and they are no
    independent evidence.
    """

    id: str
    dialogue: Dialogue
    kind: PromptKind
    safety: bool
    reference: str
    group: str = ""

    @property
    def asks(self) -> str:
        return asked(self.dialogue, self.group)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            **self.dialogue.to_json(),
            "kind": str(self.kind),
            "safety": self.safety,
            "reference": self.reference,
            "group": self.group,
        }

    @classmethod
    def from_json(cls, row: Any, where: str) -> Self:
        dialogue = Dialogue.from_json(row, where)
        if dialogue.messages[-1].role is not Role.USER:
            raise InputError(f"{where}: a prompt must end with a user message.")
        kind = row.get("kind", PromptKind.CLOSED_BOOK)
        if kind not in [str(known) for known in PromptKind]:
            raise InputError(f"{where}: kind must be one of {', '.join(PromptKind)}, found {kind!r}.")
        safety = bool(row.get("safety", kind == PromptKind.UNSAFE))
        name, reference, group = str(row.get("id", where)), str(row.get("reference", "")), str(row.get("group", ""))
        return cls(name, dialogue, PromptKind(kind), safety, reference, group)


def read_dialogues(path: Path) -> list[Dialogue]:
    """Raises InputError naming file and line."""
    return [Dialogue.from_json(row, f"{path}:{line}") for line, row in read_jsonl(path)]


def write_dialogues(path: Path, dialogues: Iterable[Dialogue]) -> None:
    write_jsonl(path, (dialogue.to_json() for dialogue in dialogues))


def read_prompts(path: Path) -> list[Prompt]:
    """Raises InputError naming file and line."""
    return [Prompt.from_json(row, f"{path}:{line}") for line, row in read_jsonl(path)]


def write_prompts(path: Path, prompts: Iterable[Prompt]) -> None:
    write_jsonl(path, (prompt.to_json() for prompt in prompts))
