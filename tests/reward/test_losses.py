"""Ranking and safety loss against their closed forms, their gradients, and torch's own."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from arriero.preference.record import Rating
from arriero.reward.ranking_loss import MARGINS, ranking_loss, rating_margin
from arriero.reward.safety_loss import safety_loss

LOGITS = st.floats(-15, 15)
LABELLED = st.lists(st.tuples(LOGITS, LOGITS, st.booleans(), st.booleans()), min_size=1, max_size=5)
SCORES = st.lists(st.tuples(*[st.floats(-20, 20)] * 3), min_size=1, max_size=6)


@given(SCORES)
def test_ranking_loss_is_the_mean_of_log_one_plus_exp(rows: list[tuple[float, float, float]]) -> None:
    chosen, rejected, margin = (torch.tensor(column) for column in zip(*rows, strict=True))
    expected = sum(math.log1p(math.exp(m - c + r)) if m - c + r < 30 else m - c + r for c, r, m in rows) / len(rows)
    assert float(ranking_loss(chosen, rejected, margin)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_ranking_gradient_is_minus_the_probability_of_the_wrong_choice() -> None:
    chosen = torch.tensor([0.3, -2.0], requires_grad=True)
    rejected = torch.tensor([0.1, 1.0], requires_grad=True)
    margin = torch.tensor([1 / 3, 1.0])
    ranking_loss(chosen, rejected, margin).backward()
    wrong = torch.sigmoid(margin - chosen.detach() + rejected.detach()) / 2
    torch.testing.assert_close(chosen.grad, -wrong)
    torch.testing.assert_close(rejected.grad, wrong)


def test_the_margins_are_the_papers() -> None:
    ratings = torch.tensor([Rating.SIGNIFICANTLY, Rating.BETTER, Rating.SLIGHTLY, Rating.NEGLIGIBLY])
    assert rating_margin(ratings, "small").tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert rating_margin(ratings, "large").tolist() == [3, 2, 1, 0]
    assert rating_margin(ratings, "none").tolist() == [0, 0, 0, 0]
    assert all(len(margins) == len(Rating) for margins in MARGINS.values())
    with pytest.raises(ValueError, match="'none', 'small'"):
        rating_margin(ratings, "medium")


def test_scores_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        ranking_loss(torch.zeros(3), torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(ValueError, match=r"\(B,\)"):
        safety_loss(torch.zeros(3), torch.zeros(3), torch.ones(3).bool(), torch.ones(3, 1).bool())


@given(LABELLED)
def test_safety_loss_is_the_cross_entropy_of_the_scores_own_sigmoid(rows: list[Any]) -> None:
    chosen, rejected, chosen_safe, rejected_safe = (torch.tensor(column) for column in zip(*rows, strict=True))
    answers = [(s, safe) for c, r, cs, rs in rows for s, safe in ((c, cs), (r, rs))]
    expected = sum(math.log1p(math.exp(-s if safe else s)) for s, safe in answers) / len(answers)
    found: Tensor = safety_loss(chosen, rejected, chosen_safe, rejected_safe)
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_safety_loss_pushes_safe_up_and_unsafe_down_even_where_the_order_is_right() -> None:
    chosen, rejected = torch.tensor([5.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
    safety_loss(chosen, rejected, torch.tensor([True]), torch.tensor([False])).backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad < 0 < rejected.grad
    assert rejected.grad > 0.4  # an unsafe answer at logit 3 is nearly as wrong as can be
