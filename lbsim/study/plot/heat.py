"""Heat maps: what a cell is, and how Matplotlib draws them; the report draws the same cells in heat.js."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lbsim.study.plot.looks import HEAT
from lbsim.study.plot.panel import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def cells(panel: Panel, table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a heat map in the order of y and x: columns x, y, value, n (runs behind a cell).

    The value is the median over runs; a cell without any is missing. Raises ValueError when the table lacks a
    column of the panel, and the published rows one of series, x, metric, value and the panel's y.
    """
    columns = {"x": panel.x, "y": panel.y, "value": panel.heat}
    if panel.shows == "published":
        rows = published[published["metric"] == panel.heat] if "metric" in published else published
        rows = rows.rename(columns={"x": panel.x, "series": panel.by, "value": panel.heat})
    else:
        rows = table
    for field, name in (*columns.items(), ("by", panel.by)):
        if name not in rows.columns:
            has, whose = (
                ", ".join(map(str, rows.columns)),
                "the table has" if rows is table else "published are",
            )
            raise ValueError(f"Panel.{field}: no column {name!r} for a heat map; {whose} {has}")
    rows = rows.query(panel.where) if panel.where else rows
    runs = rows[rows[panel.by] == panel.series[0]].dropna(subset=[panel.heat])
    groups = runs.groupby([panel.y, panel.x])[panel.heat]
    made = groups.agg(value="median", n="count").reset_index()
    return made.rename(columns={panel.x: "x", panel.y: "y"})[["x", "y", "value", "n"]]


def heat_range(panel: Panel, grid: pd.DataFrame) -> tuple[float, float]:
    """Return what the colours of a heat map span."""
    if panel.heat_range is not None:
        return panel.heat_range
    if grid.empty:
        return 0.0, 1.0
    low, high = float(grid["value"].min()), float(grid["value"].max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def edges(centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the n + 1 edges of cells around n ordered centres: halfway, and as far outside the ends."""
    if len(centres) < 2:
        return np.asarray([*(centres - 0.5), *(centres + 0.5)], float)
    inner = (centres[1:] + centres[:-1]) / 2
    return np.asarray([2 * centres[0] - inner[0], *inner, 2 * centres[-1] - inner[-1]], float)


def heading(panel: Panel) -> str:
    """Return what a heat map is a picture of."""
    return f"{panel.series[0]}{', published' if panel.shows == 'published' else ''}"


def heat_json(panel: Panel, grid: pd.DataFrame) -> dict[str, Any]:
    """Return what the report needs of a heat map beside its cells, JSON-ready."""
    return {
        "label": panel.heat_label or panel.heat,
        "heading": heading(panel),
        "range": list(heat_range(panel, grid)),
        "colors": list(HEAT),
    }


def draw_heat(axes: Axes, panel: Panel, grid: pd.DataFrame) -> None:
    """Draw the cells of a heat map with a colour bar; cells that are missing stay white."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    axes.grid(visible=False)
    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    axes.set_title(heading(panel), loc="left", fontsize="medium")
    if grid.empty:
        return
    square = grid.pivot(index="y", columns="x", values="value")
    x, y = (edges(index.to_numpy(float)) for index in (square.columns, square.index))
    low, high = heat_range(panel, grid)
    colors = LinearSegmentedColormap.from_list("heat", HEAT)
    drawn = axes.pcolormesh(x, y, square.to_numpy(float), cmap=colors, vmin=low, vmax=high, rasterized=True)
    if (square.index == square.index.astype(int)).all():
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if panel.xticks:
        axes.set_xticks(list(panel.xticks))
    bar = axes.figure.colorbar(drawn, ax=axes, pad=0.02, label=panel.heat_label or panel.heat)
    bar.outline.set_visible(False)
