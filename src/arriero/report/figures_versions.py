"""The report's drawings of how versions compare: distributions, win rates, safety against helpfulness."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from arriero.report.style import COLOURS, FAINT, INK, MARKERS, axes, drawing, svg


def density(values: Sequence[float], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian kernel density with Silverman's bandwidth (1986, eq. 3.31)."""
    sample = np.asarray(values, dtype=np.float64)
    quartiles = np.quantile(sample, [0.25, 0.75])
    spread = min(float(sample.std()), float(quartiles[1] - quartiles[0]) / 1.34) or float(sample.std()) or 0.1
    width = 0.9 * spread * len(sample) ** -0.2
    z = (at[:, None] - sample[None, :]) / width
    return np.asarray(np.exp(-0.5 * z * z).sum(axis=1) / (len(sample) * width * np.sqrt(2 * np.pi)))


def ridges(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Markup:
    """Title -> version -> values: one hill a version, oldest on top, with a mark at its mean."""
    with drawing():
        versions = list(dict.fromkeys(version for by in panels.values() for version in by))
        figure, grid = axes(0.55 * len(versions) + 1.0, len(panels), 1, squeeze=False, sharey=True)
        said = []
        for number, (ax, (title, by_version)) in enumerate(zip(grid.flat, panels.items(), strict=True)):
            everything = np.concatenate([np.asarray(v, dtype=np.float64) for v in by_version.values()])
            reach = 0.08 * (float(np.ptp(everything)) or 1.0)
            at = np.linspace(everything.min() - reach, everything.max() + reach, 220)
            hills = {version: density(values, at) for version, values in by_version.items()}
            tallest = max(float(hill.max()) for hill in hills.values())
            for place, (version, hill) in enumerate(hills.items()):
                top = place - 0.88 * hill / tallest
                ax.fill_between(at, place, top, color=COLOURS[number], alpha=0.3, linewidth=0, zorder=2 + place)
                ax.plot(at, top, color=COLOURS[number], linewidth=1.2, zorder=2 + place)
                mean = float(np.mean(by_version[version]))
                height = float(np.interp(mean, at, hill)) / tallest
                ax.plot([mean, mean], [place, place - 0.88 * height], color=INK, linewidth=1.5, zorder=3 + place)
                said.append(f"{title}, {version}: mean {mean:.2f}, n = {len(by_version[version])}")
            ax.set_title(title)
            ax.set_xlabel("score (logit)")
            ax.set_ylim(len(versions) - 0.7, -1.05)
            ax.grid(axis="y", visible=False)
        grid[0, 0].set_yticks(range(len(versions)), versions)
        return svg(figure, "ridges", "Distributions of reward-model scores. " + "; ".join(said))


def win_matrix(versions: Sequence[str], cells: Mapping[tuple[str, str], Mapping[str, Any]]) -> Markup:
    """Row beats column in so many per cent of the prompts that are no tie. The number stands in every cell."""
    with drawing():
        size = len(versions)
        figure, ax = axes(0.52 * size + 1.2)
        shares = np.full((size, size), np.nan)
        for (row, column), cell in cells.items():
            if cell["rate"]:
                shares[versions.index(row), versions.index(column)] = 100 * cell["rate"]["mean"]
        edges = np.arange(size + 1) - 0.5
        ax.pcolormesh(edges, edges, np.ma.masked_invalid(shares), cmap="cividis", vmin=0, vmax=100, edgecolor="white")
        ax.invert_yaxis()
        for (row, column), cell in cells.items():
            y, x = versions.index(row), versions.index(column)
            value = shares[y, x]
            ink = FAINT if np.isnan(value) else ("white" if value < 55 else INK)
            text = "all tie" if np.isnan(value) else f"{value:.0f}%"
            ax.text(x, y - 0.12, text, ha="center", va="center", color=ink, fontsize=10, fontweight="bold")
            ax.text(x, y + 0.25, f"{cell['wins']}–{cell['losses']}", ha="center", va="center", color=ink, fontsize=7.5)
        ax.set_xticks(range(size), versions)
        ax.set_yticks(range(size), versions)
        ax.xaxis.tick_top()
        ax.xaxis.set_label_position("top")
        ax.set_xlabel("against")
        ax.grid(visible=False)
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        alt = "; ".join(
            f"{a} against {b}: {c['wins']} wins, {c['losses']} losses, {c['ties']} ties" for (a, b), c in cells.items()
        )
        return svg(figure, "win-rate", f"Win rates. {alt}")


def figure_eleven(first: str, points: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> Markup:
    """(version, helpfulness interval, safety interval) as win rates against `first`, joined in order."""
    with drawing():
        figure, ax = axes(4.6)
        ax.axhline(50, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        ax.axvline(50, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        xs = [50.0, *(100 * float(h["mean"]) for _, h, _ in points)]
        ys = [50.0, *(100 * float(s["mean"]) for _, _, s in points)]
        for number, (version, helpful, safe) in enumerate(points, 1):
            colour = COLOURS[number % len(COLOURS)]
            x, y = xs[number], ys[number]
            ax.plot([100 * helpful["low"], 100 * helpful["high"]], [y, y], color=colour, linewidth=1.2, alpha=0.75)
            ax.plot([x, x], [100 * safe["low"], 100 * safe["high"]], color=colour, linewidth=1.2, alpha=0.75)
            ax.annotate(
                "",
                (x, y),
                (xs[number - 1], ys[number - 1]),
                arrowprops={"arrowstyle": "->", "color": FAINT, "linewidth": 0.9, "shrinkA": 6, "shrinkB": 6},
            )
            ax.plot(
                [x],
                [y],
                marker=MARKERS[number % len(MARKERS)],
                color=colour,
                markersize=9,
                linestyle="none",
                label=version,
            )
        ax.plot([50], [50], marker="o", color=INK, markersize=8, linestyle="none", label=f"{first} (by definition)")
        ax.set_xlim(0, 100)
        ax.set_ylim(0, 100)
        ax.set_xlabel(f"helpfulness: win rate against {first}, %")
        ax.set_ylabel(f"safety: win rate against {first}, %")
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        alt = "; ".join(f"{v} helpfulness {100 * h['mean']:.0f}%, safety {100 * s['mean']:.0f}%" for v, h, s in points)
        return svg(figure, "figure-eleven", f"Win rates against {first}. {alt}")
