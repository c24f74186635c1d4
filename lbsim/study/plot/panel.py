"""One pair of axes, as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Panel:
    """One pair of axes, as data: column `y` of the tidy table over column `x`, a line a series.

    Rows that share series and x are runs of one configuration (hash keys, replications), with one value of
    `y` each, also of a latency quantile. The line is their median and the band their quartiles, or their mean
    and its 95 % t interval.

    With `labels` the panel is a scatter plot: a point for every text in that column of a series, its runs
    are the rows with that text, and both its coordinates are measured: middle and error bars in x and in y.

    With `box` a value of x has a box instead of a point on a line: x is often a time, y then a median over
    packets in that time, and `box` names the columns of their lower and upper quartile and, as a mark, of a
    tail. Each is the median over the runs. What stands before an underscore names them: "p99" of "p99_us".

    With `heat` the panel is a heat map: one picture of one series, a cell for every x and y (e.g. time and
    core), and the column `heat` as its colour, the median over the runs that share the cell. A picture of
    what was published, `shows="published"`, takes rows whose metric is `heat`, from their columns x and `y`.
    Raises ValueError for fields that contradict each other.
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
    xlog: bool = False
    symlog: float | None = None  # y is linear from 0 up to this value, logarithmic above
    step: bool = False  # a staircase: every value holds until the next x
    labels: str = ""  # the column that names the points of a scatter plot
    area: str = ""  # a column of numbers >= 0, shown as the area of a labelled point's marker
    area_label: str = ""  # its name in the legend; the column's where empty
    box: Sequence[str] = ()  # columns of a box around y: its lower and upper end, and perhaps a tail
    heat: str = ""  # the column shown as the colour of cells
    heat_label: str = ""  # its name at the colour bar; the column's where empty
    heat_range: tuple[float, float] | None = None  # what the colours span; the values themselves where None
    shows: Literal["simulated", "published"] = "simulated"  # of a heat map

    def __post_init__(self) -> None:
        for wrong, why in _contradictions(self):
            if wrong:
                raise ValueError(f"panel of {self.y!r} over {self.x!r}: {why}")


def _contradictions(panel: Panel) -> list[tuple[bool, str]]:
    """Return what can be wrong with a panel: whether it is, and what to do about it."""
    return [*_of_scales(panel), *_of_points(panel), *_of_cells(panel)]


def _of_scales(panel: Panel) -> list[tuple[bool, str]]:
    knee, bottom = panel.symlog, panel.ylim[0] if panel.ylim else None
    return [
        (knee is not None and panel.log, "log and symlog are two scales of y; give one of them"),
        (
            knee is not None and not 0 < knee < math.inf,
            f"symlog = {knee} must be a number above 0: where the linear part of the axis ends",
        ),
        (
            knee is not None and bottom is not None and bottom < 0,
            f"ylim starts at {bottom}; with symlog it must start at 0 or above",
        ),
        (
            panel.log and bottom is not None and bottom <= 0,
            f"ylim starts at {bottom}; with log it must start above 0, or give symlog to show zeros",
        ),
        (
            panel.xlog and any(tick <= 0 for tick in panel.xticks),
            f"xticks = {list(panel.xticks)} must be above 0 with xlog",
        ),
    ]


def _of_points(panel: Panel) -> list[tuple[bool, str]]:
    return [
        (
            panel.step and bool(panel.labels),
            "step draws lines, labels draws points without lines; give one of them",
        ),
        (
            bool(panel.box) and (bool(panel.labels) or panel.step),
            "box draws boxes, labels and step do not; give one of them",
        ),
        (
            bool(panel.box) and len(panel.box) not in (2, 3),
            f"box = {list(panel.box)} must name two columns, its lower and upper end, and perhaps a tail",
        ),
        (
            bool(panel.box) and panel.band != "quartiles",
            f"band = {panel.band!r} tells of runs, a box of what happened in each; leave band out",
        ),
        (
            bool(panel.area) and not panel.labels,
            f"area = {panel.area!r} sizes the markers of labelled points; give labels, the column of names",
        ),
        (
            bool(panel.area_label) and not panel.area,
            f"area_label = {panel.area_label!r} names the column that area gives; give area",
        ),
    ]


def _of_cells(panel: Panel) -> list[tuple[bool, str]]:
    others = ("labels", "box", "log", "symlog", "xlog", "step", "ylim", "rule")
    given = [name for name in others if getattr(panel, name) not in (None, False, "", ())]
    about = [name for name in ("heat_label", "heat_range") if getattr(panel, name)]
    low, high = panel.heat_range or (0, 1)
    return [
        (
            bool(panel.heat and given),
            f"heat draws cells, {', '.join(given)} something else; give one of them",
        ),
        (
            bool(panel.heat) and len(panel.series) != 1,
            f"a heat map is the picture of one series, not of {len(panel.series)}; make a panel for each",
        ),
        (not panel.heat and bool(about), f"{', '.join(about)} tells of a heat map; give heat, its column"),
        (
            not panel.heat and panel.shows == "published",
            "shows = 'published' makes a heat map of what was published; give heat, its metric",
        ),
        (not low < high, f"heat_range = {(low, high)} must rise"),
    ]
