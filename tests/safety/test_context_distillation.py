import itertools
from dataclasses import replace

import pytest

import stages
from arriero.artifacts.files import read_json
from arriero.dialogue import Dialogue, Message, PromptKind, Role, first_user, read_dialogues, write_prompts
from arriero.errors import InputError, Stopped
from arriero.rlhf import rejection_sampling, rollout
from arriero.rlhf.rollout import Sample
from arriero.safety import context_distillation
from arriero.safety.context_distillation import (
    ADJECTIVES,
    ANSWER_TEMPLATES,
    ContextDistillationConfig,
    preprompt,
    with_preprompt,
)
from arriero.taxonomy import RiskCategory
from tiny_chat import RuleScorer, prompt, tiny_artifact

KINDS = [PromptKind.UNSAFE, PromptKind.BORDERLINE, PromptKind.CLOSED_BOOK, PromptKind.UNSAFE]
PROMPTS = [prompt(i, KINDS[i % 4]) for i in range(16)]


def test_preprompts_are_seeded_vary_and_end_with_the_categorys_template():
    drawn = {preprompt(seed, RiskCategory.HATEFUL) for seed in range(60)}
    assert len(drawn) > 20
    assert drawn == {preprompt(seed, RiskCategory.HATEFUL) for seed in range(60)}
    for text in drawn:
        assert text.endswith(ANSWER_TEMPLATES[RiskCategory.HATEFUL])
        assert sum(word in text.split(ANSWER_TEMPLATES[RiskCategory.HATEFUL])[0] for word in ADJECTIVES) == 2
    assert set(ANSWER_TEMPLATES) == set(RiskCategory)
    assert preprompt(0, None) + " " + ANSWER_TEMPLATES[RiskCategory.ILLICIT] == preprompt(0, RiskCategory.ILLICIT)


def test_the_preprompt_comes_before_all_else():
    led = with_preprompt(first_user("wipe his disk"), "be safe")
    assert [(m.role, m.content) for m in led.messages] == [(Role.SYSTEM, "be safe"), (Role.USER, "wipe his disk")]
    led = with_preprompt(Dialogue((Message(Role.SYSTEM, "be brief"), Message(Role.USER, "a"))), "be safe")
    assert [m.content for m in led.messages] == ["be safe\nbe brief", "a"]


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The safety model's score is the answer's number; it must only ever see prompts without preprompt."""
    policy = tiny_artifact(tmp_path, "policy")
    chat, safety = (stages.artifact(tmp_path, name) for name in ("chat", "safety"))
    write_prompts(chat.path / "prompts-rl.jsonl", PROMPTS)

    class Scorer(RuleScorer):
        def score(self, dialogues):
            assert all(d.system is None for d in dialogues)
            return super().score(dialogues)

    monkeypatch.setattr(rejection_sampling, "load_reward_model", lambda *_: Scorer(lambda a: float(a.split()[-1])))
    monkeypatch.setattr(rollout, "ANSWERS_PER_UNIT", 6)
    return stages.inputs(policy=policy, chat=chat, safety=safety)


def sampler(new):
    """Without preprompt every answer scores 0; with it prompt `p` scores `new(p)`."""

    def sample(loaded, dialogues, sampling, *, seed):
        made = []
        for d in dialogues:
            asked = d.messages[-1].content
            index = next(i for i, p in enumerate(PROMPTS) if p.dialogue.messages[-1].content == asked)
            made.append(Sample((1,), f"answer {new(index) if d.system else 0.0}", True))
        return made

    return sample


def test_only_adversarial_prompts_whose_new_answer_scores_higher_are_kept_without_the_preprompt(
    given, tmp_path, monkeypatch
):
    scores = {0: 2.0, 3: -1.0, 4: 0.0, 7: 1.0, 8: 0.5, 11: 3.0, 12: -2.0, 15: 1.0}
    monkeypatch.setattr(context_distillation, "sample_answers", sampler(scores.__getitem__))
    context = stages.context(tmp_path / "run")
    metrics = context_distillation.STAGE.run(ContextDistillationConfig(), given, context)
    kept = [0, 7, 8, 11, 15]  # 4 ties: it does not beat the old answer
    expected = [PROMPTS[i].dialogue.with_answer(f"answer {scores[i]}") for i in kept]
    assert read_dialogues(context.out / "dialogues.jsonl") == expected
    gate = read_json(context.out / "gate.json")
    assert (gate["considered"], gate["kept"]) == (8, 5)
    assert gate["mean_gain"]["mean"] == pytest.approx(sum(scores.values()) / 8)
    assert gate["mean_gain"]["n"] == 8
    assert [row["kept"] for row in gate["prompts"]] == [i in kept for i in scores]
    assert metrics["kept"] == 5
    assert sorted(path.name for path in context.out.iterdir()) == ["dialogues.jsonl", "gate.json"]


def test_a_cut_off_answer_is_not_kept(given, tmp_path, monkeypatch):
    plain = sampler(lambda index: 1.0)
    monkeypatch.setattr(
        context_distillation,
        "sample_answers",
        lambda *a, **k: [replace(s, finished=i % 2 == 0) for i, s in enumerate(plain(*a, **k))],
    )
    context = stages.context(tmp_path / "run")
    assert 0 < context_distillation.STAGE.run(ContextDistillationConfig(), given, context)["kept"] < 8


def test_no_gain_is_a_result_and_no_adversarial_prompt_an_error(given, tmp_path, monkeypatch):
    monkeypatch.setattr(context_distillation, "sample_answers", sampler(lambda index: -1.0))
    made = stages.context(tmp_path / "a")
    assert context_distillation.STAGE.run(ContextDistillationConfig(), given, made)["kept"] == 0
    assert read_dialogues(made.out / "dialogues.jsonl") == []
    write_prompts(given.one("chat").path / "prompts-rl.jsonl", [p for p in PROMPTS if p.kind is not PromptKind.UNSAFE])
    with pytest.raises(InputError, match="needs adversarial prompts"):
        context_distillation.STAGE.run(ContextDistillationConfig(), given, stages.context(tmp_path / "b"))


def test_on_a_real_model_it_is_resumed_to_the_same_bytes(given, tmp_path, monkeypatch):
    sample = context_distillation.sample_answers
    monkeypatch.setattr(
        context_distillation,
        "sample_answers",
        lambda *a, **k: [Sample(s.ids, f"{s.text} {len(s.text)}", True) for s in sample(*a, **k)],
    )
    cfg = ContextDistillationConfig(max_new_tokens=6)
    whole, cut = stages.context(tmp_path / "whole"), stages.context(tmp_path / "cut")
    expected = context_distillation.STAGE.run(cfg, given, whole)
    checks = itertools.count(1)
    cut.stop_requested = lambda: next(checks) % 2 == 0
    starts = 1
    while True:
        try:
            metrics = context_distillation.STAGE.run(cfg, given, cut)
            break
        except Stopped:
            starts += 1
    assert starts > 3
    assert metrics == expected
    for name in ("dialogues.jsonl", "gate.json"):
        assert (cut.out / name).read_bytes() == (whole.out / name).read_bytes()
