"""How figures look: colours that colour-blind people tell apart, each beside a marker and a dash of its own.

Colours: Okabe and Ito (2008), without the yellow, which is too faint on paper. SVG keeps its text as text.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Plot

INK, FAINT, GRID = "#1f2933", "#5b6770", "#dde3e8"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#3d3d3d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)), (0, (8, 3)), "-")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++", "oo")
WIDTH = 7.4  # inches

_FONTS = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
_RC: Any = {
    "svg.hashsalt": "arriero",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "hatch.linewidth": 0.6,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Inside, matplotlib draws in the report's style; its settings are restored after."""
    with matplotlib.rc_context(_RC):
        yield


def axes(height: float, columns: int = 1, rows: int = 1, **kwargs: Any) -> tuple[Plot, Any]:
    """A figure of the report's width and its axes (one, or an array of them)."""
    figure = Plot(figsize=(WIDTH, height))
    FigureCanvasSVG(figure)
    return figure, figure.subplots(rows, columns, **kwargs)


def svg(figure: Plot, name: str, alt: str) -> Markup:
    """The figure as inline SVG, with ids that are unique to `name` and `alt` as its description."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("'DejaVu Sans'", _FONTS)
    return _described(text, alt)


def _described(text: str, alt: str) -> Markup:
    opening = re.match(r"<svg[^>]*>", text)
    assert opening
    box = re.search(r'viewBox="[^"]*"', opening[0])
    assert box
    head = f'<svg {box[0]} role="img" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return Markup(f"{head}<title>{escape(alt)}</title>{text[opening.end() :]}")


def raw_svg(width: float, height: float, body: str, alt: str) -> Markup:
    """Own SVG elements as an inline picture."""
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">'
    return Markup(f"{head}<title>{escape(alt)}</title>{body}</svg>")
