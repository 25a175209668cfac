"""The data mixes of section 3.2.2."""

from hypothesis import given
from hypothesis import strategies as st

from arriero.reward.mix import helpfulness_mix, safety_mix

SIZES = st.integers(0, 300)


@given(SIZES, SIZES, st.integers(0, 99))
def test_helpfulness_takes_all_of_its_own_and_as_much_of_the_others(own: int, others: int, seed: int) -> None:
    mixed = helpfulness_mix([("own", i) for i in range(own)], [("other", i) for i in range(others)], seed)
    assert mixed[:own] == [("own", i) for i in range(own)]
    assert len(mixed) == own + min(own, others)
    assert len(set(mixed)) == len(mixed)


@given(SIZES, SIZES, st.integers(0, 99))
def test_safety_is_nine_tenths_of_its_mix(own: int, others: int, seed: int) -> None:
    mixed = safety_mix([("own", i) for i in range(own)], [("other", i) for i in range(others)], seed)
    drawn = mixed[own:]
    assert mixed[:own] == [("own", i) for i in range(own)]
    assert len(set(drawn)) == len(drawn)
    if len(drawn) < others:  # enough to choose from
        assert abs(len(drawn) - (own + len(drawn)) / 10) <= 0.5


def test_what_is_drawn_is_uniform_and_follows_the_seed() -> None:
    own, others = list(range(100)), list(range(1000, 1200))
    draws = [helpfulness_mix(own, others, seed)[100:] for seed in range(200)]
    assert draws[0] == helpfulness_mix(own, others, 0)[100:]
    assert draws[0] != draws[1]
    share = [sum(row in draw for draw in draws) / 200 for row in others]
    assert abs(min(share) - 0.5) < 0.15
    assert abs(max(share) - 0.5) < 0.15
