"""The drawing of mixture proxies: held-out loss by source, and recall, over how often the factual source is read."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure as Plot

from arriero.report.style import COLOURS, DASHES, FAINT, MARKERS, axes, drawing, svg

Series = dict[str, list[Mapping[str, float]]]  # by what it is of: an interval for each mix
SIDES = {"train": "of the training text", "heldout": "of held-out text"}


def proxies(results: Mapping[str, Any]) -> Markup:
    """The plot as inline SVG."""
    reads, losses, recall = _series(results)
    told = [_told(f"{source}, change in bits per byte", reads, found, 1, "") for source, found in losses.items()]
    told += [_told(f"facts {where} recalled", reads, found, 100, "%") for where, found in recall.items()]
    with drawing():
        alt = f"Over times that {results['facts_source']} is read. " + "; ".join(told)
        return svg(plotted(results), "proxies", alt)


def _series(results: Mapping[str, Any]) -> tuple[list[float], Series, Series]:
    """How often each mix reads the factual source, in rising order; held-out loss by source; recall by side."""
    rows = sorted(results["mixes"], key=lambda row: row["factual_read"])
    losses = {
        source: [row["bits_per_byte"][source]["change"] for row in rows] for source in sorted(results["documents"])
    }
    recall = {name: [row["recall"][side] for row in rows] for side, name in SIDES.items() if side in results["facts"]}
    return [row["factual_read"] for row in rows], losses, recall


def plotted(results: Mapping[str, Any]) -> Plot:
    """The plot alone."""
    reads, losses, recall = _series(results)
    facts, first = results["facts_source"], results["mixes"][0]["mix"]
    with drawing():
        plot, (left, right) = axes(3.1, 2)
        _lines(left, reads, losses, 1)
        left.axhline(0, color=FAINT, linewidth=1, zorder=0)
        left.set_title("Held-out loss")
        left.set_ylabel(f"bits per byte, change from mix {first}")
        _lines(right, reads, recall, 100)
        right.axhline(100 * results["chance"], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        right.annotate(
            "chance",
            (1, 100 * results["chance"]),
            (0, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=8.5,
            color=FAINT,
            ha="right",
        )
        right.set_title(f"Facts of {facts} recalled")
        right.set_ylabel("per cent of the facts")
        for ax in (left, right):
            ax.set_xlabel(f"times that {facts} is read")
            ax.legend(loc="best")
    return plot


def _lines(ax: Any, reads: Sequence[float], series: Mapping[str, Sequence[Mapping[str, float]]], scale: int) -> None:
    for number, (label, found) in enumerate(series.items()):
        means = [scale * one["mean"] for one in found]
        bars = [[abs(scale * (one[end] - one["mean"])) for one in found] for end in ("low", "high")]
        ax.errorbar(
            reads,
            means,
            yerr=bars,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            linestyle=DASHES[number % len(DASHES)],
            elinewidth=1.2,
            capsize=2.5,
            label=label,
        )


def _told(what: str, reads: Sequence[float], found: Sequence[Mapping[str, float]], scale: int, unit: str) -> str:
    values = ", ".join(f"{scale * one['mean']:.3g}{unit} at {x:.3g}" for x, one in zip(reads, found, strict=True))
    return f"{what}: {values}"
