"""Comparisons: what is written is read back, and a wrong row is an error that names file, line and remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from arriero.dialogue import Dialogue, Message, Role, first_user
from arriero.errors import InputError
from arriero.preference.record import Comparison, Rating, read_comparisons, write_comparisons
from arriero.taxonomy import SafetyBin

ROW: dict[str, Any] = {"prompt": "What is os?", "chosen": "It signals.", "rejected": "No idea.", "rating": "better"}
ANSWERED = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ROW.items() if key != name}


def test_a_minimal_row_gets_the_defaults_of_people() -> None:
    comparison = Comparison.from_json(ROW, "people.jsonl:7")
    assert comparison.prompt == first_user("What is os?")
    assert comparison.rating is Rating.BETTER
    assert (comparison.id, comparison.domain) == ("7", "helpfulness")
    assert (comparison.annotator, comparison.split) == ("people", "train")
    assert comparison.bin is None


def test_round_trip(tmp_path: Path) -> None:
    said = (Role.SYSTEM, "Be brief."), (Role.USER, "Hi\u2028é"), (Role.ASSISTANT, "Hi"), (Role.USER, "?")
    prompt = Dialogue(tuple(Message(role, text) for role, text in said))
    written = [
        Comparison("x", prompt, "a", "b", rating, "safety", safe, other, "simulated", "test", "sft", "v1")
        for rating in Rating
        for safe, other in ((True, False), (True, True), (False, False))
    ]
    write_comparisons(tmp_path / "c.jsonl", written)
    assert read_comparisons(tmp_path / "c.jsonl") == written


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (without("rating"), "lacks rating"),
        (ROW | {"rating": "great"}, "significantly"),  # names what is allowed
        (ROW | {"rating": 2}, "rating must be one of"),
        (ROW | {"rejected": " It signals.\n"}, "identical"),
        (ROW | {"reject": "typo"}, "unknown field 'reject'"),
        (ROW | {"chosen": 5}, "chosen must be a text"),
        (ROW | {"domain": "safety"}, "chosen_safe and rejected_safe"),
        (ROW | {"chosen_safe": True}, "both or neither"),
        (ROW | {"chosen_safe": "yes", "rejected_safe": True}, "true, false or null"),
        (ROW | {"prompt": ANSWERED}, "end with a user"),
        ([ROW], "must be a JSON object"),
    ],
)
def test_a_wrong_row_names_file_line_and_remedy(row: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text("\n".join([json.dumps(ROW), json.dumps(row)]), encoding="utf-8")
    with pytest.raises(InputError, match=f"people.jsonl:2: .*{says}"):
        read_comparisons(path)


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    wrong = json.dumps(ROW | {"chosen": "caf\xe9"}, ensure_ascii=False).encode("latin-1")
    path.write_bytes(json.dumps(ROW).encode() + b"\n" + wrong)
    with pytest.raises(InputError, match=r"people.jsonl:2: .*not UTF-8"):
        read_comparisons(path)


def test_the_bins_are_the_papers_and_the_fourth_case_is_dropped() -> None:
    def labelled(chosen: bool, rejected: bool) -> Comparison:
        return Comparison.from_json(ROW | {"domain": "safety", "chosen_safe": chosen, "rejected_safe": rejected}, "f:1")

    assert labelled(True, False).bin is SafetyBin.CHOSEN_SAFE
    assert labelled(True, True).bin is SafetyBin.BOTH_SAFE
    assert labelled(False, False).bin is SafetyBin.BOTH_UNSAFE
    assert [labelled(c, r).unsafe_preferred for c in (True, False) for r in (True, False)] == [0, 0, 1, 0]
