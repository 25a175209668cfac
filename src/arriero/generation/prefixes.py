"""Finding beginnings that texts share, such as the prompt of several answers, so that each is read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# No more rows than this share one beginning, which bounds the search; larger families fall into several groups.
LARGEST = 32


@dataclass(frozen=True)
class Group:
    """Rows, by index, whose first `shared` tokens are equal; every row is longer than that."""

    shared: int
    members: tuple[int, ...]


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two rows share at their start."""
    shortest = min(len(first), len(second))
    return next((i for i in range(shortest) if first[i] != second[i]), shortest)


def shared_prefixes(rows: Sequence[Sequence[int]]) -> list[Group]:
    """The grouping of rows under which the fewest tokens are read; a row that shares nothing is a group of its own.

    Rows are sorted, so that every possible group is a run of neighbours, and the best division into runs is found by
    dynamic programming. A run of n rows that share p tokens saves (n - 1) p.
    """
    order = sorted(range(len(rows)), key=lambda i: (list(rows[i]), i))
    shared = [min(common_prefix(rows[a], rows[b]), len(rows[a]) - 1, len(rows[b]) - 1) for a, b in pairwise(order)]
    # saved[end]: the most that the first `end` rows can save; run[end]: the last run's length and shared tokens.
    saved, run = [0], [(0, 0)]
    for end in range(1, len(order) + 1):
        best, chosen = saved[end - 1], (1, 0)
        low = len(rows[order[end - 1]])
        for start in range(end - 2, max(-1, end - LARGEST - 1), -1):
            low = min(low, shared[start])
            total = saved[start] + low * (end - start - 1)
            if total > best:
                best, chosen = total, (end - start, low)
        saved.append(best)
        run.append(chosen)
    groups: list[Group] = []
    end = len(order)
    while end:
        length, prefix = run[end]
        groups.append(Group(prefix, tuple(order[end - length : end])))
        end -= length
    return groups[::-1]
