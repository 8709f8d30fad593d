"""Colours, markers, and figures as SVG text that goes into a page."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from html import escape

import matplotlib

matplotlib.use("Agg")  # files only, no display is needed

from matplotlib.figure import Figure  # noqa: E402

# Okabe and Ito's colours, which stay apart for colour-blind eyes, in an order in which neighbours differ in lightness;
# every series has a marker and a line style of its own too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C7A00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
INK = "#010203"  # text and axes; becomes the page's own text colour, so that one picture fits light and dark

_RC = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "legend.frameon": False,
    "savefig.transparent": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Draw with the project's settings inside the block."""
    with matplotlib.rc_context(_RC):
        yield


def look(index: int) -> dict[str, object]:
    """Return colour, marker and line style of the series at `index`."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index % len(LINES)],
    }


def svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG; equal figures under equal names give equal text."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**_RC, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def inline_svg(figure: Figure, name: str, alt: str) -> str:
    """Return a figure as an element of an HTML page.

    Args:
        figure: drawn in `house_style`.
        name: unique in the page; identifiers of the drawing begin with it.
        alt: what a reader who cannot see the picture is told.
    """
    text = svg(figure, name)
    text = text[text.index("<svg") :]
    prefix = re.sub(r"\W", "-", name)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = text.replace(INK, "currentColor")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
