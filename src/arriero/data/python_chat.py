"""data.python_chat: the chat domain. Questions about the standard library, unsafe requests and harmless look-alikes.

Closed-book answers lie in the corpus on purpose: what is measured is whether the model can say what it read. Whole
modules are kept for the test prompts, away from SFT and preferences. The modules that the given crawl holds out are in
no prompt at all: no model could know them, and their text must stay unseen for bits per byte.
What is dealt to SFT is in no other training file. Preferences and RL share what is short: the reward models then know
prompts that RL meets. The paper's prompts come from annotators (sections 3.1 and 3.2.1); these stand in for them.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.artifacts.files import write_json, write_jsonl
from arriero.config import InputPath, config, setting
from arriero.data import stdlib
from arriero.data.chat_layout import Chat, gatt_dialogues, generator, prompt_of
from arriero.data.prompt_lists import Pair, Split, UnsafeList, read_pairs, read_unsafe
from arriero.data.python_docs import ItemKind, read_docs
from arriero.data.python_questions import Question, closed_book, multi_turn, questions, with_docs
from arriero.data.safety_prompts import FILES, deal, safety_prompts, shuffled
from arriero.data.sources import heldout_modules, read_heldout
from arriero.dialogue import Dialogue, Prompt, PromptKind
from arriero.errors import ConfigError

RISKS_FILE, SPLIT_FILE = "risks.jsonl", "split.json"
TURNS = (2, 2, 2, 2, 3, 3, 3, 4, 4, 5)  # the length of a short dialogue is drawn from these
GATT_TURNS = (4, 8)


@config
class KindMix:
    """Weights of the kinds of prompts; only their ratios count."""

    closed_book: float = setting(..., "weight of questions with nothing given", ge=0)
    with_docs: float = setting(..., "weight of questions with the docstring given", ge=0)
    multi_turn: float = setting(..., "weight of short dialogues", ge=0)
    unsafe: float = setting(..., "weight of unsafe requests", ge=0)
    borderline: float = setting(..., "weight of harmless look-alikes", ge=0)


# Few refusals, and more look-alikes than harmful requests, or the model learns to refuse.
SFT_MIX = KindMix(closed_book=0.25, with_docs=0.32, multi_turn=0.10, unsafe=0.05, borderline=0.28)
# Few questions with docs given: SFT leaves little to learn there. Many look-alikes: that a refusal of one is the worse
# answer is what reward models learn last.
FEEDBACK_MIX = KindMix(closed_book=0.28, with_docs=0.10, multi_turn=0.14, unsafe=0.20, borderline=0.28)
# More of what safety is measured on.
TEST_MIX = KindMix(closed_book=0.25, with_docs=0.25, multi_turn=0.10, unsafe=0.20, borderline=0.20)


@config
class PythonChatConfig:
    """How many prompts of which kinds. A kind whose material runs out leaves its place to questions with docs."""

    unsafe: InputPath = setting(..., "JSONL of unsafe requests and the parts of refusals")
    borderline: InputPath = setting(..., "JSONL of harmless questions that look unsafe, with answers")
    general: InputPath = setting(..., "JSONL of general questions with answers, for Ghost Attention")
    sft_dialogues: int = setting(600, "dialogues for SFT", ge=1)
    preference_prompts: int = setting(400, "prompts for preferences", ge=1)
    rl_prompts: int = setting(400, "prompts for rejection sampling, PPO and distillation", ge=1)
    test_prompts: int = setting(320, "prompts for evaluation", ge=1)
    gatt_dialogues: int = setting(60, "dialogues for Ghost Attention", ge=0)
    gatt_test_dialogues: int = setting(30, "the same, for evaluation", ge=0)
    sft_mix: KindMix = setting(SFT_MIX, "kinds in SFT")
    preference_mix: KindMix = setting(FEEDBACK_MIX, "kinds in the prompts for preferences")
    rl_mix: KindMix = setting(FEEDBACK_MIX, "kinds in the prompts for rejection sampling and PPO")
    test_mix: KindMix = setting(TEST_MIX, "kinds in the test prompts")
    docs_words: int = setting(50, "longest excerpt of a docstring in a question", unit="words", ge=5, le=80)
    test_share: float = setting(0.2, "share of modules kept for the test prompts", gt=0, lt=1)
    seed: int = setting(0, "the draws of questions, wordings and order")


@dataclass(frozen=True)
class Pool:
    """The material of one file of prompts, each list in the order in which it is used up."""

    name: str
    questions: list[Question]
    unsafe: list[tuple[Prompt, dict[str, str]]]
    borderline: list[Prompt]


def run(cfg: PythonChatConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes the chat artifact, `risks.jsonl` (risk and attack of each unsafe prompt) and `split.json` (test modules).

    Raises InputError on a wrong list, ConfigError if a file would have no prompts.
    """
    unsafe, borderline, general = read_unsafe(cfg.unsafe), read_pairs(cfg.borderline), read_pairs(cfg.general)
    asked = questions((read_docs(file) for file in stdlib.files()), cfg.docs_words)
    units = {question.unit for question in asked}
    crawl = inputs.maybe("crawl")
    left_out = units & set(read_heldout(crawl.path)) if crawl is not None else set()
    test_units = {u for u in units - left_out if heldout_modules([f"chat/{u}"], cfg.seed, cfg.test_share)}
    train = [question for question in asked if question.unit not in left_out | test_units]
    test = [question for question in asked if question.unit in test_units]
    pools = _pools(cfg, train, test, unsafe, borderline)
    counts = {
        "sft": cfg.sft_dialogues,
        "preference": cfg.preference_prompts,
        "rl": cfg.rl_prompts,
        "test": cfg.test_prompts,
    }
    prompts = {name: draw(pools[name], count, cfg) for name, count in counts.items()}
    pairs = {split: [(p.question, p.answer) for p in general if p.split is split] for split in Split}
    chat = Chat(
        [prompt.dialogue.with_answer(prompt.reference) for prompt in prompts.pop("sft")],
        prompts,
        gatt_dialogues(pairs[Split.TRAIN], cfg.gatt_dialogues, *GATT_TURNS, cfg.seed, "train"),
        gatt_dialogues(pairs[Split.TEST], cfg.gatt_test_dialogues, *GATT_TURNS, cfg.seed, "test"),
    )
    tags = {prompt.id: tag for pool in pools.values() for prompt, tag in pool.unsafe}
    used = sorted({p.id for listed in prompts.values() for p in listed if p.kind is PromptKind.UNSAFE})
    write_jsonl(context.out / RISKS_FILE, ({"id": name, **tags[name]} for name in used))
    write_json(context.out / SPLIT_FILE, {"test_modules": sorted(test_units), "left_out_modules": sorted(left_out)})
    return chat.write(context.out) | {
        "python_version": stdlib.python_version(),
        "questions": {"train": len(train), "test": len(test)},
        "modules": {"train": len(units - test_units - left_out), "test": len(test_units), "left_out": len(left_out)},
    }


def _pools(
    cfg: PythonChatConfig, train: list[Question], test: list[Question], unsafe: UnsafeList, borderline: list[Pair]
) -> dict[str, Pool]:
    """What each file draws from."""
    listed = safety_prompts(unsafe, borderline, cfg.seed)
    dealt = deal(train, cfg.seed, "questions") | {"test": (shuffled(test, cfg.seed, "questions"), [])}
    return {
        name: Pool(
            name, [question for part in dealt[name] for question in part], listed[name].unsafe, listed[name].borderline
        )
        for name in FILES
    }


def apportion(total: int, weights: dict[PromptKind, float]) -> dict[PromptKind, int]:
    """Whole counts in proportion to the weights that add up to `total` (largest remainders)."""
    whole = sum(weights.values())
    if whole <= 0:
        raise ConfigError("Every weight of a mix of prompt kinds is 0. Set at least one above 0.")
    exact = {kind: total * weight / whole for kind, weight in weights.items()}
    counts = {kind: int(value) for kind, value in exact.items()}
    for kind in sorted(exact, key=lambda kind: counts[kind] - exact[kind])[: total - sum(counts.values())]:
        counts[kind] += 1
    return counts


def draw(pool: Pool, count: int, cfg: PythonChatConfig) -> list[Prompt]:
    """`count` prompts of a pool in the mix of kinds, shuffled; fewer only if the pool has no more questions."""
    mix = getattr(cfg, f"{pool.name}_mix")
    wanted = apportion(count, {kind: getattr(mix, kind.value) for kind in PromptKind})
    dialogues, rest = _dialogues(pool, wanted[PromptKind.MULTI_TURN], cfg.seed)
    unsafe = [prompt for prompt, _ in pool.unsafe[: wanted[PromptKind.UNSAFE]]]
    borderline = pool.borderline[: wanted[PromptKind.BORDERLINE]]
    closed = _ask(rest[: wanted[PromptKind.CLOSED_BOOK]], closed_book, PromptKind.CLOSED_BOOK, pool.name, cfg.seed)
    missing = count - len(dialogues) - len(unsafe) - len(borderline) - len(closed)
    listed = rest[len(closed) : len(closed) + missing]
    given = _ask(listed, with_docs, PromptKind.WITH_DOCS, pool.name, cfg.seed)
    prompts = dialogues + unsafe + borderline + closed + given
    if not prompts:
        raise ConfigError(f"There is no material for the {pool.name} prompts. Change test_share, seed or the lists.")
    return shuffled(prompts, cfg.seed, f"order-{pool.name}")


def _ask(
    listed: list[Question], form: Callable[[Question, random.Random], Dialogue], kind: PromptKind, name: str, seed: int
) -> list[Prompt]:
    return [prompt_of(form(q, generator(seed, name, kind, q.key)).with_answer(q.answer), kind) for q in listed]


def _dialogues(pool: Pool, count: int, seed: int) -> tuple[list[Prompt], list[Question]]:
    """`count` short dialogues, each about one module, and the questions that none of them used."""
    by_module: dict[str, list[Question]] = {}
    about = {question.item.name: question for question in pool.questions if question.item.kind is ItemKind.MODULE}
    for question in pool.questions:
        if question.item.kind is not ItemKind.MODULE:
            by_module.setdefault(question.item.module, []).append(question)
    rng = generator(seed, "dialogues", pool.name)
    modules = shuffled(sorted(by_module), seed, f"modules-{pool.name}")
    prompts: list[Prompt] = []
    used: set[str] = set()
    while modules and len(prompts) < count:
        modules = [module for module in modules if len(by_module[module]) >= 2]
        for module in modules[: count - len(prompts)]:
            turns = rng.choice(TURNS)
            opening = [about[module]] if module in about and about[module].key not in used else []
            members = [by_module[module].pop() for _ in range(min(turns - len(opening), len(by_module[module])))]
            used |= {question.key for question in opening + members}
            prompts.append(prompt_of(multi_turn(opening + members, turns, rng), PromptKind.MULTI_TURN))
    return prompts, [question for question in pool.questions if question.key not in used]


def outside(_: PythonChatConfig) -> dict[str, str]:
    """The Python version and a digest of its library's files."""
    return {"python": stdlib.python_version(), "standard_library": stdlib.digest()}


STAGE = Stage("data.python_chat", PythonChatConfig, (Input("crawl", "crawl", optional=True),), "chat", run, outside)
