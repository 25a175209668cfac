"""data.chat_files: a user's own chats, and optionally prompts, as a chat artifact."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from arriero.artifacts import Inputs, Stage, StageContext
from arriero.artifacts.files import read_jsonl
from arriero.config import InputPath, config, setting
from arriero.data.chat_layout import Chat, content_id, gatt_dialogues, prompt_of
from arriero.data.prompt_lists import UnsafeList, read_pairs, read_unsafe
from arriero.data.safety_prompts import safety_prompts, shuffled
from arriero.data.sources import seeded_fraction
from arriero.dialogue import Dialogue, Message, Prompt, PromptKind, Role, read_dialogues
from arriero.errors import InputError


@config
class ChatFilesConfig:
    """Chats to imitate, and prompts to learn from by preference; without prompts, the chats' last questions serve."""

    chats: InputPath = setting(..., 'JSONL of {"messages": [{"role", "content"}, ...]}, each ending with an answer')
    prompts: InputPath | None = setting(
        None, 'JSONL of {"messages": [...]} ending with the user; "kind", "safety" and "reference" are optional'
    )
    unsafe: InputPath | None = setting(None, "JSONL of unsafe requests and the parts of refusals, to teach safety")
    borderline: InputPath | None = setting(None, "JSONL of harmless questions that look unsafe, with answers")
    unsafe_prompts: int = setting(40, "unsafe requests, at most, in each of preferences, RL and evaluation", ge=0)
    borderline_prompts: int = setting(40, "harmless look-alikes, at most, in each of these and in SFT", ge=0)
    sft_refusals: int = setting(12, "unsafe requests in SFT: with many, a small model refuses look-alikes too", ge=0)
    heldout_share: float = setting(0.1, "share of chats and prompts held out for evaluation, at least one", gt=0, lt=1)
    gatt_dialogues: int = setting(40, "dialogues for Ghost Attention, made by joining turns of the chats", ge=0)
    gatt_test_dialogues: int = setting(10, "the same, of held-out chats", ge=0)
    seed: int = setting(0, "what is held out, and the order")


def run(cfg: ChatFilesConfig, _: Inputs, context: StageContext) -> dict[str, Any]:
    """Raises InputError naming file and line, or the file if it holds fewer than two chats or prompts."""
    chats = read_chats(cfg.chats)
    held = _held(cfg, {content_id(chat, PromptKind.CLOSED_BOOK) for chat in chats}, cfg.chats)
    train = [chat for chat in chats if content_id(chat, PromptKind.CLOSED_BOOK) not in held]
    test = [chat for chat in chats if content_id(chat, PromptKind.CLOSED_BOOK) in held]
    if cfg.prompts is None:
        train_prompts, test_prompts = [_as_prompt(chat) for chat in train], [_as_prompt(chat) for chat in test]
    else:
        prompts = read_own_prompts(cfg.prompts)
        held = _held(cfg, {prompt.id for prompt in prompts}, cfg.prompts)
        train_prompts = [prompt for prompt in prompts if prompt.id not in held]
        test_prompts = [prompt for prompt in prompts if prompt.id in held]
    safety = _safety(cfg)
    taught = [prompt.dialogue.with_answer(prompt.reference) for prompt in safety.pop("sft")]
    gatt = gatt_dialogues(_turns(train), cfg.gatt_dialogues, 2, 8, cfg.seed, "train")
    gatt_test = gatt_dialogues(_turns(test), cfg.gatt_test_dialogues, 2, 8, cfg.seed, "test")
    own = {"preference": train_prompts, "rl": train_prompts, "test": test_prompts}
    by_file = {name: own[name] + safety[name] for name in own}
    return Chat(shuffled(train + taught, cfg.seed, "order"), by_file, gatt, gatt_test).write(context.out)


def _safety(cfg: ChatFilesConfig) -> dict[str, list[Prompt]]:
    """The prompts of the safety lists that each file takes; none where a list is not given."""
    unsafe = read_unsafe(cfg.unsafe) if cfg.unsafe is not None else UnsafeList((), (), ())
    listed = safety_prompts(unsafe, read_pairs(cfg.borderline) if cfg.borderline is not None else [], cfg.seed)
    return {
        name: [prompt for prompt, _ in pool.unsafe[: cfg.sft_refusals if name == "sft" else cfg.unsafe_prompts]]
        + pool.borderline[: cfg.borderline_prompts]
        for name, pool in listed.items()
    }


def read_chats(path: Path) -> list[Dialogue]:
    """The dialogues, equal ones once. Raises InputError naming the line of one that does not end with an answer."""
    chats = read_dialogues(path)
    for (line, _), chat in zip(read_jsonl(path), chats, strict=True):
        if not (chat.answer or "").strip():
            raise InputError(f"{path}:{line}: a chat must end with an answer of the assistant that is not empty.")
    return list({content_id(chat, PromptKind.CLOSED_BOOK): chat for chat in chats}.values())


def read_own_prompts(path: Path) -> list[Prompt]:
    """The prompts, equal ones once; one without id gets an id from its content. Raises InputError naming the line."""
    prompts: dict[str, Prompt] = {}
    for line, row in read_jsonl(path):
        where = f"{path}:{line}"
        prompt = Prompt.from_json(row, where)
        name = str(row["id"]) if "id" in row else content_id(prompt.dialogue, prompt.kind)
        named = replace(prompt, id=name)
        if prompts.setdefault(name, named) != named:
            raise InputError(f"{where}: the id {name!r} is another prompt's already. Give each prompt its own.")
    return list(prompts.values())


def _held(cfg: ChatFilesConfig, names: set[str], file: Path) -> set[str]:
    """The names that are held out: a seeded share, at least one."""
    if len(names) < 2:
        raise InputError(f"{file} holds {len(names)} distinct row(s); at least two are needed, since one is held out.")
    ordered = sorted(names, key=lambda name: seeded_fraction(cfg.seed, name))
    below = sum(seeded_fraction(cfg.seed, name) < cfg.heldout_share for name in names)
    return set(ordered[: min(max(below, 1), len(names) - 1)])


def _as_prompt(chat: Dialogue) -> Prompt:
    several = sum(message.role is Role.USER for message in chat.messages) > 1
    return prompt_of(chat, PromptKind.MULTI_TURN if several else PromptKind.CLOSED_BOOK)


def _turns(chats: list[Dialogue]) -> list[tuple[str, str]]:
    """The first question of each chat with its answer."""
    found = {}
    for chat in chats:
        first, second = _without_system(chat)[:2]
        found[first.content] = second.content
    return sorted(found.items())


def _without_system(chat: Dialogue) -> tuple[Message, ...]:
    return chat.messages[1:] if chat.system is not None else chat.messages


STAGE = Stage("data.chat_files", ChatFilesConfig, (), "chat", run)
