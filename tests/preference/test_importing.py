"""People's comparisons: splits by prompt, dropped pairs, ids."""

import json
from pathlib import Path
from typing import Any

import pytest

from arriero.dialogue import asked, first_user
from arriero.errors import InputError
from arriero.preference.importing import STAGE, ImportConfig
from arriero.preference.record import read_comparisons
from arriero.preference.splits import split_of
from stages import context, inputs


def row(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": "yes", "rejected": "no", "rating": "slightly"} | fields


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_rows_are_split_by_prompt_unless_they_state_it(tmp_path: Path) -> None:
    labels = {"domain": "safety", "chosen_safe": False, "rejected_safe": True}
    rows = [row(f"p{i % 50}") for i in range(100)] + [row("kept", split="test"), row("dropped", **labels)]
    cfg = ImportConfig(file=write(tmp_path / "c.jsonl", rows), test_fraction=0.3)
    metrics = STAGE.run(cfg, inputs(), context(tmp_path))
    kept = read_comparisons(tmp_path / "out" / "comparisons.jsonl")
    assert metrics["dropped_unsafe_preferred"] == 1
    assert len(kept) == 101
    assert kept[-1].split == "test"
    assert [c.split for c in kept[:50]] == [c.split for c in kept[50:100]]
    assert 5 <= sum(c.split == "test" for c in kept[:50]) <= 25


def test_a_split_depends_on_what_is_asked_and_the_seed_alone() -> None:
    asks = [asked(first_user(f"question {i}"), "") for i in range(4000)]
    drawn = [split_of(own, 0.2, 0) for own in asks]
    assert abs(drawn.count("test") / 4000 - 0.2) < 0.03
    assert drawn != [split_of(own, 0.2, 1) for own in asks]
    # A larger share keeps what was held out.
    assert all(split_of(own, 0.5, 0) == "test" for own, split in zip(asks, drawn, strict=True) if split == "test")
    assert asked(first_user("one"), "group") == asked(first_user("two"), "group")


def test_a_repeated_id_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    twice = write(tmp_path / "twice.jsonl", [row("a", id="x"), row("b", id="x")])
    with pytest.raises(InputError, match=r"twice.jsonl:2: the id 'x' was used on line 1"):
        STAGE.run(ImportConfig(file=twice), inputs(), context(tmp_path))
    with pytest.raises(InputError, match="holds no comparison"):
        STAGE.run(ImportConfig(file=write(tmp_path / "empty.jsonl", [])), inputs(), context(tmp_path))
    assert not list((tmp_path / "out").iterdir())
