"""Win rates between versions: wins / (wins + losses), as in the paper's section 3.4; ties are counted apart."""

from collections.abc import Sequence
from typing import Any

from arriero.eval.measures import Answered, values_of
from arriero.metrics.intervals import wilson

# Utilities are sums of a few floats: what differs by less is the same answer.
_TIE = 1e-9


def duel(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """Wins, losses and ties of `a` over `b` on the same prompts, and the win rate with Wilson's interval.

    `rate` is null where every prompt is a tie. Raises ValueError if the two differ in length.
    """
    margins = [x - y for x, y in zip(a, b, strict=True)]
    wins, losses = sum(m > _TIE for m in margins), sum(m < -_TIE for m in margins)
    rate = wilson(wins, wins + losses).to_json() if wins + losses else None
    return {"wins": wins, "losses": losses, "ties": len(margins) - wins - losses, "rate": rate}


def win_rate_matrix(prompts: Sequence[Answered], versions: Sequence[str]) -> list[dict[str, Any]]:
    """A row per ordered pair of versions, judged by the simulated annotator's known utility on all prompts."""
    values = {version: values_of(prompts, "utility", "all", version) for version in versions}
    return [
        {"version": row, "against": column} | duel(values[row], values[column])
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
            rows.append({"version": version, "against": versions[0], "axis": measure} | duel(a, b))
    return rows
