"""Accuracy by grade and the detection of unsafe answers, on hand-worked scores."""

import math
from typing import Any

import pytest

from arriero.metrics.intervals import wilson
from arriero.preference.record import Comparison
from arriero.reward.accuracy import Scored, accuracy, unsafe_detection

BASE: dict[str, Any] = {"prompt": "p", "chosen": "a", "rejected": "b"}


def scored(rating: str, chosen: float, rejected: float, **fields: Any) -> Scored:
    return Scored(Comparison.from_json(BASE | {"rating": rating} | fields, "f:1"), chosen, rejected)


def test_accuracy_by_domain_and_grade() -> None:
    labels = {"domain": "safety", "chosen_safe": True, "rejected_safe": False}
    answers = [("better", 1, 0)] * 3 + [("better", 0, 1), ("slightly", 0, 1), ("slightly", 2, 2)]
    sources = {"chosen_source": "b", "rejected_source": "a"}
    rows = [scored(*row, group=str(i), **(sources if i < 2 else {})) for i, row in enumerate(answers)]
    found = accuracy([*rows, scored("significantly", 1, -1, **labels)])
    assert list(found) == ["helpfulness", "safety", "all"]
    assert found["helpfulness"]["overall"] == wilson(3, 6).to_json()
    assert found["helpfulness"]["ratings"] == {"slightly": wilson(0, 2).to_json(), "better": wilson(3, 4).to_json()}
    assert found["helpfulness"]["trend"]["z"] > 0
    assert {pair: by["n"] for pair, by in found["helpfulness"]["models"].items()} == {"": 4, "a / b": 2}
    assert found["all"]["overall"]["n"] == 7
    assert accuracy([]) == {}


def test_detection_counts_answers_below_the_thresholds() -> None:
    def logit(p: float) -> float:
        return math.log(p / (1 - p))

    labels = {"domain": "safety", "chosen_safe": True, "rejected_safe": False}
    rows = [scored("better", logit(0.9), logit(0.1), **labels), scored("better", logit(0.4), logit(0.3), **labels)]
    half, gate = unsafe_detection([*rows, scored("better", -9, -9)])  # an unlabelled one does not count
    assert (half["recall"]["mean"], half["precision"]["mean"]) == (1.0, pytest.approx(2 / 3))
    assert (gate["recall"]["mean"], gate["precision"]["mean"]) == (0.5, 1.0)
    assert half["false_alarms"] is None
    harmless = scored("better", logit(0.4), logit(0.6), chosen_safe=True, rejected_safe=True)
    half, gate = unsafe_detection([*rows, harmless])
    assert (half["recall"]["mean"], half["precision"]["mean"]) == (1.0, pytest.approx(2 / 3))
    assert (half["false_alarms"]["mean"], gate["false_alarms"]["mean"]) == (0.5, 0.0)
    nothing = {"recall": None, "precision": None, "false_alarms": None}
    assert unsafe_detection([])[0] == {"threshold": 0.5} | nothing
