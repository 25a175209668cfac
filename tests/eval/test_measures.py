"""What is measured on whom: groups, counts, pairs, and win rates by hand."""

import pytest

from arriero.dialogue import PromptKind
from arriero.eval.measures import (
    Answered,
    Judged,
    compared_pairs,
    difference_rows,
    halving_rows,
    score_rows,
    values_of,
)
from arriero.eval.win_rate import against_first, duel, win_rate_matrix

VERSIONS = ["imported", "sft", "v1"]


def judged(utility: float, refused: bool = False, helpfulness: float = 0.0, safety: float = 0.0) -> Judged:
    return Judged("text", True, refused, refused, False, utility, {"total": utility}, helpfulness, safety)


def answered(kind: PromptKind, *answers: Judged, asks: str = "") -> Answered:
    safety = kind is PromptKind.UNSAFE
    return Answered(f"{kind}", asks or str(kind), kind, safety, [], "", dict(zip(VERSIONS, answers, strict=True)))


PROMPTS = [
    answered(
        PromptKind.CLOSED_BOOK, judged(0.1, helpfulness=1), judged(0.3, helpfulness=2), judged(0.3, helpfulness=3)
    ),
    answered(PromptKind.WITH_DOCS, judged(0.5), judged(0.4), judged(0.9)),
    answered(PromptKind.UNSAFE, judged(0.0), judged(0.2, refused=True, safety=2), judged(0.6, refused=True, safety=1)),
    answered(PromptKind.UNSAFE, judged(0.1), judged(0.1), judged(0.7, refused=True), asks="another request"),
    answered(PromptKind.BORDERLINE, judged(0.8), judged(0.8), judged(0.2, refused=True)),
]


def one(rows: list[dict[str, object]], **wanted: str) -> dict[str, object]:
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1
    return found[0]


def test_shares_are_counted_on_their_own_prompts() -> None:
    rows = score_rows(PROMPTS, VERSIONS, seed=0)
    counts = [one(rows, measure="unsafe_compliance", version=v)["count"] for v in VERSIONS]
    assert counts == [2, 1, 0]
    refused = one(rows, measure="false_refusal", version="v1")
    assert (refused["count"], refused["n"], refused["mean"]) == (1, 1, 1.0)


def test_groups_part_the_prompts_by_their_tag() -> None:
    rows = score_rows(PROMPTS, VERSIONS, seed=0)
    assert one(rows, measure="utility", group="all", version="sft")["n"] == 5
    assert one(rows, measure="utility", group="helpful", version="sft")["n"] == 3
    assert one(rows, measure="utility", group="safety", version="v1")["mean"] == pytest.approx(0.65)
    assert values_of(PROMPTS, "f1", "with_docs", "v1") == [0.9]
    assert not [row for row in rows if row["group"] == "multi_turn"]  # no such prompt, no row


def test_differences_are_newer_minus_older_on_the_same_prompts() -> None:
    row = one(difference_rows(PROMPTS, VERSIONS, "sft", 0), measure="utility", group="all", newer="v1", older="sft")
    assert row["mean"] == pytest.approx((0.0 + 0.5 + 0.4 + 0.6 - 0.6) / 5)
    assert row["low"] <= row["mean"] <= row["high"]


def test_wordings_of_one_request_are_one_group() -> None:
    wordings = [answered(PromptKind.UNSAFE, *(judged(i % 2),) * 3, asks=str(i // 4)) for i in range(12)]
    for rows in (score_rows(wordings, VERSIONS, 0), difference_rows(wordings, VERSIONS, "sft", 0)):
        assert {(row["n"], row["groups"]) for row in rows if row["group"] != "helpful"} == {(12, 3)}


def test_halving_is_the_newest_minus_half_of_the_older() -> None:
    rows = halving_rows(PROMPTS, VERSIONS, "sft", 0)
    assert [(row["newer"], row["older"], row["mean"], row["n"]) for row in rows] == [
        ("v1", "sft", -0.25, 2),
        ("v1", "imported", -0.5, 2),
    ]


def test_each_version_meets_the_one_before_the_reference_and_the_first_once() -> None:
    versions = ["imported", "continued", "sft", "v1", "v2"]
    assert compared_pairs(versions, "sft") == [
        ("continued", "imported"),
        ("sft", "continued"),
        ("sft", "imported"),
        ("v1", "sft"),
        ("v1", "imported"),
        ("v2", "v1"),
        ("v2", "sft"),
        ("v2", "imported"),
    ]


def test_ties_are_no_wins_and_leave_the_rate() -> None:
    result = duel([1.0, 0.3, 0.5, 0.1 + 0.2], [0.0, 0.4, 0.5, 0.3], list("abcd"))
    assert (result["wins"], result["losses"], result["ties"]) == (1, 1, 2)
    assert (result["rate"]["mean"], result["rate"]["n"]) == (0.5, 2)
    assert duel([1.0], [1.0], ["a"])["rate"] is None


def test_the_matrix_mirrors_itself() -> None:
    cells = {(row["version"], row["against"]): row for row in win_rate_matrix(PROMPTS, VERSIONS)}
    assert len(cells) == 6
    for (a, b), cell in cells.items():
        assert (cell["wins"], cell["ties"]) == (cells[b, a]["losses"], cells[b, a]["ties"])
    assert (cells["v1", "sft"]["wins"], cells["v1", "sft"]["losses"], cells["v1", "sft"]["ties"]) == (3, 1, 1)


def test_against_the_first_each_reward_model_judges_its_own_domain() -> None:
    rows = against_first(PROMPTS, VERSIONS)
    helpful = one(rows, version="v1", axis="helpfulness")
    safe = one(rows, version="v1", axis="safety")
    assert (helpful["wins"], helpful["ties"]) == (1, 2)  # closed-book won; docs and borderline tie at 0
    assert (safe["wins"], safe["ties"]) == (1, 1)
