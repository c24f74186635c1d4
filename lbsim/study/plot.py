"""One style for every figure: simulated lines with bands, published points as hollow markers beside them.

Colours are those of Okabe and Ito (distinct for colour-blind readers); every series also has its own marker
and dashes, so figures work in grey. The same data gives the same bytes: no dates, no random ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
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


@contextmanager
def style() -> Iterator[None]:
    """Apply the style to figures made and saved inside; the settings of the caller come back after."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def figure(panels: int = 1, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    """Return a figure of `panels` axes side by side, 5.2 inches wide each."""
    made = Figure(figsize=(5.2 * panels, height))
    FigureCanvasAgg(made)
    return made, list(made.subplots(1, panels, squeeze=False)[0])


def compare(
    axes: Axes,
    table: pd.DataFrame,
    published: pd.DataFrame,
    *,
    x: str,
    y: str,
    series: Sequence[str],
    xlabel: str,
    ylabel: str,
    log: bool = False,
) -> None:
    """Draw column `y` of the tidy table over column `x`, one line a series, the published `y` beside it.

    Rows that share series and x are runs of one point (hash keys, replications): the line is their median,
    the band their quartiles. Published rows have columns series, x, metric, value, p25, p75.
    """
    for name, look in zip(series, LOOKS, strict=False):
        groups = table[table["series"] == name].groupby(x)[y]
        line, low, high = groups.median(), groups.quantile(0.25), groups.quantile(0.75)
        axes.plot(line.index, line, color=look.color, marker=look.marker, linestyle=look.dashes)
        axes.fill_between(line.index, low, high, color=look.color, alpha=0.18, linewidth=0)
        points = published[(published["series"] == name) & (published["metric"] == y)]
        axes.vlines(points["x"], points["p25"], points["p75"], color=look.color, linewidth=0.9)
        axes.plot(
            points["x"], points["value"], look.marker, color=look.color, markerfacecolor="white", alpha=0.9
        )
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    _legend(axes, series)


def _legend(axes: Axes, series: Sequence[str]) -> None:
    def entry(look: Look, name: str, **more: Any) -> Line2D:
        return Line2D([], [], color=look.color, marker=look.marker, label=name, **more)

    entries: list[Line2D | Patch] = [
        entry(look, name, linestyle=look.dashes) for name, look in zip(series, LOOKS, strict=False)
    ]
    entries.append(Patch(color="0.35", alpha=0.18, linewidth=0, label="simulated p25 to p75"))
    hollow = {"linestyle": "none", "markerfacecolor": "white"}
    entries.append(entry(Look("0.35", "o", ""), "published, p25 to p75", **hollow))
    above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3}  # hides no point
    axes.legend(handles=entries, fontsize="small", handlelength=3, columnspacing=1.2, **above)


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
