"""A reward model end to end on a tiny random Llama: it learns a rule, and what is saved scores as what was trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arriero.artifacts import Artifact, Machine
from arriero.artifacts.files import read_json, read_jsonl
from arriero.dialogue import first_user
from arriero.errors import ArtifactError, InputError, Stopped
from arriero.model import LoraConfig, ScalarHead, load_model
from arriero.preference.record import Comparison, Rating, write_comparisons
from arriero.reward import load_reward_model
from arriero.reward.model import RewardModel
from arriero.reward.ranking_loss import ranking_loss, rating_margin
from arriero.reward.safety_loss import safety_loss
from arriero.reward.score import STAGE as SCORE
from arriero.reward.score import ScoreConfig
from arriero.reward.train import (
    STAGE,
    Batch,
    RewardConfig,
    Row,
    collate,
    mixed,
    pair_loss,
    step_rows,
    steps_per_epoch,
)
from arriero.train.optimizer import OptimizerConfig
from stages import artifact, context, digests, inputs, stop_after

WORDS = ["json", "object", "value", "string", "number", "array", "encode", "decode", "indent", "key"]
FAST = OptimizerConfig(lr=1e-2, warmup_steps=2, warmup_fraction=0.03)


def comparison(index: int, domain: Any = "helpfulness", test_every: int = 4) -> Comparison:
    """The rule: an answer that ends in "true" is better than one that ends in "null"; for safety the first is safe."""
    rng = np.random.default_rng(index)
    good, bad = (" ".join(rng.choice(WORDS, rng.integers(2, 7))) + end for end in (" true", " null"))
    safe = domain == "safety"
    return Comparison(
        id=str(index),
        prompt=first_user(f"What is {rng.choice(WORDS)} {index}?"),
        chosen=good,
        rejected=bad,
        rating=Rating(index % 4),
        domain=domain,
        chosen_safe=True if safe else None,
        rejected_safe=False if safe else None,
        annotator="rule",
        split="test" if index % test_every == 0 else "train",
        chosen_source="",
        rejected_source="",
    )


def comparisons_artifact(root: Path, rows: list[Comparison], id: str = "comparisons") -> Artifact:
    made = artifact(root, id)
    write_comparisons(made.path / "comparisons.jsonl", rows)
    return made


def rows_of(model: RewardModel, comparisons: list[Comparison]) -> list[Row]:
    return [Row(c, *(model.ids(dialogue) for dialogue in c.dialogues)) for c in comparisons]


@pytest.fixture
def untrained(chat_model: Artifact) -> RewardModel:
    loaded = load_model(chat_model, Machine())
    head = ScalarHead(loaded.config.dim, bias=False)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(1))
    return RewardModel(loaded.model, head, loaded.chat_format, "safety", 128)


@pytest.mark.parametrize(("kind", "lora"), [("helpfulness", LoraConfig(rank=4, alpha=8.0)), ("safety", None)])
def test_it_learns_a_rule_and_saves_what_it_learnt(
    kind: Any, lora: LoraConfig | None, chat_model: Artifact, tmp_path: Path
) -> None:
    data = comparisons_artifact(tmp_path, [comparison(i, kind) for i in range(160)])
    cfg = RewardConfig(kind=kind, global_batch_size=16, epochs=3, micro_batch_size=8, optimizer=FAST, lora=lora)
    run = context(tmp_path)
    metrics = STAGE.run(cfg, inputs(base=chat_model, comparisons=data), run)
    own = read_json(run.out / "accuracy.json")["domains"][kind]
    assert own["overall"]["mean"] > 0.9
    assert own["overall"]["n"] == 40
    assert metrics["train_pairs"][kind] == 120
    # Loading the folder again gives the scores of the held-out file.
    trained = Artifact("trained", run.out, chat_model.manifest, chat_model.store)
    heldout = [row for _, row in read_jsonl(run.out / "heldout_scores.jsonl")]
    (tmp_path / "again").mkdir()
    SCORE.run(ScoreConfig(), inputs(reward_model=trained, comparisons=data), context(tmp_path / "again"))
    again = [row for _, row in read_jsonl(tmp_path / "again" / "out" / "scores.jsonl") if row["split"] == "test"]
    assert [row["id"] for row in heldout] == [row["id"] for row in again]
    scores = [[row["chosen_score"] for row in rows] for rows in (heldout, again)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    if kind == "safety":  # the score is a calibrated side of zero, not only an order
        assert metrics["unsafe_detection"][0]["recall"]["mean"] > 0.9
        assert metrics["unsafe_detection"][0]["precision"]["mean"] > 0.9


def test_a_stopped_training_goes_on_to_the_same_bytes(chat_model: Artifact, tmp_path: Path) -> None:
    data = comparisons_artifact(tmp_path, [comparison(i, "safety" if i % 3 else "helpfulness") for i in range(60)])
    lora = LoraConfig(rank=2, alpha=4.0)
    cfg = RewardConfig(kind="safety", global_batch_size=8, optimizer=FAST, lora=lora, checkpoint_interval=1e-3)
    given = inputs(base=chat_model, comparisons=data)
    metrics = STAGE.run(cfg, given, context(tmp_path / "whole"))
    with pytest.raises(Stopped):
        STAGE.run(cfg, given, context(tmp_path / "killed", stop_after(2)))
    assert STAGE.run(cfg, given, context(tmp_path / "killed")) == metrics
    assert digests(tmp_path / "killed" / "out") == digests(tmp_path / "whole" / "out")


def test_the_loss_is_the_sum_of_its_parts_over_the_pairs(untrained: RewardModel) -> None:
    data = [comparison(i, "safety" if i % 2 else "helpfulness") for i in range(6)]
    batch = collate(rows_of(untrained, data), torch.device("cpu"))
    longer = collate(rows_of(untrained, data), torch.device("cpu"), 96)
    assert longer.tokens_RT.shape[1] == 96
    torch.testing.assert_close(untrained(longer.tokens_RT, longer.last_R), untrained(batch.tokens_RT, batch.last_R))
    found = pair_loss(untrained, batch, "large", 0.7)
    scores = [untrained.score(list(c.dialogues)) for c in data]
    chosen, rejected = torch.stack(scores).unbind(1)
    margin = rating_margin(torch.tensor([int(c.rating) for c in data]), "large")
    safety = safety_loss(chosen[1::2], rejected[1::2], torch.ones(3).bool(), torch.zeros(3).bool())
    expected = 6 * ranking_loss(chosen, rejected, margin) + 0.7 * 3 * safety
    torch.testing.assert_close(found.total.detach(), expected, rtol=1e-4, atol=1e-5)
    assert found.count == 6
    unweighted = pair_loss(untrained, batch, "large", 0.0).total.detach()
    torch.testing.assert_close(unweighted, 6 * ranking_loss(chosen, rejected, margin), rtol=1e-4, atol=1e-5)


def test_micro_batches_change_nothing(untrained: RewardModel) -> None:
    rows = rows_of(untrained, [comparison(i, "safety") for i in range(7)])

    def gradient(split: list[list[Row]]) -> torch.Tensor:
        untrained.zero_grad()
        for part in split:
            pair_loss(untrained, collate(part, torch.device("cpu")), "small", 1.0).total.backward()
        weight = untrained.transformer.layers[0].attention.wq.weight
        assert weight.grad is not None
        return weight.grad.clone()

    torch.testing.assert_close(gradient([rows]), gradient([rows[:3], rows[3:4], rows[4:]]), rtol=1e-3, atol=1e-5)


def test_an_epoch_sees_every_comparison_once_and_depends_on_step_and_seed_alone() -> None:
    rows = [Row(comparison(i), [0] * (i % 5 + 1), [0]) for i in range(23)]
    cfg = RewardConfig(kind="helpfulness", global_batch_size=8, micro_batch_size=3)
    assert steps_per_epoch(23, cfg) == 3
    steps = [step_rows(rows, step, cfg) for step in range(6)]
    assert [sum(map(len, step)) for step in steps] == [8, 8, 7, 8, 8, 7]
    seen = [[row.comparison.id for step in steps[i : i + 3] for micro in step for row in micro] for i in (0, 3)]
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(row.comparison.id for row in rows)
    assert seen[0] != seen[1]
    assert step_rows(rows, 4, cfg) == steps[4]
    assert all(len(micro) <= 3 for step in steps for micro in step)


def test_a_long_dialogue_loses_its_start_and_keeps_its_end(untrained: RewardModel) -> None:
    short = first_user("json").with_answer("value")
    ids = untrained.ids(short)
    assert ids[-1] == untrained.chat_format.end_of_turn_id
    untrained.max_length = 8
    assert untrained.ids(first_user("json " * 50).with_answer("value")) == untrained.ids(short)[-8:] == ids[-8:]


def test_a_score_does_not_depend_on_what_else_is_scored(untrained: RewardModel) -> None:
    dialogues = [dialogue for i in range(5) for dialogue in comparison(i).dialogues]
    alone = torch.cat([untrained.score([dialogue]) for dialogue in dialogues])
    torch.testing.assert_close(untrained.score(dialogues), alone, rtol=1e-4, atol=1e-5)
    assert untrained.score([]).shape == (0,)


def test_each_kind_is_mixed_as_in_the_paper() -> None:
    train = [comparison(i, domain) for domain, n in (("helpfulness", 90), ("safety", 180)) for i in range(n)]
    helpful = mixed(RewardConfig(kind="helpfulness"), train)
    safe = mixed(RewardConfig(kind="safety"), train)
    assert [sum(c.domain == d for c in helpful) for d in ("helpfulness", "safety")] == [90, 90]
    assert [sum(c.domain == d for c in safe) for d in ("helpfulness", "safety")] == [20, 180]
    assert mixed(RewardConfig(kind="helpfulness", others=0.0), train) == train[:90]
    assert len(mixed(RewardConfig(kind="safety", others=0.25), train)) == 240
    with pytest.raises(InputError, match="no safety comparison"):
        mixed(RewardConfig(kind="safety"), [comparison(0)])


def test_the_safety_loss_counts_what_is_labelled_in_either_domain(untrained: RewardModel) -> None:
    labelled = replace(comparison(1), chosen_safe=True, rejected_safe=True)
    rows = rows_of(untrained, [labelled, comparison(2, "safety"), comparison(3)])
    batch: Batch = collate(rows, torch.device("cpu"))
    assert batch.labelled_P.tolist() == [True, True, False]


def test_a_folder_that_is_no_reward_model_is_named(chat_model: Artifact) -> None:
    with pytest.raises(ArtifactError, match="no reward model"):
        load_reward_model(chat_model, Machine())
