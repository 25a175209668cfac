"""Work units: whole or absent, computed once, equal wherever they ran."""

import json
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_jobs import Spell, Word

from arriero.data.engine import EngineConfig
from arriero.data.units import MANIFEST_FILE, Phase, group
from arriero.errors import InputError, Stopped
from stages import context, digests, stop_after

ALONE = EngineConfig(workers=1)
TWO = EngineConfig(workers=2)


@pytest.fixture(autouse=True)
def _workers_import_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


WORDS = [Word(name) for name in ("ape", "bear", "cat", "deer", "eel")]


@pytest.mark.parametrize("engine", [ALONE, TWO], ids=["alone", "two"])
def test_units_are_the_same_with_any_number_of_workers_and_computed_once(tmp_path: Path, engine: EngineConfig) -> None:
    log = tmp_path / "log"
    given = context(tmp_path / "run")
    summaries = Phase(given, engine).run("spell", WORDS, Spell(log))
    assert summaries == [{"letters": len(word.name)} for word in WORDS]
    assert sorted(log.read_text().split()) == [word.name for word in WORDS]
    assert given.timings["spell_seconds"] == 2.5
    made = digests(given.scratch)
    assert Phase(context(tmp_path / "run"), engine).run("spell", WORDS, Spell(log)) == summaries
    assert len(log.read_text().split()) == len(WORDS), "nothing is computed again"
    reference = context(tmp_path / "reference")
    Phase(reference, ALONE).run("spell", WORDS, Spell(tmp_path / "other"))
    assert made == digests(reference.scratch)


@pytest.mark.parametrize("engine", [ALONE, TWO], ids=["alone", "two"])
@pytest.mark.parametrize(("kind", "error"), [("input", InputError), ("disk", OSError)])
def test_an_error_comes_through_and_what_was_finished_stays(
    tmp_path: Path, engine: EngineConfig, kind: str, error: type[Exception]
) -> None:
    broken = tmp_path / "broken"
    broken.write_text(kind)
    given = context(tmp_path / "run")
    with pytest.raises(error, match="wrong" if error is InputError else "No space left"):
        Phase(given, engine).run("spell", WORDS, Spell(tmp_path / "log", "deer", broken))
    assert not list(given.scratch.glob("spell/.*")), "no half unit is left"
    finished = {folder.name for folder in (given.scratch / "spell").iterdir()}
    assert {"ape", "bear"} <= finished
    assert "deer" not in finished
    broken.unlink()
    Phase(context(tmp_path / "run"), engine).run("spell", WORDS, Spell(tmp_path / "log", "deer", broken))
    assert sorted(set(finished) & set((tmp_path / "log").read_text().split())) == sorted(finished)


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("die")
    given = context(tmp_path / "run")
    Phase(given, TWO).run("spell", WORDS, Spell(tmp_path / "log", "cat", broken))
    reference = context(tmp_path / "reference")
    Phase(reference, ALONE).run("spell", WORDS, Spell(tmp_path / "other"))
    assert digests(given.scratch) == digests(reference.scratch)


def test_workers_that_always_die_end_the_run_with_a_remedy(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("die always")
    with pytest.raises(InputError, match=r"`spell` of cat is done.*fewer workers"):
        Phase(context(tmp_path / "run"), TWO).run("spell", WORDS[2:4], Spell(tmp_path / "log", "cat", broken))


def test_a_stop_keeps_what_is_finished(tmp_path: Path) -> None:
    given = context(tmp_path / "run", stop_after(1))
    with pytest.raises(Stopped):
        Phase(given, ALONE).run("spell", WORDS, Spell(tmp_path / "log"))
    assert 1 <= len(list((given.scratch / "spell").iterdir())) < len(WORDS)


def test_a_stop_waits_for_no_unit_that_another_worker_has_not_begun(tmp_path: Path) -> None:
    given = context(tmp_path / "run", stop_after(1))
    many = [Word(f"w{n}") for n in range(2000)]
    with pytest.raises(Stopped):
        Phase(given, TWO).run("spell", many, Spell(tmp_path / "log"))
    assert len((tmp_path / "log").read_text().split()) < len(many) / 2
    assert not list(given.scratch.glob("spell/.*")), "no half unit is left"


def test_a_mistake_in_a_job_is_told_with_its_traceback_and_not_tried_again(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("mistake")
    with pytest.raises(RuntimeError, match=r"(?s)in a worker.*unit_jobs\.py.*ZeroDivisionError"):
        Phase(context(tmp_path / "run"), TWO).run("spell", WORDS[:2], Spell(tmp_path / "log", "ape", broken))
    assert (tmp_path / "log").read_text().split().count("ape") == 1


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest"])
def test_a_damaged_unit_is_made_again(tmp_path: Path, damage: str) -> None:
    given = context(tmp_path / "run")
    Phase(given, ALONE).run("spell", WORDS, Spell(tmp_path / "log"))
    before, folder = digests(given.scratch), given.scratch / "spell" / "bear"
    if damage == "cut":
        (folder / "text").write_text("bea")
    elif damage == "gone":
        (folder / "text").unlink()
    else:
        (folder / MANIFEST_FILE).write_text(json.dumps({"summary": {}}))
    Phase(context(tmp_path / "run"), ALONE).run("spell", WORDS, Spell(tmp_path / "log"))
    assert digests(given.scratch) == before
    assert (tmp_path / "log").read_text().split().count("bear") == 2


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 60))
def test_groups_hold_every_item_once_in_order(sizes: list[int], most: int) -> None:
    groups = group(sizes, most)
    assert [index for part in groups for index in part] == list(range(len(sizes)))
    assert all(len(part) == 1 or sum(sizes[index] for index in part) <= most for part in groups)
    joined = [sum(sizes[i] for i in (*a, *b)) for a, b in pairwise(groups)]
    assert all(total > most for total in joined if total) or not joined
