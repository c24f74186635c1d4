"""Points with names: markers, error bars and, where a panel asks for it, areas that tell a third quantity."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lbsim.study.plot.looks import LOOKS, Look
from lbsim.study.plot.names import LEADER, place_names
from lbsim.study.plot.panel import Panel
from lbsim.study.plot.shown import Areas, areas_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLAIN = 6.0  # pt, diameter of a marker without an area
AREAS = (20.0, 190.0)  # pt², range of the areas
NAMES = 6.8  # pt, size of the names
BAR = 3.0  # pt, room for an error bar


def diameter(share: float) -> float:
    """Return the diameter, in points, of a marker with a share of the range of areas."""
    return math.sqrt(AREAS[0] + share * (AREAS[1] - AREAS[0]))


def draw_points(axes: Axes, look: Look, line: pd.DataFrame, dots: pd.DataFrame, areas: Areas | None) -> None:
    """Draw a series: its error bars, its markers, and a dotted line to the published twin of a point."""
    axes.vlines(line.index, line["low"], line["high"], color=look.color, linewidth=0.9, alpha=0.6)
    axes.hlines(line["middle"], line["xlow"], line["xhigh"], color=look.color, linewidth=0.9, alpha=0.6)
    twins = {dot.label: dot for dot in _rows(dots) if dot.label}
    for point in _rows(line):
        if twin := twins.get(point.label):
            ends = [point.Index, twin.Index], [point.middle, twin.value]
            axes.plot(*ends, color=look.color, linewidth=0.7, linestyle=":")
    if areas is None:
        axes.plot(line.index, line["middle"], look.marker, color=look.color, markersize=PLAIN)
        return
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.6, "alpha": 0.9}
    for point in _rows(line):
        share = areas.share(point.area)
        marker = {"color": look.color, "markersize": diameter(share), "zorder": 1.99 - 0.4 * share, **edge}
        axes.plot([point.Index], [point.middle], look.marker, **marker)  # the small ones on the large


def write_names(
    axes: Axes, panel: Panel, lines: dict[str, pd.DataFrame], dots: dict[str, pd.DataFrame]
) -> None:
    """Write the name of every point beside it; axes must have their final size (constrained layout done)."""
    areas = areas_of(lines) if panel.area else None
    known = _named(panel, lines, dots, areas)
    known = known[np.isfinite(known[["x", "y"]].to_numpy(float)).all(axis=1)]
    to_points = 72 / axes.figure.dpi
    at = axes.transData.transform(known[["x", "y"]].to_numpy(float)) * to_points
    left, bottom, right, top = (float(edge) * to_points for edge in axes.bbox.extents)
    seen = np.isfinite(at).all(axis=1)
    seen &= ((at > (left - 1, bottom - 1)) & (at < (right + 1, top + 1))).all(axis=1)
    known, at = known[seen], at[seen]
    radii = known["radius"].to_numpy()
    marks = [np.hstack([at - radii[:, None], at + radii[:, None]])]
    for low, high in ((("x", "low"), ("x", "high")), (("xlow", "y"), ("xhigh", "y"))):
        ends = [axes.transData.transform(known[list(end)].to_numpy(float)) * to_points for end in (low, high)]
        bars = np.hstack([ends[0] - BAR / 2, ends[1] + BAR / 2])
        marks.append(bars[np.isfinite(bars).all(axis=1)])
    to_name = np.flatnonzero((known["name"] != "").to_numpy())
    texts = [axes.annotate(known["name"].iloc[i], (known["x"].iloc[i], known["y"].iloc[i]), fontsize=NAMES,
                           xytext=(0, 0), textcoords="offset points", ha="center", va="center", color="0.15")
             for i in to_name]  # fmt: skip
    extents = [text.get_window_extent() for text in texts]
    places = place_names(
        [(float(at[i, 0]), float(at[i, 1])) for i in to_name],
        [(extent.width * to_points, extent.height * to_points) for extent in extents],
        radii[to_name].tolist(),
        np.vstack(marks),
        (left, bottom, right, top),
    )
    for i, text, (dx, dy, gap) in zip(to_name, texts, places, strict=True):
        text.set_position((dx, dy))
        text.set_in_layout(False)
        if gap >= LEADER:
            _lead(axes, known.iloc[i], (dx, dy))


def _lead(axes: Axes, point: pd.Series, to: tuple[float, float]) -> None:
    """Draw a thin line from a point to its name, under the names."""
    axes.annotate(
        "",
        (point["x"], point["y"]),
        xytext=to,
        textcoords="offset points",
        arrowprops={
            "arrowstyle": "-",
            "linewidth": 0.5,
            "color": "0.55",
            "shrinkA": 4,
            "shrinkB": point["radius"],
        },
        zorder=1.5,
    ).set_in_layout(False)


def _named(
    panel: Panel, lines: dict[str, pd.DataFrame], dots: dict[str, pd.DataFrame], areas: Areas | None
) -> pd.DataFrame:
    """Return all points, simulated and published: x, y, their bars, radius (pt), and the name to write.

    A published point whose simulated twin has its name is not named again.
    """
    rows = []
    for name, _ in zip(panel.series, LOOKS, strict=False):
        line, published = lines[name], dots[name]
        for p in _rows(line):
            radius = (diameter(areas.share(p.area)) if areas else PLAIN) / 2
            rows.append((p.Index, p.middle, p.low, p.high, p.xlow, p.xhigh, radius, p.label))
        for p in _rows(published):
            label = "" if p.label in set(line["label"]) else p.label
            rows.append((p.Index, p.value, p.p25, p.p75, p.Index, p.Index, PLAIN / 2, label))
    return pd.DataFrame(rows, columns=["x", "y", "low", "high", "xlow", "xhigh", "radius", "name"])


def _rows(frame: pd.DataFrame) -> Iterable[Any]:
    """Return rows as tuples with the names of the columns; x is their Index."""
    return frame.itertuples()
