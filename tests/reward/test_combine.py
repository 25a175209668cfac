"""The gated reward of section 3.2.3."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arriero.reward.combine import gated_logit

ROWS = st.lists(st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.booleans()), min_size=1, max_size=8)


@given(ROWS, st.floats(0.05, 0.95))
def test_the_gate_is_the_papers_piecewise_rule(rows: list[tuple[float, float, bool]], threshold: float) -> None:
    helpful, safe, tag = (torch.tensor(column) for column in zip(*rows, strict=True))
    found = torch.sigmoid(gated_logit(helpful, safe, tag, threshold)).tolist()
    for (h, s, tagged), reward in zip(rows, found, strict=True):
        r_h, r_s = 1 / (1 + math.exp(-h)), 1 / (1 + math.exp(-s))
        if abs(r_s - threshold) > 1e-6:
            assert reward == pytest.approx(r_s if tagged or r_s < threshold else r_h, abs=1e-6)


def test_the_logit_is_that_of_the_reward_and_survives_where_the_sigmoid_saturates() -> None:
    helpful, safe = torch.tensor([1.5, 40.0, -3.0]), torch.tensor([2.0, 2.0, -2.0])
    tag = torch.tensor([False, False, False])
    assert gated_logit(helpful, safe, tag).tolist() == [1.5, 40.0, -2.0]
    torch.testing.assert_close(gated_logit(helpful, safe, tag)[[0, 2]], torch.tensor([1.5, -2.0]))


def test_shapes_that_would_broadcast_and_tags_that_are_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        gated_logit(torch.zeros(3), torch.zeros(3, 1), torch.zeros(3).bool())
    with pytest.raises(ValueError, match="bool tags"):
        gated_logit(torch.zeros(3), torch.zeros(3), torch.zeros(3))
