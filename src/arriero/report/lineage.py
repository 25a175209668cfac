"""What came from what, drawn as rails: a row per stage, and beside the rows a rail from each stage to all that use it.

A rail starts with an arrow out of its stage and has a dot where a later stage takes it; no line crosses a box.
"""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from markupsafe import Markup

from arriero.report.style import COLOURS, FAINT, INK, raw_svg

_ROW, _HIGH, _BOX, _RAIL, _MARGIN = 32, 25, 330, 15, 6
_OUT, _IN = 6, -5  # where a rail leaves a box and enters one, from the middle of the box

# Colour and dash by the kind of artifact; whatever is not named is grey and solid.
_KINDS = {
    "model": (COLOURS[0], ""),
    "reward_model": (COLOURS[1], "6 2"),
    "corpus": (COLOURS[2], "2 2"),
    "evaluation": (COLOURS[3], "8 2 2 2"),
}
LEGEND = (
    "Blue: models; vermilion, dashed: reward models; green, dotted: corpus; violet, dash-dotted: evaluation; grey: "
    "other data. A rail leaves its stage below the middle of the box; a dot on it is a stage that takes it."
)


def rails(sources: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The rail of every label that a later one takes, 0 nearest to the boxes; rails that share rows differ.

    `sources`: label -> labels of its inputs, inputs before what they make.
    """
    row = {label: number for number, label in enumerate(sources)}
    last = {i: row[label] for label, inputs in sources.items() for i in inputs}
    free_from: list[int] = []
    chosen: dict[str, int] = {}
    for label in sources:
        if label not in last:
            continue
        rail = next((r for r, free in enumerate(free_from) if free <= row[label]), len(free_from))
        if rail == len(free_from):
            free_from.append(0)
        free_from[rail] = last[label] + 1
        chosen[label] = rail
    return chosen


def lineage_svg(sources: Mapping[str, Sequence[str]], about: Mapping[str, tuple[str, str]]) -> Markup:
    """`about`: label -> (stage name, kind of its artifact)."""
    chosen = rails(sources)
    left = _MARGIN + (max(chosen.values(), default=-1) + 1) * _RAIL + 16
    row = {label: _MARGIN + number * _ROW + _HIGH / 2 for number, label in enumerate(sources)}
    at = {label: left - 16 - rail * _RAIL for label, rail in chosen.items()}
    lines = "".join(
        _rail(at[label], row[label], max(row[user] for user, inputs in sources.items() if label in inputs), left, kind)
        for label, (_, kind) in about.items()
        if label in chosen
    )
    taken = "".join(_taken(left, row[user], {i: at[i] for i in inputs}, about) for user, inputs in sources.items())
    boxes = "".join(_box(label, left, row[label], *about[label]) for label in sources)
    head = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>'
    )
    told = "; ".join(f"{label} from {', '.join(inputs) or 'nothing'}" for label, inputs in sources.items())
    height = 2 * _MARGIN + len(sources) * _ROW - (_ROW - _HIGH)
    return raw_svg(left + _BOX + _MARGIN, height, head + lines + taken + boxes, f"Lineage. {told}")


def _look(kind: str) -> tuple[str, str]:
    colour, dash = _KINDS.get(kind, (FAINT, ""))
    return colour, f' stroke-dasharray="{dash}"' if dash else ""


def _rail(x: float, start: float, end: float, left: float, kind: str) -> str:
    colour, dash = _look(kind)
    y = start + _OUT
    path = f"M{left:.0f} {y:.0f}H{x + 5:.0f}Q{x:.0f} {y:.0f} {x:.0f} {y + 5:.0f}V{end + _IN:.0f}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4"{dash}/>'


def _taken(left: float, y: float, inputs: Mapping[str, float], about: Mapping[str, tuple[str, str]]) -> str:
    if not inputs:
        return ""
    dots = "".join(
        f'<circle cx="{x:.0f}" cy="{y + _IN:.0f}" r="3" fill="{_look(about[label][1])[0]}"/>'
        for label, x in inputs.items()
    )
    line = f'<path d="M{min(inputs.values()):.0f} {y + _IN:.0f}H{left - 1:.0f}" stroke="{INK}" marker-end="url(#tip)"/>'
    return line + dots


def _box(label: str, x: float, middle: float, stage: str, kind: str) -> str:
    colour, dash = _look(kind)
    return (
        f'<rect x="{x:.0f}" y="{middle - _HIGH / 2:.1f}" width="{_BOX}" height="{_HIGH}" rx="5" fill="white" '
        f'stroke="{colour}" stroke-width="1.5"{dash}/>'
        f'<text x="{x + 12:.0f}" y="{middle + 4:.1f}" font-size="12" font-weight="600" fill="{INK}">'
        f"{escape(label)}</text>"
        f'<text x="{x + _BOX - 12:.0f}" y="{middle + 4:.1f}" font-size="10.5" text-anchor="end" fill="{FAINT}">'
        f"{escape(stage)}</text>"
    )
