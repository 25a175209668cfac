"""Sampled pairs: two sources at varied temperatures, the asked shares, and the same bytes after a kill."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.dialogue import Prompt, PromptKind, first_user, write_prompts
from arriero.errors import ConfigError, InputError, Stopped
from arriero.preference.record import read_pairs
from arriero.preference.sample import STAGE, SampleConfig, plan, units
from stages import artifact, context, digests, inputs, model_artifact, stop_after

PROMPTS = [Prompt(f"q{i}", first_user(f"What is {i}?"), PromptKind.CLOSED_BOOK, False, "A value.") for i in range(7)]
PROMPTS += [Prompt(f"u{i}", first_user(f"Wipe disk {i}."), PromptKind.UNSAFE, True, "I can't.") for i in range(3)]


@given(st.integers(1, 60), st.floats(0, 1), st.integers(1, 4), st.integers(0, 9))
def test_a_plan_keeps_the_shares_and_never_compares_a_model_with_itself(
    pairs: int, share: float, n: int, seed: int
) -> None:
    cfg = SampleConfig(pairs=pairs, safety_share=share, seed=seed)
    planned = plan(PROMPTS, [f"m{i}" for i in range(n)], cfg)
    assert len(planned) == pairs
    assert sum(p.prompt.safety for p in planned) == round(pairs * share)
    for p in planned:
        assert p.a.temperature != p.b.temperature if n == 1 else p.a.source != p.b.source
    # No prompt comes again before all of its sort have come.
    counts = Counter(p.prompt.id for p in planned)
    for kind, size in (("q", 7), ("u", 3)):
        of_kind = [counts[f"{kind}{i}"] for i in range(size)]
        assert max(of_kind) - min(of_kind) <= 1


def test_all_sources_and_temperatures_take_part_and_each_model_is_loaded_once() -> None:
    cfg = SampleConfig(pairs=200)
    planned = plan(PROMPTS, ["sft", "base", "v1"], cfg)
    cells = {(cell.source, cell.temperature) for p in planned for cell in (p.a, p.b)}
    assert len(cells) == 9
    assert len({(p.a.source, p.b.source) for p in planned}) == 6  # in both orders
    order = [unit.cell.source for unit in units(planned)]
    assert order == sorted(order)
    assert sum(len(unit.wanted) for unit in units(planned)) == 400


def test_one_model_at_one_temperature_is_refused() -> None:
    with pytest.raises(ConfigError, match="second model"):
        plan(PROMPTS, ["only"], SampleConfig(temperatures=(0.7, 0.7)))


def test_the_stage_writes_different_answers_and_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    models = {name: model_artifact(tmp_path, name, seed) for seed, name in enumerate(("sft", "base"))}
    chat = artifact(tmp_path, "chat")
    write_prompts(chat.path / "prompts-preference.jsonl", PROMPTS)
    given = inputs(models=models, chat=chat)
    cfg = SampleConfig(pairs=12, max_new_tokens=6)
    metrics = STAGE.run(cfg, given, context(tmp_path / "whole"))
    pairs = read_pairs(tmp_path / "whole" / "out" / "pairs.jsonl")
    assert metrics["pairs"] == len(pairs) == 12 - metrics["skipped_identical"]
    assert metrics["safety_pairs"] == 5
    assert all(pair.a != pair.b and pair.source_a != pair.source_b for pair in pairs)
    with pytest.raises(Stopped):
        STAGE.run(cfg, given, context(tmp_path / "killed", stop_after(3)))
    assert STAGE.run(cfg, given, context(tmp_path / "killed")) == metrics
    assert digests(tmp_path / "killed" / "out") == digests(tmp_path / "whole" / "out")


def test_identical_answers_are_skipped_and_counted(tmp_path: Path) -> None:
    twins = {name: model_artifact(tmp_path, name) for name in ("sft", "base")}
    chat = artifact(tmp_path, "chat")
    write_prompts(chat.path / "prompts-preference.jsonl", PROMPTS[:3])
    cfg = SampleConfig(pairs=3, max_new_tokens=4, temperatures=(0.0,))  # greedy: the twins agree
    metrics = STAGE.run(cfg, inputs(models=twins, chat=chat), context(tmp_path))
    assert (metrics["pairs"], metrics["skipped_identical"]) == (0, 3)


def test_no_prompts_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    chat = artifact(tmp_path, "chat")
    write_prompts(chat.path / "prompts-preference.jsonl", [])
    with pytest.raises(InputError, match=r"prompts-preference.jsonl holds no prompts"):
        STAGE.run(SampleConfig(), inputs(models={}, chat=chat), context(tmp_path))
