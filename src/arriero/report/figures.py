"""The report's drawings of data, training and reward: plain rows in, inline SVG out.

Whatever differs by colour differs by marker, dash or hatch as well. Bands and bars are 95% intervals.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from arriero.report.style import COLOURS, DASHES, FAINT, HATCHES, INK, MARKERS, axes, drawing, svg

_FEW = 15  # points of a curve that are shown as they are


def funnel(rows: Sequence[tuple[str, int, int]]) -> Markup:
    """(step, documents left, documents dropped) from the first row, all documents, down."""
    with drawing():
        figure, ax = axes(0.42 * len(rows) + 0.7)
        places = np.arange(len(rows))
        kept, dropped = [row[1] for row in rows], [row[2] for row in rows]
        ax.barh(places, kept, 0.62, color=COLOURS[0], label="left")
        ax.barh(
            places, dropped, 0.62, left=kept, color="white", edgecolor=COLOURS[1], hatch="////", label="dropped here"
        )
        for place, (_, left, lost) in enumerate(rows):
            _beside(ax, left + lost, place, f"{left:,}" + (f" (−{lost:,})" if lost else ""))
        ax.set_yticks(places, [row[0] for row in rows])
        ax.invert_yaxis()
        ax.set_xlim(0, max(kept) * 1.22)
        ax.set_xlabel("documents")
        ax.grid(axis="y", visible=False)
        _legend_above(ax)
        return svg(figure, "funnel", "Documents left after each step: " + "; ".join(f"{s} {k}" for s, k, _ in rows))


def _beside(ax: Any, x: float, y: float, text: str) -> None:
    """A note to the right of a bar's end."""
    ax.annotate(text, (x, y), (5, 0), textcoords="offset points", va="center", fontsize=8.5)


def _legend_above(ax: Any) -> None:
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)


def mixture(rows: Sequence[tuple[str, float, float, float]]) -> Markup:
    """(source, epochs, share of the text, share of what is read)."""
    with drawing():
        figure, ax = axes(0.55 * len(rows) + 1.0)
        places = np.arange(len(rows))
        for offset, column, colour, hatch, label in (
            (-0.19, 2, COLOURS[5], "", "share of the text"),
            (0.19, 3, COLOURS[0], "////", "share of what is read in a pass"),
        ):
            shares = [100 * float(row[column]) for row in rows]
            ax.barh(places + offset, shares, 0.36, color=colour, hatch=hatch, edgecolor="white", label=label)
            for place, share in zip(places, shares, strict=True):
                _beside(ax, share, place + offset, f"{share:.1f}%")
        ax.set_yticks(places, [f"{row[0]}  (×{row[1]:g})" for row in rows])
        ax.invert_yaxis()
        ax.set_xlabel("per cent of bytes")
        ax.set_xlim(0, 108 * max(max(row[2], row[3]) for row in rows))
        ax.grid(axis="y", visible=False)
        _legend_above(ax)
        alt = "; ".join(f"{s} {100 * a:.1f}% of the text, {100 * b:.1f}% of what is read" for s, _, a, b in rows)
        return svg(figure, "mixture", alt)


def smoothed(values: Sequence[float], share: float = 0.05) -> NDArray[np.float64]:
    """A centred running mean over `share` of the points, at least 3; windows shrink at the ends."""
    array = np.asarray(values, dtype=np.float64)
    reach = max(1, round(len(array) * share / 2))
    total = np.concatenate([[0.0], np.cumsum(array)])
    low = np.maximum(0, np.arange(len(array)) - reach)
    high = np.minimum(len(array), np.arange(len(array)) + reach + 1)
    return np.asarray((total[high] - total[low]) / (high - low))


def curves(
    name: str, panels: Sequence[tuple[str, Sequence[float], Sequence[float], str]], x_label: str, alt: str
) -> Markup:
    """Small multiples: (title, x, y, y label); each value faint, the running mean over it; few values as marks."""
    with drawing():
        across = min(3, len(panels))
        down = -(-len(panels) // across)
        figure, grid = axes(0.3 + 1.95 * down, across, down, squeeze=False)
        for ax, (title, x, y, label) in zip(grid.flat, panels, strict=False):
            if len(y) < _FEW:
                ax.plot(x, y, color=COLOURS[0], marker="o", markersize=4)
            else:
                ax.plot(x, y, color=COLOURS[0], linewidth=0.8, alpha=0.35)
                ax.plot(x, smoothed(y), color=COLOURS[0])
            ax.set_title(title)
            ax.set_ylabel(label)
            ax.set_xlabel(x_label)
            ax.xaxis.get_major_locator().set_params(integer=True, nbins=5)
        for ax in list(grid.flat)[len(panels) :]:
            ax.set_visible(False)
        return svg(figure, name, alt)


def accuracy_by_grade(
    grades: Sequence[str], models: Mapping[str, Sequence[Mapping[str, Any] | None]], y_label: str
) -> Markup:
    """Per model an interval per grade (None where there was no comparison)."""
    with drawing():
        figure, ax = axes(3.0)
        spread = 0.16
        for number, (model, intervals) in enumerate(models.items()):
            shift = (number - (len(models) - 1) / 2) * spread
            shown = [(place + shift, i) for place, i in enumerate(intervals) if i]
            _with_bars(ax, shown, number, model, percent=True)
        ax.axhline(50, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        ax.text(len(grades) - 0.55, 50.8, "chance", fontsize=8.5, color=FAINT, ha="right")
        ax.set_xticks(range(len(grades)), grades)
        ax.set_xlim(-0.5, len(grades) - 0.5)
        ax.set_ylabel(y_label)
        ax.grid(axis="x", visible=False)
        ax.legend(loc="upper left")
        return svg(figure, "accuracy", _spoken(grades, models, "accuracy", 100, "%"))


def reward_by_k(rounds: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> Markup:
    """Per round the curves "max" and "median": rows {k, mean, low, high}."""
    with drawing():
        figure, grid = axes(2.9, max(1, len(rounds)), 1, squeeze=False, sharey=True)
        said = []
        for ax, (label, both) in zip(grid.flat, rounds.items(), strict=True):
            for number, (statistic, rows) in enumerate(both.items()):
                k = [row["k"] for row in rows]
                ax.fill_between(
                    k,
                    [r["low"] for r in rows],
                    [r["high"] for r in rows],
                    color=COLOURS[number],
                    alpha=0.16,
                    linewidth=0,
                )
                ax.plot(
                    k,
                    [row["mean"] for row in rows],
                    color=COLOURS[number],
                    linestyle=DASHES[number],
                    marker=MARKERS[number],
                    markersize=4,
                    label=f"{statistic} of K",
                )
                said.append(
                    f"{label} {statistic}: {rows[0]['mean']:.2f} at K = 1, {rows[-1]['mean']:.2f} at K = {k[-1]}"
                )
            ax.set_title(label)
            ax.set_xlabel("K, answers sampled a prompt")
            ax.xaxis.get_major_locator().set_params(integer=True)
        grid[0, 0].set_ylabel("gated reward")
        grid[0, 0].legend(loc="upper left")
        return svg(figure, "reward-by-k", "Reward against K. " + "; ".join(said))


def intervals_by_version(
    name: str, versions: Sequence[str], panels: Mapping[str, Mapping[str, Mapping[str, Any]]], unit: str, percent: bool
) -> Markup:
    """Panels side by side: title -> version -> interval; versions down the side."""
    with drawing():
        figure, grid = axes(0.34 * len(versions) + 1.0, len(panels), 1, squeeze=False, sharey=True)
        scale = 100 if percent else 1
        for number, (ax, (title, by_version)) in enumerate(zip(grid.flat, panels.items(), strict=True)):
            for place, version in enumerate(versions):
                interval = by_version.get(version)
                if not interval:
                    continue
                mean, low, high = (scale * float(interval[key]) for key in ("mean", "low", "high"))
                ax.plot([low, high], [place, place], color=COLOURS[number], linewidth=2)
                ax.plot([mean], [place], marker=MARKERS[number], color=COLOURS[number], markersize=7)
                text = f"{mean:.0f}%" if percent else f"{mean:.2f}"
                ax.annotate(text, (mean, place), (0, 7), textcoords="offset points", ha="center", fontsize=8.5)
            ax.set_title(title)
            ax.set_xlabel(unit)
            ax.set_ylim(len(versions) - 0.5, -0.7)
            if percent:
                ax.set_xlim(-4, 104)
            else:
                ax.margins(x=0.12)
        grid[0, 0].set_yticks(range(len(versions)), versions)
        flat = {title: [by.get(version) for version in versions] for title, by in panels.items()}
        return svg(figure, name, _spoken(versions, flat, unit, scale, "%" if percent else ""))


def _with_bars(
    ax: Any, shown: Sequence[tuple[float, Mapping[str, Any]]], number: int, label: str, percent: bool
) -> None:
    scale = 100 if percent else 1
    means = [scale * float(i["mean"]) for _, i in shown]
    below = [m - scale * float(i["low"]) for m, (_, i) in zip(means, shown, strict=True)]
    above = [scale * float(i["high"]) - m for m, (_, i) in zip(means, shown, strict=True)]
    ax.errorbar(
        [x for x, _ in shown],
        means,
        yerr=[np.maximum(below, 0), np.maximum(above, 0)],
        fmt=MARKERS[number % len(MARKERS)],
        color=COLOURS[number % len(COLOURS)],
        linestyle=DASHES[number % len(DASHES)],
        linewidth=1.1,
        elinewidth=1.4,
        capsize=3,
        label=label,
    )


def lines_with_bars(
    name: str,
    ticks: Sequence[float],
    series: Mapping[str, Mapping[float, Mapping[str, Any]]],
    x_label: str,
    y_label: str,
) -> Markup:
    """Shares by an ordered quantity: label -> x -> interval; lines set apart a little so that bars do not hide."""
    with drawing():
        figure, ax = axes(3.0)
        step = min((b - a for a, b in itertools.pairwise(ticks)), default=1.0)
        for number, (label, by_x) in enumerate(series.items()):
            shift = (number - (len(series) - 1) / 2) * 0.07 * step
            _with_bars(ax, [(x + shift, by_x[x]) for x in ticks if x in by_x], number, label, percent=True)
        ax.set_xticks(list(ticks), [f"{x:g}" for x in ticks])
        ax.set_ylim(-4, 104)
        ax.set_xlabel(x_label)
        ax.set_ylabel(y_label)
        ax.grid(axis="x", visible=False)
        ax.legend(loc="best")
        flat = {label: [by_x.get(x) for x in ticks] for label, by_x in series.items()}
        return svg(figure, name, _spoken([f"{x_label} {x:g}" for x in ticks], flat, y_label, 100, "%"))


def _spoken(
    names: Sequence[str], rows: Mapping[str, Sequence[Mapping[str, Any] | None]], what: str, scale: float, unit: str
) -> str:
    parts = []
    for label, intervals in rows.items():
        told = ", ".join(
            f"{name} {scale * i['mean']:.4g}{unit} ({scale * i['low']:.4g} to {scale * i['high']:.4g})"
            for name, i in zip(names, intervals, strict=True)
            if i
        )
        parts.append(f"{label}: {told}")
    return f"{what}. " + "; ".join(parts)


def bars(name: str, rows: Sequence[tuple[str, float, float, float]], x_label: str) -> Markup:
    """(label, value, low, high) as bars with whiskers; low = high where there is no interval."""
    with drawing():
        figure, ax = axes(0.42 * len(rows) + 0.8)
        for place, (_, value, low, high) in enumerate(rows):
            number = place % len(COLOURS)
            ax.barh(place, value, 0.6, color=COLOURS[number], hatch=HATCHES[number], edgecolor="white")
            if high > low:
                ax.plot([low, high], [place, place], color=INK, linewidth=1.6)
            _beside(ax, max(value, high), place, f"{value:.3f}")
        ax.set_yticks(range(len(rows)), [row[0] for row in rows])
        ax.invert_yaxis()
        ax.set_xlim(0, 1.15 * max(max(row[1], row[3]) for row in rows))
        ax.set_xlabel(x_label)
        ax.grid(axis="y", visible=False)
        alt = "; ".join(f"{label} {v:.3f} ({low:.3f} to {high:.3f})" for label, v, low, high in rows)
        return svg(figure, name, f"{x_label}. {alt}")
