"""Legends: series, bands and published points above the axes, marker areas beside them."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lbsim.study.plot.looks import LOOKS, Look
from lbsim.study.plot.panel import Panel
from lbsim.study.plot.scales import number
from lbsim.study.plot.scatter import diameter
from lbsim.study.plot.shown import Areas, band_name, tail_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

SHADES: dict[str, str] = {
    "quartiles": "simulated, p25 to p75",
    "interval": "simulated mean, 95 % interval",
}
WIDEST_LEGEND = 70  # characters, the lines beside the names counted as six
WIDEST_TITLE = 14  # characters of a line above the marker areas


def legend(
    axes: Axes,
    panel: Panel,
    lines: dict[str, pd.DataFrame],
    points: dict[str, pd.DataFrame],
    areas: Areas | None,
) -> int:
    """Name what the axes show: series that have data, what bands or bars are, published points, areas.

    Returns how many rows that takes above the axes.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def entry(look: Look, name: str, **more: Any) -> Line2D:
        return Line2D([], [], color=look.color, marker=look.marker, label=name, **more)

    entries: list[Line2D | Patch] = [
        entry(look, name, linestyle="none" if panel.labels or panel.box else look.dashes)
        for name, look in zip(panel.series, LOOKS, strict=False)
        if len(lines[name]) or len(points[name])
    ]
    if panel.box:
        box: dict[str, Any] = {"facecolor": "0.82", "edgecolor": "0.35", "linewidth": 0.8}
        entries.append(Patch(label=f"simulated, {band_name(panel)}", **box))
        if tail := tail_name(panel):
            entries.append(entry(Look("0.35", "o", ""), tail, linestyle="none", markersize=3))
    elif not panel.labels:
        entries.append(Patch(color="0.35", alpha=0.18, linewidth=0, label=SHADES[panel.band]))
    elif any(_spreads(line) for line in lines.values()):
        entries.append(entry(Look("0.35", "|", ""), SHADES[panel.band], linestyle="none", markersize=9))
    published = pd.concat(list(points.values()))
    if len(published):
        hollow = {"linestyle": "none", "markerfacecolor": "white"}
        spread = ", p25 to p75" if published["p25"].notna().any() else ""
        entries.append(entry(Look("0.35", "o", ""), f"published{spread}", **hollow))
    if areas is not None:
        _area_legend(axes, panel, areas)
    columns = _columns([str(entry.get_label()) for entry in entries])
    axes.legend(  # above the axes, where it hides no point
        handles=entries,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        fontsize="small",
        handlelength=1.5 if panel.labels else 3,
        columnspacing=1.2,
    )
    return -(-len(entries) // columns)


def _area_legend(axes: Axes, panel: Panel, areas: Areas) -> None:
    """Show, right of the axes, the markers of a few values."""
    from matplotlib.lines import Line2D

    sizes = [
        Line2D([], [], color="0.35", marker="o", linestyle="none", markersize=diameter(areas.share(value)),
               label=number(value))
        for value in areas.legend()
    ]  # fmt: skip
    made = axes.legend(
        handles=sizes,
        title=fill(panel.area_label or panel.area, WIDEST_TITLE, break_long_words=False),
        loc="upper left",
        bbox_to_anchor=(1, 1),
        fontsize="small",
        title_fontsize="small",
        handlelength=1.5,
        labelspacing=1.1,
        alignment="left",
    )
    axes.add_artist(made).set_clip_on(False)


def _spreads(line: pd.DataFrame) -> bool:
    """Whether any point of a scatter plot has an error bar."""
    return bool(((line["low"] < line["high"]) | (line["xlow"] < line["xhigh"])).any())


def _columns(labels: Sequence[str]) -> int:
    """Return in how many columns a legend is no wider than its axes; it is filled column by column."""
    for columns in (3, 2):
        parts = [part for part in np.array_split(list(labels), columns) if len(part)]
        if sum(6 + max(map(len, part)) for part in parts) <= WIDEST_LEGEND:
            return columns
    return 1
