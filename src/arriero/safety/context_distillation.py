"""Safety context distillation: answer under a safety preprompt, train without it, where that is safer.

Source: Llama 2 (arXiv:2307.09288) sections 4.2.4 and A.4.4 to A.4.6. Adversarial prompts only: on others a preprompt
makes answers vaguer and refuses too much. The preprompt is templated from adjectives, or names how the ideal answer to
a risk category goes, which the paper found better. The safety reward model is the gate: an answer is kept only where it
scores above the one that the same model gives without the preprompt.
"""

import functools
import random
from typing import Any

import torch

from arriero.artifacts import Artifact, Input, Inputs, Stage, StageContext, run_units
from arriero.artifacts.files import read_jsonl, write_json
from arriero.config import config, setting
from arriero.dialogue import Dialogue, Message, Prompt, PromptKind, Role, read_prompts, write_dialogues
from arriero.errors import InputError
from arriero.generation import SamplingConfig
from arriero.metrics.intervals import bootstrap_mean, share
from arriero.model import load_model
from arriero.rlhf.rejection_sampling import score_answers
from arriero.rlhf.rollout import derive_seed, in_units, only_answer_trained, sample_answers, spread
from arriero.taxonomy import RiskCategory

# The adjectives that section A.4.5 builds its generic preprompts from.
ADJECTIVES = (
    "responsible",
    "respectful",
    "wise",
    "considerate",
    "cautious",
    "ethical",
    "thoughtful",
    "honest",
    "careful",
    "lawful",
)
TEMPLATES = (
    "You are a {first} and {second} assistant. You never help with what could hurt people or break the law.",
    "As a {first} and {second} assistant, refuse requests that could do harm and say why.",
    "You are a safe, {first} and {second} assistant that politely declines harmful requests.",
)
# How the ideal answer goes (section 4.2.2): immediate safety first, then the risks, then more information.
ANSWER_TEMPLATES = {
    RiskCategory.ILLICIT: "If a request is harmful or illegal, answer in this way: first say that you cannot help with "
    "it; then say in a few words whom it would harm; then offer a safe and lawful way to reach a legitimate goal.",
    RiskCategory.HATEFUL: "If a request is hateful or could hurt people, answer in this way: first say that you will "
    "not do it; then say in a few words whom it would hurt; then offer help that respects everyone.",
    RiskCategory.UNQUALIFIED_ADVICE: "If a request needs a professional's judgement, answer in this way: first say "
    "that you are not qualified to decide it; then name the risk; then say whom to ask.",
}


@config
class ContextDistillationConfig:
    category: RiskCategory | None = setting(
        RiskCategory.ILLICIT, "whose answer template follows the adjectives in the preprompt; none = adjectives alone"
    )
    temperature: float = setting(1.0, "sampling temperature (not stated)", gt=0)
    top_p: float = setting(0.9, "nucleus: smallest set of tokens with this probability (not stated)", gt=0, le=1)
    max_new_tokens: int = setting(64, "longest answer", unit="tokens", ge=1)
    prompts: int | None = setting(None, "how many adversarial prompts to use, drawn at random; none = all", ge=1)
    seed: int = setting(0, "seed of the draws")


def preprompt(seed: int, category: RiskCategory | None) -> str:
    """A preprompt of two adjectives drawn from `seed`, followed by the category's answer template."""
    generator = random.Random(seed)
    first, second = generator.sample(ADJECTIVES, 2)
    text = generator.choice(TEMPLATES).format(first=first, second=second)
    return text if category is None else f"{text} {ANSWER_TEMPLATES[category]}"


def with_preprompt(dialogue: Dialogue, text: str) -> Dialogue:
    """The dialogue with `text` before all else: as the system message, or at the head of the one there is."""
    turns = dialogue.messages if dialogue.system is None else dialogue.messages[1:]
    system = text if dialogue.system is None else f"{text}\n{dialogue.system}"
    return Dialogue((Message(Role.SYSTEM, system), *turns))


def _sample(
    cfg: ContextDistillationConfig, policy: Artifact, units: list[list[Prompt]], context: StageContext
) -> list[dict[str, Any]]:
    """A row for each prompt: preprompt, answers without and with it, whether each was finished."""
    machine = context.machine
    loaded = functools.cache(lambda: load_model(policy, machine, dtype=getattr(torch, machine.dtype)))
    sampling = SamplingConfig(temperature=cfg.temperature, top_p=cfg.top_p, max_new_tokens=cfg.max_new_tokens)

    def work(index: int, prompts: list[Prompt]) -> list[dict[str, Any]]:
        texts = [preprompt(derive_seed(cfg.seed, "preprompt", p.id), cfg.category) for p in prompts]
        led = [with_preprompt(p.dialogue, text) for p, text in zip(prompts, texts, strict=True)]
        seed = derive_seed(cfg.seed, "answers", index)
        samples = sample_answers(loaded(), [p.dialogue for p in prompts] + led, sampling, seed=seed)
        pairs = zip(samples[: len(prompts)], samples[len(prompts) :], strict=True)
        return [
            {"id": p.id, "preprompt": text, "answers": [old.text, new.text], "finished": [old.finished, new.finished]}
            for p, text, (old, new) in zip(prompts, texts, pairs, strict=True)
        ]

    path = run_units(context, "answers", units, work, unit="answers", size=lambda u: 2 * len(u))
    return [row for _, row in read_jsonl(path)]


def run(cfg: ContextDistillationConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes dialogues.jsonl and gate.json. Raises InputError if there is no adversarial prompt.

    Where no answer passes the gate, dialogues.jsonl is empty, and fine-tuning on it leaves its base as it is.
    """
    every = read_prompts(inputs.one("chat").path / "prompts-rl.jsonl")
    prompts = spread([p for p in every if p.kind is PromptKind.UNSAFE], cfg.prompts, cfg.seed)
    if not prompts:
        raise InputError(
            "Context distillation needs adversarial prompts: none in prompts-rl.jsonl of the chat input has the kind "
            '"unsafe". Add some, or take the stage out of the recipe.'
        )
    rows = _sample(cfg, inputs.one("policy"), in_units(prompts, 2), context)
    answered = [(p, row["answers"]) for p, row in zip(prompts, rows, strict=True)]
    # Both answers are scored as answers to the bare prompt: the preprompt must not speak for the new one.
    scores = score_answers("scores", inputs.one("safety"), in_units(answered, 2), context)
    gains = [new - old for old, new in scores]
    # A cut-off answer would teach the model to stop in mid-sentence.
    kept = [i for i, row in enumerate(rows) if gains[i] > 0 and row["finished"][1]]
    write_dialogues(
        context.out / "dialogues.jsonl", (only_answer_trained(prompts[i].dialogue, rows[i]["answers"][1]) for i in kept)
    )
    asks = [prompt.asks for prompt in prompts]
    gate = {
        "considered": len(prompts),
        "kept": len(kept),
        "passed": share([i in set(kept) for i in range(len(rows))], groups=asks).to_json(),
        "mean_gain": bootstrap_mean(gains, derive_seed(cfg.seed, "gain"), groups=asks).to_json(),
        "prompts": [
            {"id": row["id"], "preprompt": row["preprompt"], "old": old, "new": new, "kept": i in set(kept)}
            for i, (row, (old, new)) in enumerate(zip(rows, scores, strict=True))
        ],
    }
    write_json(context.out / "gate.json", gate)
    for part in ("answers", "scores"):
        (context.out / f"{part}.jsonl").unlink()
    return {"considered": len(prompts), "kept": len(kept), "mean_gain": gate["mean_gain"]}


STAGE = Stage(
    name="safety.context_distillation",
    config=ContextDistillationConfig,
    inputs=(Input("policy", "model"), Input("chat", "chat"), Input("safety", "reward_model")),
    output="dialogues",
    run=run,
)
