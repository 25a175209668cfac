"""Win rates between versions: wins / (wins + losses), as in the paper's section 3.4; ties are counted apart."""

from collections.abc import Sequence
from typing import Any

from arriero.eval.measures import Answered, asks_of, values_of
from arriero.metrics.intervals import share

# Utilities are sums of a few floats: what differs by less is the same answer.
_TIE = 1e-9


def duel(a: Sequence[float], b: Sequence[float], asks: Sequence[str]) -> dict[str, Any]:
    """Wins, losses and ties of `a` over `b` on the same prompts, and the win rate with its interval.

    `asks` groups prompts that ask the same. `rate` is null where every prompt is a tie. Raises ValueError if the lists
    differ in length.
    """
    decided = [(x > y, own) for x, y, own in zip(a, b, asks, strict=True) if abs(x - y) > _TIE]
    wins = sum(won for won, _ in decided)
    rate = share([won for won, _ in decided], groups=[own for _, own in decided]).to_json() if decided else None
    return {"wins": wins, "losses": len(decided) - wins, "ties": len(a) - len(decided), "rate": rate}


def win_rate_matrix(prompts: Sequence[Answered], versions: Sequence[str]) -> list[dict[str, Any]]:
    """A row per ordered pair of versions, judged by the simulated annotator's known utility on all prompts."""
    values = {version: values_of(prompts, "utility", "all", version) for version in versions}
    asks = asks_of(prompts, "all")
    return [
        {"version": row, "against": column} | duel(values[row], values[column], asks)
        for row in versions
        for column in versions
        if row != column
    ]


def against_first(prompts: Sequence[Answered], versions: Sequence[str]) -> list[dict[str, Any]]:
    """The paper's figure 11 in small: each version against the first, by each reward model on its own domain."""
    rows = []
    for version in versions[1:]:
        for measure, group in (("helpfulness", "helpful"), ("safety", "safety")):
            a, b = (values_of(prompts, measure, group, v) for v in (version, versions[0]))
            rows.append(
                {"version": version, "against": versions[0], "axis": measure} | duel(a, b, asks_of(prompts, group))
            )
    return rows
