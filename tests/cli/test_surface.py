"""The command line's surface is frozen: a new verb, option, field or default is a deliberate change."""

import difflib
from pathlib import Path

import pytest
from surface import surface

from arriero.cli.main import VERBS, main
from arriero.cli.stage_verb import STAGE_VERBS
from arriero.pipeline.table import STAGES

FROZEN = Path(__file__).parent / "surface.txt"


def test_the_surface_is_the_frozen_one() -> None:
    frozen, found = FROZEN.read_text().splitlines(), surface().splitlines()
    changes = list(difflib.unified_diff(frozen, found, "surface.txt", "now", lineterm="", n=0))
    assert not changes, (
        "The command line has changed:\n" + "\n".join(changes) + "\nIf that is meant, write it down: "
        "python tests/cli/surface.py > tests/cli/surface.txt, and tell users in the change's description."
    )


@pytest.mark.parametrize("words", [*VERBS, ""])
def test_every_verb_has_help(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--help"])
    assert ended.value.code == 0
    assert f"usage: arriero {words}".strip() in capsys.readouterr().out


def test_help_shows_every_field_with_default_and_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pretrain", "--help"])
    shown = capsys.readouterr().out
    assert "sequence_length (int; default 256 tokens): " in shown
    assert "checkpoint_interval (float; default 60.0 s): " in shown
    assert "operational" in shown


def test_help_of_a_run_shows_the_top_level_of_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    shown = capsys.readouterr().out
    assert "\n  seed (int; default 1): " in shown
    assert "\n  machine.dtype (" in shown


def test_every_stage_has_a_verb() -> None:
    assert sorted(verb.stage_name for verb in STAGE_VERBS) == sorted(STAGES)
