import json
import random

import pytest

import stages
from arriero.artifacts.files import read_json
from arriero.dialogue import Dialogue, Message, Role, read_dialogues, write_dialogues
from arriero.errors import InputError, Stopped
from arriero.generation import SamplingConfig
from arriero.rlhf import gatt, rollout
from arriero.rlhf.attributes import Attribute, Instruction, draw_instruction
from arriero.rlhf.gatt import GattConfig, Turn, choose, measure_recall
from arriero.rlhf.rollout import Sample
from tiny_chat import tiny_artifact

OVER = Instruction((Attribute("ending", "over"),), shortened=True)


def dialogue(index, turns, system=None):
    start = [Message(Role.SYSTEM, system)] if system else []
    pairs = [(Message(Role.USER, f"q{index}.{t}"), Message(Role.ASSISTANT, "true answer")) for t in range(turns)]
    return Dialogue((*start, *(message for pair in pairs for message in pair)))


def said(text, finished=True):
    return Sample((1,), text, finished)


def test_the_first_candidate_that_keeps_to_the_instruction_goes_on():
    samples = [said("no"), said("yes, over", finished=False), said("b over"), said("c over")]
    assert choose(samples, OVER, repair=True) == Turn("b over", followed=2, repaired=False)


def test_where_none_keeps_to_it_one_is_repaired_or_none_goes_on():
    samples = [said("cut", finished=False), said("no")]
    assert choose(samples, OVER, repair=True) == Turn("no over", followed=0, repaired=True)
    assert choose(samples, OVER, repair=False) == Turn(None, followed=0, repaired=False)
    assert choose(samples[:1], OVER, repair=True).answer == "cut over"
    assert choose([said("cut over", finished=False)], OVER, repair=False).answer is None


class Obedient:
    """Stands in for sampling: candidate `n` of a turn keeps to the instruction unless the rule says otherwise."""

    def __init__(self, follows):
        self.follows, self.asked = follows, []

    def __call__(self, loaded, dialogues, sampling, *, seed):
        self.asked.append(list(dialogues))
        made = []
        for index, asked in enumerate(dialogues):
            text = asked.messages[-1].content.split("\n")[0]
            made.append(said(f"{text} OBEYS" if self.follows(text, index) else "no"))
        return made


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Ten dialogues of two to four turns; an instruction is kept to by every answer that says OBEYS."""
    chat = stages.artifact(tmp_path, "chat")
    write_dialogues(
        chat.path / "gatt.jsonl", [dialogue(i, 2 + i % 3, "be brief" if i == 3 else None) for i in range(10)]
    )
    monkeypatch.setattr(Instruction, "check", lambda self, answer: answer.endswith("OBEYS"))
    monkeypatch.setattr(Instruction, "apply", lambda self, answer: f"{answer} REPAIRED OBEYS")
    monkeypatch.setattr(gatt, "load_model", lambda *_, **__: None)
    monkeypatch.setattr(rollout, "ANSWERS_PER_UNIT", 8)
    return stages.inputs(policy=stages.artifact(tmp_path, "policy"), chat=chat)


def run(given, folder, monkeypatch, follows, **fields):
    sampler = Obedient(follows)
    monkeypatch.setattr(gatt, "sample_answers", sampler)
    context = stages.context(folder)
    return gatt.STAGE.run(GattConfig(candidates=2, **fields), given, context), context.out, sampler


def test_the_instruction_is_on_every_turn_when_sampling_and_on_the_first_alone_when_training(
    given, tmp_path, monkeypatch
):
    metrics, out, sampler = run(given, tmp_path / "run", monkeypatch, lambda text, index: index % 2 == 1)
    attributes = {row["dialogue"]: row for row in read_json(out / "attributes.json")}
    for asked in (d for batch in sampler.asked for d in batch):
        users = [m.content for m in asked.messages if m.role is Role.USER]
        index = int(users[0].split(".")[0][1:])
        assert users == [f"q{index}.{t}\n{attributes[index]['text']}" for t in range(len(users))]
        assert "true answer" not in str(asked)
    trained = read_dialogues(out / "dialogues.jsonl")
    assert len(trained) == metrics["kept"] == 10
    for index, made in enumerate(trained):
        assert made.system == ("be brief" if index == 3 else None)
        turns = made.messages[1 if made.system else 0 :]
        assert [m.content for m in turns[0::2]] == [
            f"q{index}.{t}" + (f"\n{attributes[index]['text']}" if t == 0 else "") for t in range(2 + index % 3)
        ]
        assert [m.trained for m in turns[1::2]] == [False] * (len(turns) // 2 - 1) + [True]
        assert all(m.content.endswith("OBEYS") for m in turns[1::2])
    assert metrics["followed_share"] == 0.5
    assert metrics["repaired_turns"] == 0


def test_a_dialogue_is_dropped_at_its_first_turn_that_no_answer_keeps_to_or_repaired_on_request(
    given, tmp_path, monkeypatch
):
    def follows(text, index):
        return text not in ("q1.1", "q7.0")

    metrics, out, _ = run(given, tmp_path / "drop", monkeypatch, follows)
    assert (metrics["dialogues"], metrics["kept"]) == (10, 8)
    assert [row["dialogue"] for row in read_json(out / "attributes.json")] == [0, 2, 3, 4, 5, 6, 8, 9]
    assert metrics["answers"] == 2 * (sum(2 + i % 3 for i in range(10)) - 1 - 2)  # q1 ended one turn early, q7 two

    metrics, out, _ = run(given, tmp_path / "repair", monkeypatch, follows, repair=True)
    assert (metrics["kept"], metrics["repaired_turns"]) == (10, 2)
    made = read_dialogues(out / "dialogues.jsonl")[7]
    assert made.messages[1].content == "no REPAIRED OBEYS"
    assert {row["dialogue"]: row["repaired"] for row in read_json(out / "attributes.json")}[7] == 1


def test_dialogues_can_be_cut_so_that_the_first_turn_is_trained_too(given, tmp_path, monkeypatch):
    _, out, _ = run(given, tmp_path / "cut", monkeypatch, lambda *_: True, shortest=1)
    made = read_dialogues(out / "dialogues.jsonl")
    turns = [len([m for m in d.messages if m.role is Role.USER]) for d in made]
    assert all(1 <= n <= 2 + i % 3 for i, n in enumerate(turns))
    assert min(turns) == 1
    assert all(d.messages[-1].trained for d in made)


def test_none_kept_is_a_result_and_none_given_an_error(given, tmp_path, monkeypatch):
    metrics, out = run(given, tmp_path / "a", monkeypatch, lambda *_: False)[:2]
    assert metrics["kept"] == 0
    assert read_dialogues(out / "dialogues.jsonl") == []
    (given.one("chat").path / "gatt.jsonl").write_text("")
    with pytest.raises(InputError, match="no dialogues"):
        run(given, tmp_path / "b", monkeypatch, lambda *_: True)


def test_on_a_real_model_it_is_resumed_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(rollout, "ANSWERS_PER_UNIT", 4)
    # Babble is never finished; here every sample counts as ended, so that there is something to repair.
    sample = gatt.sample_answers
    monkeypatch.setattr(
        gatt, "sample_answers", lambda *a, **k: [Sample(s.ids, s.text + "a", True) for s in sample(*a, **k)]
    )
    chat = stages.artifact(tmp_path, "chat")
    write_dialogues(chat.path / "gatt.jsonl", [dialogue(i, 3) for i in range(5)])
    given = stages.inputs(policy=tiny_artifact(tmp_path, "policy"), chat=chat)
    cfg = GattConfig(candidates=2, repair=True, max_new_tokens=6)
    whole, cut = stages.context(tmp_path / "whole"), stages.context(tmp_path / "cut")
    expected = gatt.STAGE.run(cfg, given, whole)
    answers = iter([False, True, False, False])
    cut.stop_requested = lambda: next(answers)
    with pytest.raises(Stopped):
        gatt.STAGE.run(cfg, given, cut)
    assert gatt.STAGE.run(cfg, given, cut) == expected
    for name in ("dialogues.jsonl", "attributes.json"):
        assert (cut.out / name).read_bytes() == (whole.out / name).read_bytes()
    assert sorted(path.name for path in whole.out.iterdir()) == ["attributes.json", "dialogues.jsonl"]


def test_recall_counts_by_turn_the_answers_that_keep_to_the_first_turns_instruction(monkeypatch):
    prompts = [dialogue(0, 1), dialogue(1, 3), dialogue(2, 2, "be brief")]
    asked = []

    def forgetful(loaded, dialogues, sampling, *, seed):
        """Follows in the first turn only."""
        asked.append(list(dialogues))
        first = [d.messages[-1].content.split("\n") for d in dialogues]
        return [instructions[parts[1]].apply("word") if len(parts) > 1 else "word" for parts in first]

    drawn = [draw_instruction(random.Random(rollout.derive_seed(5, "instruction", i))) for i in range(3)]
    instructions = {i.text: i for i in drawn}
    monkeypatch.setattr(gatt, "answer", forgetful)
    rows = measure_recall(None, prompts, SamplingConfig(), seed=5)
    expected = [(1, 0, 1), (1, 1, 1), (1, 2, 1), (2, 1, 0), (2, 2, 0), (3, 1, 0)]
    assert sorted((row["turn"], row["dialogue"], row["kept"]) for row in rows) == expected
    last = asked[2][0]
    assert [m.content for m in last.messages] == [
        f"q1.0\n{drawn[1].text}",
        drawn[1].apply("word"),
        "q1.1",
        "word",
        "q1.2",
    ]
    assert asked[1][1].system == "be brief"
    assert measure_recall(None, [], SamplingConfig(), seed=5) == []


def test_attributes_are_plain_json():
    assert json.loads(json.dumps(OVER.to_json())) == {
        "attributes": [{"family": "ending", "value": "over"}],
        "shortened": True,
        "text": "End: over.",
    }
