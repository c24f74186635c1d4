"""Panels drawn with Matplotlib: simulated lines with bands, published points as hollow markers."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pandas as pd

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
STAIRS = 20  # markers of a staircase at most, however many steps it has


def draw(panels: Sequence[Panel], table: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draw panels side by side, the published points as hollow markers beside what was simulated.

    Raises ValueError when the table lacks a column of a panel.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [(curves(panel, table), published_points(panel, published)) for panel in panels]
    width, height = SCATTER if any(panel.labels for panel in panels) else SIZE
    made = Figure(figsize=(width * len(panels), height))
    FigureCanvasAgg(made)
    every = made.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel, (lines, points) in zip(every, panels, shown, strict=True):
        _draw(axes, panel, lines, points)
    if any(panel.labels for panel in panels):
        made.draw_without_rendering()  # the layout: where names have room depends on it
        for axes, panel, (lines, points) in zip(every, panels, shown, strict=True):
            if panel.labels:
                write_names(axes, panel, lines, points)
    return made


def _draw(axes: Axes, panel: Panel, lines: dict[str, pd.DataFrame], points: dict[str, pd.DataFrame]) -> None:
    areas = areas_of(lines) if panel.area else None
    for name, look in zip(panel.series, LOOKS, strict=False):
        line, dots = lines[name], points[name]
        if panel.labels:
            draw_points(axes, look, line, dots, areas)
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
    legend(axes, panel, lines, points, areas)


def _draw_line(axes: Axes, panel: Panel, look: Look, line: pd.DataFrame) -> None:
    stairs: dict[str, Any] = {}
    if panel.step:
        stairs = {"drawstyle": "steps-post", "markevery": max(1, -(-len(line) // STAIRS))}
    axes.plot(
        line.index, line["middle"], color=look.color, marker=look.marker, linestyle=look.dashes, **stairs
    )
    shade: dict[str, Any] = {"color": look.color, "alpha": 0.18, "linewidth": 0}
    axes.fill_between(line.index, line["low"], line["high"], step="post" if panel.step else None, **shade)


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
