"""Ghost Attention: dialogues that teach a model to keep to an instruction of the first turn through all later ones.

Source: Llama 2 (arXiv:2307.09288) sections 3.3 and A.3.5. An instruction is attached to every user turn, the latest
model answers, and for training the instruction stays in the first turn only and the loss of all earlier turns is zero,
assistant turns included. The paper does not filter the answers; a small model often fails to follow an instruction even
when it is repeated, so here several answers are sampled a turn and one that keeps to it (a program checks) goes on.
"""

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from arriero.artifacts import Input, Inputs, Stage, StageContext, run_units
from arriero.artifacts.files import read_jsonl, write_json
from arriero.config import config, setting
from arriero.dialogue import Dialogue, Message, Role, first_user, read_dialogues, write_dialogues
from arriero.errors import InputError
from arriero.generation import SamplingConfig, answer
from arriero.model import LoadedModel, load_model
from arriero.rlhf.attributes import Instruction, draw_instruction
from arriero.rlhf.rollout import Sample, derive_seed, in_units, sample_answers, spread


@config
class GattConfig:
    candidates: int = setting(4, "answers sampled at each turn; one that keeps to the instruction goes on", ge=1)
    repair: bool = setting(
        False,
        "where no candidate keeps to the instruction, change one by rule (append the word, raise the case ...), which "
        "makes synthetic data and is not in the paper; else the dialogue is dropped",
    )
    temperature: float = setting(1.0, "sampling temperature (not stated)", gt=0)
    top_p: float = setting(0.9, "nucleus: smallest set of tokens with this probability (not stated)", gt=0, le=1)
    max_new_tokens: int = setting(64, "longest answer", unit="tokens", ge=1)
    shortest: int | None = setting(
        None,
        "cut each dialogue to a random number of turns, from this to its own (not in the paper); none = whole",
        ge=1,
    )
    dialogues: int | None = setting(None, "how many of the dialogues to use, drawn at random; none = all", ge=1)
    seed: int = setting(0, "seed of the draws")


def attach(user: str, instruction: Instruction) -> str:
    """A user's turn with the instruction: the same words in sampling, training and probing."""
    return f"{user}\n{instruction.text}"


def user_turns(dialogue: Dialogue) -> list[str]:
    return [m.content for m in dialogue.messages if m.role is Role.USER]


def _opening(system: str | None) -> list[Message]:
    return [Message(Role.SYSTEM, system)] if system else []


def training_dialogue(
    turns: Sequence[str], answers: Sequence[str], instruction: Instruction, system: str | None = None
) -> Dialogue:
    """The instruction in the first turn only, the loss on the last answer only. As many answers as turns."""
    messages = _opening(system)
    for index, (user, reply) in enumerate(zip(turns, answers, strict=True)):
        messages.append(Message(Role.USER, attach(user, instruction) if index == 0 else user))
        messages.append(Message(Role.ASSISTANT, reply, trained=index == len(turns) - 1))
    return Dialogue(tuple(messages))


@dataclass(frozen=True)
class Turn:
    """The answer that goes on from one turn, or None; how many candidates kept to the instruction; whether repaired."""

    answer: str | None
    followed: int
    repaired: bool


def choose(samples: Sequence[Sample], instruction: Instruction, repair: bool) -> Turn:
    """The first finished answer that keeps to the instruction; else, with `repair`, the first changed to keep to it.

    Only where all were cut off is one of those repaired.
    """
    finished = [s.text for s in samples if s.finished]
    followed = [text for text in finished if instruction.check(text)]
    if followed:
        return Turn(followed[0], len(followed), repaired=False)
    repairable = (finished or [s.text for s in samples]) if repair else []
    repaired = [text for text in map(instruction.apply, repairable) if instruction.check(text)]
    return Turn(repaired[0] if repaired else None, 0, repaired=bool(repaired))


@dataclass(frozen=True)
class _Growing:
    """A dialogue in the making: its user turns, instruction, and the answers so far."""

    turns: tuple[str, ...]
    instruction: Instruction
    system: str | None
    answers: tuple[str, ...] = ()
    followed: int = 0
    repaired: int = 0
    dropped: bool = False

    def asked(self) -> Dialogue:
        """What the model is asked next: the instruction is attached to every user turn."""
        messages = _opening(self.system)
        for user, reply in zip(self.turns, self.answers, strict=False):
            messages += [Message(Role.USER, attach(user, self.instruction)), Message(Role.ASSISTANT, reply)]
        return Dialogue((*messages, Message(Role.USER, attach(self.turns[len(self.answers)], self.instruction))))

    def after(self, turn: Turn) -> "_Growing":
        if turn.answer is None:
            return replace(self, dropped=True)
        return replace(
            self,
            answers=(*self.answers, turn.answer),
            followed=self.followed + turn.followed,
            repaired=self.repaired + turn.repaired,
        )

    @property
    def open(self) -> bool:
        return not self.dropped and len(self.answers) < len(self.turns)


def _grow(cfg: GattConfig, loaded: LoadedModel, dialogues: list[_Growing], seed: int) -> list[_Growing]:
    """Answers all dialogues turn by turn, all of one turn in one batch."""
    sampling = SamplingConfig(temperature=cfg.temperature, top_p=cfg.top_p, max_new_tokens=cfg.max_new_tokens)
    dialogues, turn = list(dialogues), 0
    while still_open := [i for i, d in enumerate(dialogues) if d.open]:
        asked = [dialogues[i].asked() for i in still_open for _ in range(cfg.candidates)]
        samples = sample_answers(loaded, asked, sampling, seed=derive_seed(seed, turn))
        for position, i in enumerate(still_open):
            mine = samples[position * cfg.candidates : (position + 1) * cfg.candidates]
            dialogues[i] = dialogues[i].after(choose(mine, dialogues[i].instruction, cfg.repair))
        turn += 1
    return dialogues


def _instruction(seed: int, index: int) -> Instruction:
    return draw_instruction(random.Random(derive_seed(seed, "instruction", index)))


def _cut(turns: list[str], cfg: GattConfig, index: int) -> tuple[str, ...]:
    """The turns of the dialogue numbered `index`, or as many of the first ones as `cfg.shortest` and chance leave."""
    if cfg.shortest is None or len(turns) <= cfg.shortest:
        return tuple(turns)
    return tuple(turns[: random.Random(derive_seed(cfg.seed, "cut", index)).randint(cfg.shortest, len(turns))])


def run(cfg: GattConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes dialogues.jsonl and attributes.json. Raises InputError if there is no dialogue.

    Where the model keeps to its instruction through no dialogue, dialogues.jsonl is empty: raise `candidates`, or set
    `repair`.
    """
    dialogues = spread(read_dialogues(inputs.one("chat").path / "gatt.jsonl"), cfg.dialogues, cfg.seed)
    if not dialogues:
        raise InputError("There are no dialogues for Ghost Attention: gatt.jsonl of the chat input is empty.")
    started = [
        _Growing(_cut(user_turns(d), cfg, i), _instruction(cfg.seed, i), d.system) for i, d in enumerate(dialogues)
    ]
    units = in_units(started, cfg.candidates)
    policy, machine = inputs.one("policy"), context.machine
    loaded = functools.cache(lambda: load_model(policy, machine, dtype=getattr(torch, machine.dtype)))

    def work(index: int, unit: list[_Growing]) -> list[dict[str, Any]]:
        grown = _grow(cfg, loaded(), unit, derive_seed(cfg.seed, "turns", index))
        return [
            {"answers": d.answers, "followed": d.followed, "repaired": d.repaired, "kept": not d.dropped} for d in grown
        ]

    path = run_units(
        context, "sampled", units, work, unit="turns", size=lambda unit: sum(len(growing.turns) for growing in unit)
    )
    rows = [row for _, row in read_jsonl(path)]
    metrics = _write(cfg, started, rows, context.out)
    path.unlink()
    return metrics


def _write(cfg: GattConfig, started: list[_Growing], rows: list[dict[str, Any]], out: Path) -> dict[str, Any]:
    kept = [(i, d, row) for i, (d, row) in enumerate(zip(started, rows, strict=True)) if row["kept"]]
    write_dialogues(
        out / "dialogues.jsonl",
        (training_dialogue(d.turns, row["answers"], d.instruction, d.system) for _, d, row in kept),
    )
    write_json(
        out / "attributes.json",
        [{"dialogue": i, **d.instruction.to_json(), "repaired": row["repaired"]} for i, d, row in kept],
    )
    sampled = sum(len(row["answers"]) + (not row["kept"]) for row in rows) * cfg.candidates
    return {
        "dialogues": len(rows),
        "kept": len(kept),
        "turns": sum(len(d.turns) for _, d, _ in kept),
        "repaired_turns": sum(row["repaired"] for _, _, row in kept),
        "answers": sampled,
        "followed_share": sum(row["followed"] for row in rows) / sampled,
    }


def measure_recall(
    loaded: LoadedModel,
    prompts: Sequence[Dialogue],
    sampling: SamplingConfig,
    seed: int,
) -> list[dict[str, int]]:
    """Rows {turn (from 1), dialogue (from 0), kept}: whether that answer keeps to the instruction of the first turn.

    `prompts` give the user turns; answers in them are ignored. The instructions are drawn from `seed` alone, so every
    model is probed with the same ones.
    Section 3.3 reports turns 2, 4, 6 and 20.
    """
    turns = [user_turns(d) for d in prompts]
    instructions = [_instruction(seed, i) for i in range(len(turns))]
    dialogues = [
        first_user(attach(own[0], i), d.system) for d, own, i in zip(prompts, turns, instructions, strict=True)
    ]
    rows = []
    for turn in range(max(map(len, turns), default=0)):
        at = [i for i, own in enumerate(turns) if turn < len(own)]
        if turn > 0:
            for i in at:
                dialogues[i] = dialogues[i].with_user(turns[i][turn])
        answers = answer(loaded, [dialogues[i] for i in at], sampling, seed=derive_seed(seed, "recall", turn))
        for i, text in zip(at, answers, strict=True):
            dialogues[i] = dialogues[i].with_answer(text)
            rows.append({"turn": turn + 1, "dialogue": i, "kept": int(instructions[i].check(text))})
    return rows


STAGE = Stage(
    name="rlhf.gatt",
    config=GattConfig,
    inputs=(Input("policy", "model"), Input("chat", "chat")),
    output="dialogues",
    run=run,
)
