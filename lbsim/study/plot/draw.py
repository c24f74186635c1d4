"""Panels drawn with Matplotlib: simulated lines with bands or boxes, published points as hollow markers."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lbsim.study.plot.heat import cells, draw_heat
from lbsim.study.plot.legend import legend
from lbsim.study.plot.looks import LOOKS, Look, style
from lbsim.study.plot.panel import Panel
from lbsim.study.plot.scales import set_scales
from lbsim.study.plot.scatter import draw_points, write_names
from lbsim.study.plot.shown import areas_of, curves, published_points

if TYPE_CHECKING:  # Matplotlib loads slowly; only what draws needs it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, SCATTER = (5.2, 3.4), (6.4, 4.6)  # inches of a panel; names of points need room
MOST_BESIDE = 3  # panels; more stand in two rows
LOW_LEGEND, ROW = 3, 0.17  # rows of a legend that have room above the axes; inches of one more
WIDEST_BOX = 0.6  # of the distance between boxes
STAIRS = 20  # markers of a staircase at most, however many steps it has


def draw(panels: Sequence[Panel], table: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draw panels side by side or in two rows, published points as hollow markers beside what was simulated.

    Raises ValueError when the table lacks a column of a panel.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [({}, {}) if panel.heat else (curves(panel, table), published_points(panel, published))
             for panel in panels]  # fmt: skip
    width, height = SCATTER if any(panel.labels for panel in panels) else SIZE
    stacked = 2 if len(panels) > MOST_BESIDE else 1
    beside = -(-len(panels) // stacked)
    made = Figure(figsize=(width * beside, height * stacked))
    FigureCanvasAgg(made)
    every = list(made.subplots(stacked, beside, squeeze=False).flat)
    for unused in every[len(panels) :]:
        made.delaxes(unused)
    every = every[: len(panels)]
    rows = 0  # of the highest legend
    for axes, panel, (lines, points) in zip(every, panels, shown, strict=True):
        if panel.heat:
            draw_heat(axes, panel, cells(panel, table, published))
        else:
            rows = max(rows, _draw(axes, panel, lines, points))
    made.set_figheight(stacked * (height + ROW * max(0, rows - LOW_LEGEND)))
    if any(panel.labels for panel in panels):
        made.draw_without_rendering()  # the layout: where names have room depends on it
        for axes, panel, (lines, points) in zip(every, panels, shown, strict=True):
            if panel.labels:
                write_names(axes, panel, lines, points)
    return made


def _draw(axes: Axes, panel: Panel, lines: dict[str, pd.DataFrame], points: dict[str, pd.DataFrame]) -> int:
    """Draw all series of a panel and return how many rows its legend has."""
    areas = areas_of(lines) if panel.area else None
    for name, look in zip(panel.series, LOOKS, strict=False):
        line, dots = lines[name], points[name]
        if panel.labels:
            draw_points(axes, look, line, dots, areas)
        elif panel.box:
            _draw_boxes(axes, look, line, WIDEST_BOX * _least_step(lines))
        else:
            _draw_line(axes, panel, look, line)
        axes.vlines(dots.index, dots["p25"], dots["p75"], color=look.color, linewidth=0.9)
        axes.plot(
            dots.index, dots["value"], look.marker, color=look.color, markerfacecolor="white", alpha=0.9
        )
    if panel.rule is not None:
        axes.axhline(panel.rule, color="0.5", linewidth=0.8, linestyle=":")
    if panel.labels:
        axes.margins(0.08)
    set_scales(axes, panel)
    if (panel.labels or panel.symlog is not None) and panel.ylim is None:
        for marks in axes.lines:
            marks.set_clip_on(False)  # zeros stand on the axis, whole
            marks.set_in_layout(False)
    axes.set_xlabel(panel.xlabel)
    axes.set_ylabel(panel.ylabel)
    return legend(axes, panel, lines, points, areas)


def _draw_line(axes: Axes, panel: Panel, look: Look, line: pd.DataFrame) -> None:
    stairs: dict[str, Any] = {}
    if panel.step:
        stairs = {"drawstyle": "steps-post", "markevery": max(1, -(-len(line) // STAIRS))}
    axes.plot(
        line.index, line["middle"], color=look.color, marker=look.marker, linestyle=look.dashes, **stairs
    )
    shade: dict[str, Any] = {"color": look.color, "alpha": 0.18, "linewidth": 0}
    axes.fill_between(line.index, line["low"], line["high"], step="post" if panel.step else None, **shade)


def _draw_boxes(axes: Axes, look: Look, line: pd.DataFrame, width: float) -> None:
    """Draw a box for every x: its ends, a bar in the middle, and a marker at the tail if there is one."""
    x, low, middle = line.index.to_numpy(float), line["low"], line["middle"]
    box: dict[str, Any] = {"facecolor": _light(look.color), "edgecolor": look.color, "linewidth": 0.8}
    axes.bar(x, line["high"] - low, width, low, **box)
    axes.hlines(middle, x - width / 2, x + width / 2, color=look.color, linewidth=1.8)
    axes.vlines(x, line["high"], line["mark"], color=look.color, linewidth=0.6)
    axes.plot(x, line["mark"], look.marker, color=look.color, markersize=3)


def _least_step(lines: dict[str, pd.DataFrame]) -> float:
    """Return the least distance between the places of boxes; 1 where there is one only."""
    places = np.unique(np.concatenate([line.index.to_numpy(float) for line in lines.values()]))
    return float(np.diff(places).min()) if len(places) > 1 else 1.0


def _light(color: str) -> tuple[float, float, float]:
    """Return a colour mixed with white, as one of a band looks."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1 - 0.25 * (1 - part) for part in to_rgb(color))
    return red, green, blue


def render(made: Figure, form: str) -> bytes:
    """Return the figure as "png", "pdf" or "svg"; equal figures give equal bytes."""
    nameless: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "svg": {"Date": None, "Creator": None},
    }
    with style():
        content = BytesIO()
        made.savefig(content, format=form, metadata=nameless[form])
    return content.getvalue()
