"""The files of a chat artifact, whatever made it, and the draws that both makers share."""

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arriero.dialogue import Dialogue, Message, Prompt, PromptKind, Role, write_dialogues, write_prompts

SFT_FILE = "sft.jsonl"
PROMPT_FILES = {name: f"prompts-{name}.jsonl" for name in ("preference", "rl", "test")}
GATT_FILE, GATT_TEST_FILE = "gatt.jsonl", "gatt-test.jsonl"


@dataclass
class Chat:
    """What a chat artifact holds. `gatt` and `gatt_test` are dialogues of several turns, answers included."""

    sft: list[Dialogue] = field(default_factory=list)
    prompts: dict[str, list[Prompt]] = field(default_factory=dict)
    gatt: list[Dialogue] = field(default_factory=list)
    gatt_test: list[Dialogue] = field(default_factory=list)

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes every file and returns the counts."""
        write_dialogues(folder / SFT_FILE, self.sft)
        for name, file in PROMPT_FILES.items():
            write_prompts(folder / file, self.prompts[name])
        write_dialogues(folder / GATT_FILE, self.gatt)
        write_dialogues(folder / GATT_TEST_FILE, self.gatt_test)
        return {
            "sft_dialogues": len(self.sft),
            "sft_words": sum(len(m.content.split()) for dialogue in self.sft for m in dialogue.messages),
            "gatt_dialogues": len(self.gatt),
            "gatt_test_dialogues": len(self.gatt_test),
            **{f"{name}_prompts": self._by_kind(name) for name in PROMPT_FILES},
        }

    def _by_kind(self, name: str) -> dict[str, int]:
        kinds = [prompt.kind for prompt in self.prompts[name]]
        return {str(kind): kinds.count(kind) for kind in PromptKind if kind in kinds}


def generator(seed: int, *names: object) -> random.Random:
    """The generator of one draw: it depends on the seed and the draw's name alone, not on what was drawn before."""
    return random.Random("/".join(map(str, (seed, *names))))


def content_id(dialogue: Dialogue, kind: PromptKind) -> str:
    """An id that equal prompts share."""
    text = json.dumps(dialogue.to_json(), sort_keys=True, ensure_ascii=False)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def prompt_of(dialogue: Dialogue, kind: PromptKind, group: str = "") -> Prompt:
    """The dialogue without its last answer, which becomes the reference. It must end with an answer."""
    reference = dialogue.answer
    assert reference is not None
    asked = Dialogue(dialogue.messages[:-1])
    return Prompt(content_id(asked, kind), asked, kind, kind is PromptKind.UNSAFE, reference, group)


def join_turns(pairs: Iterable[tuple[str, str]]) -> Dialogue:
    """A dialogue from (user, assistant) turns."""
    turns = [(Message(Role.USER, user), Message(Role.ASSISTANT, answer)) for user, answer in pairs]
    return Dialogue(tuple(message for turn in turns for message in turn))


def gatt_dialogues(
    pairs: Sequence[tuple[str, str]], count: int, least: int, most: int, seed: int, name: str
) -> list[Dialogue]:
    """`count` dialogues of `least` to `most` unrelated turns each, drawn without repetition within a dialogue."""
    dialogues = []
    for index in range(count if len(pairs) >= least else 0):
        rng = generator(seed, "gatt", name, index)
        dialogues.append(join_turns(rng.sample(pairs, rng.randint(least, min(most, len(pairs))))))
    return dialogues
