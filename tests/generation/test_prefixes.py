"""Common beginnings: a true partition, and no division into groups saves more."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from arriero.generation.prefixes import Group, common_prefix, shared_prefixes

ROWS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=1, max_size=6)


def partitions(items: list[int]) -> list[list[list[int]]]:
    if not items:
        return [[]]
    first, rest = items[0], items[1:]
    grown = [
        [*smaller[:i], [first, *smaller[i]], *smaller[i + 1 :]]
        for smaller in partitions(rest)
        for i in range(len(smaller))
    ]
    return grown + [[[first], *smaller] for smaller in partitions(rest)]


def saving(rows: list[list[int]], members: list[int]) -> int:
    """Tokens that need not be read when these rows share their common beginning (each keeps one token of its own)."""
    shared = min(len(rows[i]) - 1 for i in members)
    while len({tuple(rows[i][:shared]) for i in members}) > 1:
        shared -= 1
    return shared * (len(members) - 1)


@given(ROWS)
def test_no_other_grouping_saves_more(rows: list[list[int]]) -> None:
    groups = shared_prefixes(rows)
    assert sorted(member for group in groups for member in group.members) == list(range(len(rows)))
    for group in groups:
        assert len({tuple(rows[i][: group.shared]) for i in group.members}) == 1
        assert all(len(rows[i]) > group.shared for i in group.members)
    saved = sum(group.shared * (len(group.members) - 1) for group in groups)
    assert saved == max(sum(saving(rows, group) for group in way) for way in partitions(list(range(len(rows)))))


def test_answers_to_one_prompt_are_grouped_however_they_are_ordered() -> None:
    system, first, second = [9] * 10, [1] * 30, [2] * 30
    rows = [[*system, *first, 5, 6], [*system, *second, 5], [*system, *first, 7], [*system, *second, 8, 8]]
    for order in permutations(range(4)):
        groups = shared_prefixes([rows[i] for i in order])
        found = {(group.shared, frozenset(order[i] for i in group.members)) for group in groups}
        assert found == {(40, frozenset({0, 2})), (40, frozenset({1, 3}))}


def test_rows_that_share_nothing_stand_alone() -> None:
    assert shared_prefixes([[1, 2], [3]]) == [Group(0, (0,)), Group(0, (1,))]
    assert shared_prefixes([]) == []
    assert common_prefix([1, 2, 3], [1, 2]) == 2
