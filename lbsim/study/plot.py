"""One style for every figure: simulated lines with bands, published points as hollow markers beside them.

Colours are those of Okabe and Ito (distinct for colour-blind readers); every series also has its own marker
and dashes, so figures work in grey. The same data gives the same bytes: no dates, no random ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from lbsim.metrics.intervals import mean_interval

if TYPE_CHECKING:  # Matplotlib loads slowly; only what draws needs it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch


class Look(NamedTuple):
    """How a series is drawn."""

    color: str
    marker: str
    dashes: Any


LOOKS = (
    Look("#0072B2", "o", "-"),  # blue
    Look("#D55E00", "s", (0, (5, 1.5))),  # vermillion
    Look("#009E73", "^", (0, (1.2, 1.2))),  # green
    Look("#CC79A7", "D", (0, (5, 1.2, 1.2, 1.2))),  # purple
    Look("#E69F00", "v", (0, (8, 2))),  # orange
    Look("#56B4E9", "P", (0, (3, 1, 1, 1, 1, 1))),  # sky
    Look("#000000", "X", (0, (2, 1))),  # black
    Look("#8A8000", "h", (0, (6, 1, 2, 1))),  # yellow of the palette, darkened to be seen on white
)

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
    "svg.hashsalt": "lbsim",
}


SHADES: dict[str, str] = {
    "quartiles": "simulated, p25 to p75",
    "interval": "simulated mean, 95 % interval",
}
WIDEST_LEGEND = 70  # characters, the lines beside the names counted as six


@contextmanager
def style() -> Iterator[None]:
    """Apply the style to figures made and saved inside; the settings of the caller come back after."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


@dataclass(frozen=True)
class Panel:
    """One pair of axes, as data: column `y` of the tidy table over column `x`, a line a series.

    Rows that share series and x are runs of one configuration (hash keys, replications), with one value of
    `y` each, also of a latency quantile. The line is their median and the band their quartiles, or their mean
    and its 95 % t interval.
    """

    x: str
    y: str
    series: Sequence[str]  # in the order of LOOKS
    xlabel: str
    ylabel: str
    by: str = "series"  # the column that holds the series
    log: bool = False  # of y
    ylim: tuple[float, float] | None = None
    xticks: Sequence[float] = ()  # where the eye should rest; chosen by the axis where empty
    rule: float | None = None  # a level to mark
    where: str = ""  # pandas query of the rows to show, e.g. "cores > 1"
    band: Literal["quartiles", "interval"] = "quartiles"


BANDS: dict[str, str] = {"quartiles": "p25 to p75", "interval": "95 % interval of the mean"}


def curves(panel: Panel, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return a frame per series, indexed by x, with columns middle, low, high and n (runs behind a point)."""
    rows = table.query(panel.where) if panel.where else table
    return {
        name: pd.DataFrame(
            {
                x: _spread(runs, panel.band)
                for x, runs in rows[rows[panel.by] == name].groupby(panel.x)[panel.y]
            },
            index=["middle", "low", "high", "n"],
        ).T
        for name in panel.series
    }


def published_points(panel: Panel, published: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return a frame per series, indexed by x, with columns value, p25, p75; empty where there is none.

    Published rows have columns series, x, metric, value, p25, p75; the metric is the panel's y.
    """
    if published.empty:
        return {name: pd.DataFrame(columns=["value", "p25", "p75"]) for name in panel.series}
    rows = published[published["metric"] == panel.y].rename(columns={"x": panel.x, "series": panel.by})
    rows = rows.query(panel.where) if panel.where else rows
    return {
        name: rows[rows[panel.by] == name].set_index(panel.x)[["value", "p25", "p75"]]
        for name in panel.series
    }


def draw(panels: Sequence[Panel], table: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draw panels side by side, the published points as hollow markers beside the simulated lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(5.2 * len(panels), 3.4))
    FigureCanvasAgg(made)
    for axes, panel in zip(made.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw(axes, panel, table, published)
    return made


def chart_data(panels: Sequence[Panel], table: pd.DataFrame, published: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what the report draws of each panel, JSON-ready: looks, points and bands of every series."""
    return [
        {
            "x": panel.x,
            "y": panel.y,
            "xlabel": panel.xlabel,
            "ylabel": panel.ylabel,
            "log": panel.log,
            "ylim": panel.ylim,
            "xticks": list(panel.xticks) or None,
            "rule": panel.rule,
            "band": BANDS[panel.band],
            "series": [
                {
                    "name": name,
                    "color": look.color,
                    "marker": look.marker,
                    "dashes": [] if look.dashes == "-" else list(look.dashes[1]),
                    "points": _rows(lines[name]),
                    "published": _rows(points[name]),
                }
                for name, look in zip(panel.series, LOOKS, strict=False)
            ],
        }
        for panel in panels
        for lines, points in [(curves(panel, table), published_points(panel, published))]
    ]


def _spread(runs: pd.Series, band: str) -> list[float]:
    """Return middle, low, high and count of the runs of one configuration."""
    if band == "quartiles":
        return [float(runs.median()), *map(float, runs.quantile([0.25, 0.75])), len(runs)]
    known = runs.dropna()
    if len(known) < 2:
        return [runs.mean()] * 3 + [len(known)]
    middle, low, high, n = mean_interval(known)
    return [middle, low, high, n]


def _draw(axes: Axes, panel: Panel, table: pd.DataFrame, published: pd.DataFrame) -> None:
    lines, points = curves(panel, table), published_points(panel, published)
    for name, look in zip(panel.series, LOOKS, strict=False):
        line, dots = lines[name], points[name]
        axes.plot(line.index, line["middle"], color=look.color, marker=look.marker, linestyle=look.dashes)
        axes.fill_between(line.index, line["low"], line["high"], color=look.color, alpha=0.18, linewidth=0)
        axes.vlines(dots.index, dots["p25"], dots["p75"], color=look.color, linewidth=0.9)
        axes.plot(
            dots.index, dots["value"], look.marker, color=look.color, markerfacecolor="white", alpha=0.9
        )
    if panel.rule is not None:
        axes.axhline(panel.rule, color="0.5", linewidth=0.8, linestyle=":")
    if panel.log:
        axes.set_yscale("log")
    elif panel.ylim is None:
        axes.set_ylim(bottom=0)
    if panel.ylim is not None:
        axes.set_ylim(panel.ylim)
    if panel.xticks:
        axes.set_xticks(list(panel.xticks))
    axes.set_xlabel(panel.xlabel)
    axes.set_ylabel(panel.ylabel)
    shown = [name for name in panel.series if len(lines[name]) or len(points[name])]
    _legend(axes, panel, shown, pd.concat(list(points.values())))


def _legend(axes: Axes, panel: Panel, shown: Sequence[str], published: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def entry(look: Look, name: str, **more: Any) -> Line2D:
        return Line2D([], [], color=look.color, marker=look.marker, label=name, **more)

    entries: list[Line2D | Patch] = [
        entry(look, name, linestyle=look.dashes)
        for name, look in zip(panel.series, LOOKS, strict=False)
        if name in shown
    ]
    entries.append(Patch(color="0.35", alpha=0.18, linewidth=0, label=SHADES[panel.band]))
    if len(published):
        hollow = {"linestyle": "none", "markerfacecolor": "white"}
        spread = ", p25 to p75" if published["p25"].notna().any() else ""
        entries.append(entry(Look("0.35", "o", ""), f"published{spread}", **hollow))
    axes.legend(  # above the axes, where it hides no point
        handles=entries,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=_columns([str(entry.get_label()) for entry in entries]),
        fontsize="small",
        handlelength=3,
        columnspacing=1.2,
    )


def _columns(labels: Sequence[str]) -> int:
    """Return in how many columns a legend is no wider than its axes; it is filled column by column."""
    for columns in (3, 2):
        parts = [part for part in np.array_split(list(labels), columns) if len(part)]
        if sum(6 + max(map(len, part)) for part in parts) <= WIDEST_LEGEND:
            return columns
    return 1


def _rows(frame: pd.DataFrame) -> list[list[float | None]]:
    """Return index and columns as rows; what is not a number becomes null."""
    rows = frame.reset_index().to_numpy(dtype=float)
    return [[value if math.isfinite(value) else None for value in row] for row in rows.tolist()]


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
