"""Plans and runs, on stages of the test's own: reuse, what goes stale, failure, resumption."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arriero.artifacts import Input, Inputs, Machine, Stage, StageContext, Store
from arriero.artifacts.files import tree_digest, write_atomic, write_json
from arriero.config import InputPath, config, setting
from arriero.errors import ArtifactError, ConfigError, InputError, Stopped
from arriero.model import importing
from arriero.model.exporting import export_huggingface
from arriero.pipeline import plan, runner
from arriero.pipeline.machine import usable_cores
from arriero.pipeline.recipe import Recipe, build_recipe
from arriero.pipeline.runs import Runs
from stages import model_artifact

MACHINE = Machine()


@config
class SourceConfig:
    file: InputPath = setting(..., "text")
    repeat: int = setting(1, "copies")
    every: float = setting(1.0, "interval", operational=True)
    seed: int = setting(0, "seed")


@config
class JoinConfig:
    between: str = setting("", "separator")


def source(cfg: SourceConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    text = Path(cfg.file).read_text() * cfg.repeat
    if text.startswith("bad"):
        write_atomic(context.scratch / "half", "half")
        raise InputError("bad text")
    if text.startswith("moving"):
        Path(cfg.file).write_text("moved")
    write_atomic(context.out / "text", text)
    return {"characters": len(text)}


def join(cfg: JoinConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    parts = {label: (a.path / "text").read_text() for label, a in inputs.many("parts").items()}
    context.check_stop()
    write_json(context.out / "labels.json", list(parts))
    write_atomic(context.out / "text", cfg.between.join(parts.values()))
    return {"parts": len(parts)}


STAGES = {
    "source": Stage("source", SourceConfig, (), "text", source),
    "join": Stage("join", JoinConfig, (Input("parts", "text", many=True),), "text", join),
}
TABLES: dict[str, Any] = {
    "name": "r",
    "a": {"stage": "source", "file": "a.txt"},
    "b": {"stage": "source", "file": "b.txt"},
    "ab": {"stage": "join", "inputs": {"parts": ["a", "b"]}},
    "abb": {"stage": "join", "inputs": {"parts": ["ab", "b"]}},
}


@pytest.fixture(autouse=True)
def _own_stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plan, "stage_named", lambda name, where: STAGES[name])
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")


def recipe(folder: Path, *overrides: str) -> Recipe:
    return build_recipe(TABLES, overrides, folder, "test.toml")


def ids(folder: Path, *overrides: str, machine: Machine = MACHINE) -> dict[str, str]:
    return {p.label: p.id for p in plan.plan_recipe(recipe(folder, *overrides), machine)}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {label for label in before if before[label] != after[label]}


def test_a_field_makes_exactly_what_is_downstream_stale(tmp_path: Path) -> None:
    before = ids(tmp_path)
    assert changed(before, ids(tmp_path, "a.repeat=2")) == {"a", "ab", "abb"}
    assert changed(before, ids(tmp_path, "abb.between='-'")) == {"abb"}
    assert changed(before, ids(tmp_path, "a.every=9")) == set()
    assert changed(before, ids(tmp_path, "seed=5")) == set(before)
    assert changed(before, ids(tmp_path, machine=Machine(dtype="bfloat16"))) == set(before)
    assert changed(before, ids(tmp_path, machine=Machine(threads=7))) == set()
    (tmp_path / "b.txt").write_text("three")
    assert changed(before, ids(tmp_path)) == {"b", "ab", "abb"}


def test_moving_a_file_changes_nothing(tmp_path: Path) -> None:
    before = ids(tmp_path)
    (tmp_path / "a.txt").rename(tmp_path / "moved.txt")
    assert changed(before, ids(tmp_path, "a.file=moved.txt")) == set()


def test_a_second_run_makes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    said: list[str] = []
    for _ in range(2):
        planned = plan.plan_recipe(recipe(tmp_path), MACHINE)
        made = runner.run_plan(store, planned, MACHINE, say=said.append, show_progress=False)
    assert said[-1] == "0 stages made, 4 reused."
    assert (made["abb"].path / "text").read_text() == "onetwotwo"
    assert made["abb"].manifest.inputs == {"parts": {"ab": made["ab"].id, "b": made["b"].id}}
    assert made["a"].manifest.timings["wall_seconds"] >= 0
    assert made["a"].manifest.metrics == {"characters": 3}


def test_a_stage_is_told_what_its_id_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large source is not hashed again by the stage that checks its digest."""
    export_huggingface(model_artifact(tmp_path / "made", "m"), tmp_path / "hf")
    digest = tree_digest(tmp_path / "hf")
    monkeypatch.setattr(importing, "tree_digest", None)
    config = importing.ImportConfig(source=tmp_path / "hf", sha256=digest)
    planned = plan.stage_id(importing.STAGE, config, {}, MACHINE)
    made = runner.run_stage(Store(tmp_path / "store"), planned, MACHINE)
    assert made.manifest.metrics["sha256"] == digest
    wrong = plan.stage_id(importing.STAGE, replace(config, sha256="0" * 64), {}, MACHINE)
    with pytest.raises(InputError, match=f"has the SHA-256 digest {digest}, expected 000"):
        runner.run_stage(Store(tmp_path / "store"), wrong, MACHINE)


def test_until_makes_what_is_needed_and_no_more(tmp_path: Path) -> None:
    steps = recipe(tmp_path).steps
    assert plan.needed(steps, "ab") == {"a", "b", "ab"}
    with pytest.raises(ConfigError, match="Did you mean 'abb'"):
        plan.needed(steps, "abbb")


def test_a_stage_that_fails_leaves_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("bad")
    store = Store(tmp_path / "store")
    planned = plan.plan_recipe(recipe(tmp_path), MACHINE)
    with pytest.raises(InputError, match=r"^b: bad text"):
        runner.run_plan(store, planned, MACHINE, say=lambda _: None, show_progress=False)
    assert [p.label for p in planned if store.has(p.id)] == ["a"]
    assert (store.working / planned[1].id / "scratch" / "half").is_file(), "no error costs what is done"


def test_files_that_change_while_a_stage_reads_them_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("moving")
    store = Store(tmp_path / "store")
    planned = plan.plan_recipe(recipe(tmp_path), MACHINE)[1]
    with pytest.raises(InputError, match="changed while it ran"):
        runner.run_stage(store, planned, MACHINE)
    assert not store.has(planned.id)
    assert not list(store.working.iterdir())


def test_what_another_process_has_just_made_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    planned = plan.plan_recipe(recipe(tmp_path), MACHINE)[0]
    made = runner.run_stage(store, planned, MACHINE)
    answers = iter([False, True])  # before the lock is taken, and after
    monkeypatch.setattr(store, "complete", lambda _: next(answers))
    again = runner.run_stage(store, planned, MACHINE)
    assert again.manifest.timings == made.manifest.timings
    assert not list(store.working.iterdir())


def test_a_stop_keeps_what_is_done(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    planned = plan.plan_recipe(recipe(tmp_path), MACHINE)
    for step in planned[:2]:
        runner.run_stage(store, step, MACHINE)
    with pytest.raises(Stopped):
        runner.run_stage(store, planned[2], MACHINE, stop_requested=lambda: True)
    assert not store.has(planned[2].id)
    assert runner.run_stage(store, planned[2], MACHINE).manifest.metrics == {"parts": 2}


def test_a_damaged_artifact_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    planned = plan.plan_recipe(recipe(tmp_path), MACHINE)
    made = runner.run_plan(store, planned, MACHINE, say=lambda _: None, show_progress=False)
    (made["a"].path / "text").unlink()
    again = runner.run_plan(store, planned, MACHINE, say=lambda _: None, show_progress=False)
    assert (again["a"].path / "text").read_text() == "one"


def test_what_a_kill_left_beside_a_finished_artifact_is_cleared(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    planned = plan.plan_recipe(recipe(tmp_path), MACHINE)[0]
    runner.run_stage(store, planned, MACHINE)
    write_atomic(store.working / planned.id / "scratch" / "checkpoint", "large")
    runner.run_stage(store, planned, MACHINE)
    assert not (store.working / planned.id).exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"stage": "join"}, "needs the input 'parts'"),
        ({"stage": "join", "inputs": {"prats": "a"}}, "Did you mean 'parts'"),
        ({"stage": "source", "file": "none.txt"}, "no file or folder"),
        ({"stage": "source", "file": "a.txt", "repat": 2}, "Did you mean 'repeat'"),
    ],
)
def test_a_wrong_stage_is_found_before_anything_runs(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    wrong = build_recipe({**TABLES, "wrong": table}, [], tmp_path, "test.toml")
    with pytest.raises((ConfigError, InputError), match=message):
        plan.plan_recipe(wrong, MACHINE)


def test_a_model_must_be_one(tmp_path: Path) -> None:
    wrong = build_recipe({**TABLES, "model": "ab"}, [], tmp_path, "test.toml")
    with pytest.raises(ConfigError, match="model names 'ab', which makes no model but a text"):
        plan.plan_recipe(wrong, MACHINE)


def test_a_stage_checks_its_config_against_its_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(cfg: JoinConfig, given: Mapping[str, Mapping[str, str]]) -> None:
        if cfg.between not in given["parts"]:
            raise ConfigError(f"between names {cfg.between!r}")

    monkeypatch.setitem(STAGES, "join", replace(STAGES["join"], check=check))
    with pytest.raises(ConfigError, match=r"^ab: between names 'b2'"):
        ids(tmp_path, "ab.between=b2", "abb.between=ab")
    ids(tmp_path, "ab.between=b", "abb.between=ab")


def test_a_plan_that_is_not_made_costs_nothing_of_the_one_before(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    first, second, third = (plan.plan_recipe(recipe(tmp_path, f"a.repeat={n}"), MACHINE) for n in (1, 2, 3))
    runs.save(recipe(tmp_path), first)
    assert runs.load("r").before is None
    runner.run_plan(runs.store, first, MACHINE, say=lambda _: None, show_progress=False)
    for planned in (second, third, third):
        saved = runs.save(recipe(tmp_path), planned)
        runner.run_stage(runs.store, planned[0], MACHINE)
        before = runs.load("r").before
        assert before is not None
        assert list(before.stages.values()) == [p.id for p in first]
    assert runs.unreferenced() == [second[0].id]
    with pytest.raises(ArtifactError, match=f"not made yet.*The plan before made {first[3].id}"):
        runs.artifact("r:abb")
    assert list(saved.stages.values()) == [p.id for p in third]
    runner.run_plan(runs.store, third, MACHINE, say=lambda _: None, show_progress=False)
    assert runs.load("r").before is None
    assert {p.id for p in first} - set(runs.unreferenced()) == {first[1].id}  # b is the same in both


def test_gc_keeps_what_a_verb_made_and_what_that_came_from(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    planned = plan.plan_recipe(recipe(tmp_path), MACHINE)
    runner.run_plan(runs.store, planned, MACHINE, say=lambda _: None, show_progress=False)
    runs.store.keep(planned[2].id)
    assert runs.unreferenced() == [planned[3].id]


def test_nothing_is_removed_while_something_is_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.in_use(), store.in_use(), pytest.raises(ArtifactError, match="Something is being made"), store.alone():
        pass
    with store.alone():
        pass


def test_threads_are_no_more_than_a_container_has(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    free = usable_cores(quota)
    assert 1 <= free <= (os.cpu_count() or 1)
    for text, cores in (("max 100000", free), ("150000 100000", 1), ("50000 100000", 1), ("9900000 100000", free)):
        quota.write_text(text + "\n")
        assert usable_cores(quota) == cores


def test_gc_keeps_what_runs_name(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    for override in ("a.repeat=1", "a.repeat=2"):
        planned = plan.plan_recipe(recipe(tmp_path, override), MACHINE)
        runs.save(recipe(tmp_path, override), planned)
        runner.run_plan(runs.store, planned, MACHINE, say=lambda _: None, show_progress=False)
    kept = {p.id for p in planned}
    assert len(runs.store.ids()) == 7
    assert set(runs.store.ids()) - set(runs.unreferenced()) == kept
    assert runs.artifact("r:ab").id == dict(runs.load("r").stages)["ab"]
    with pytest.raises(InputError, match="Did you mean 'abb'"):
        runs.artifact("r:abbb")
    with pytest.raises(InputError, match="no run 'q'"):
        runs.load("q")
