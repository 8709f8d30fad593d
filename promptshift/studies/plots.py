"""Plain data (what `json.loads` returns) -> matplotlib figure; nothing here knows of runs.

A figure has panels side by side. Kinds, with the keys of a panel beside `title`, `xlabel` and `ylabel`:

    lines    series: label, x, y, and optionally spread (half height of a band) and reference (True: no marker)
    scatter  groups: label, x, y;  optionally line: slope, intercept;  hide_ticks
    matrix   rows, columns, values (rows of numbers), unit
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from promptshift.studies.style import house_style, look

_WIDTH, _HEIGHT = 5.2, 3.8  # of a panel, inches


def draw(kind: str, panels: list[dict]) -> Figure:
    """Return the figure of `panels`.

    Raises:
        KeyError: an unknown kind, or a panel lacks a key of its kind.
    """
    paint = KINDS[kind]
    with house_style():
        height = _HEIGHT * (1.5 if kind == "matrix" else 1)
        figure = Figure(figsize=(_WIDTH * len(panels), height), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, panel in zip(axes, panels, strict=True):
            ax.set(title=panel.get("title", ""), xlabel=panel.get("xlabel", ""), ylabel=panel.get("ylabel", ""))
            paint(ax, panel)
    return figure


def _lines(ax: Axes, panel: dict) -> None:
    for index, series in enumerate(panel["series"]):
        style = look(index)
        if series.get("reference"):
            style |= {"marker": ""}
        x, y = np.asarray(series["x"], float), np.asarray(series["y"], float)
        ax.plot(x, y, label=series["label"], **style)
        if series.get("spread"):
            band = np.asarray(series["spread"], float)
            ax.fill_between(x, y - band, y + band, color=style["color"], alpha=0.18, linewidth=0)
    ticks = sorted({value for series in panel["series"] for value in series["x"]})
    if 3 <= len(ticks) <= 6:
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    elif all(float(tick).is_integer() for tick in ticks):  # epochs, images
        ax.xaxis.get_major_locator().set_params(integer=True)
    _legend(ax)


def _scatter(ax: Axes, panel: dict) -> None:
    for index, group in enumerate(panel["groups"]):
        style = look(index)
        ax.scatter(
            group["x"],
            group["y"],
            label=group["label"],
            color=style["color"],
            marker=style["marker"],
            s=16,
            alpha=0.75,
            linewidths=0,
        )
    if "line" in panel:
        low, high = ax.get_xlim()
        ends = np.array([low, high])
        ax.plot(ends, panel["line"]["intercept"] + panel["line"]["slope"] * ends, color="#808080", linewidth=1)
        ax.set_xlim(low, high)
    ax.locator_params(axis="x", nbins=5)
    if panel.get("hide_ticks"):
        ax.set_xticks([])
        ax.set_yticks([])
    _legend(ax, markerscale=1.5)


def _legend(ax: Axes, **options: float) -> None:
    """Put the legend below the axes, where it hides no point."""
    columns = min(3, len(ax.get_legend_handles_labels()[0]))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=max(1, columns), **options)


def _matrix(ax: Axes, panel: dict) -> None:
    values = np.asarray(panel["values"], float)
    image = ax.imshow(values, cmap="cividis")  # lightness alone orders it, for every kind of eye
    ax.grid(False)
    ax.set_xticks(range(values.shape[1]), panel["columns"], rotation=90, fontsize=7)
    ax.set_yticks(range(values.shape[0]), panel["rows"], fontsize=7)
    middle = (np.nanmax(values) + np.nanmin(values)) / 2
    if values.size <= 900:
        for row, column in zip(*np.nonzero(values), strict=True):
            value = values[row, column]
            ax.text(
                column,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color="#000000" if value > middle else "#ffffff",
            )
    ax.figure.colorbar(image, ax=ax, shrink=0.7, label=panel.get("unit", ""))


KINDS: dict[str, Callable[[Axes, dict], None]] = {"lines": _lines, "scatter": _scatter, "matrix": _matrix}
