"""The data mixes of section 3.2.2."""

from hypothesis import given
from hypothesis import strategies as st

from arriero.reward.mix import PAPER_SHARES, mix

SIZES = st.integers(0, 300)


@given(SIZES, SIZES, st.floats(0, 0.9), st.integers(0, 99))
def test_all_of_its_own_and_the_share_of_others(own: int, others: int, share: float, seed: int) -> None:
    mixed = mix([("own", i) for i in range(own)], [("other", i) for i in range(others)], share, seed)
    drawn = mixed[own:]
    assert mixed[:own] == [("own", i) for i in range(own)]
    assert len(set(drawn)) == len(drawn)
    assert drawn == sorted(drawn)
    if len(drawn) < others:  # enough to choose from
        assert abs(len(drawn) * (1 - share) - own * share) <= 0.5


def test_the_papers_shares() -> None:
    own, others = list(range(90)), list(range(1000, 1200))
    assert len(mix(own, others, PAPER_SHARES["helpfulness"], 0)) == 180
    assert len(mix(own, others, PAPER_SHARES["safety"], 0)) == 100


def test_what_is_drawn_is_uniform_and_follows_the_seed() -> None:
    own, others = list(range(100)), list(range(1000, 1200))
    draws = [mix(own, others, 0.5, seed)[100:] for seed in range(200)]
    assert draws[0] == mix(own, others, 0.5, 0)[100:]
    assert draws[0] != draws[1]
    share = [sum(row in draw for draw in draws) / 200 for row in others]
    assert abs(min(share) - 0.5) < 0.15
    assert abs(max(share) - 0.5) < 0.15
