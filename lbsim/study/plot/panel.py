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

    def __post_init__(self) -> None:
        for wrong, why in _contradictions(self):
            if wrong:
                raise ValueError(f"panel of {self.y!r} over {self.x!r}: {why}")


def _contradictions(panel: Panel) -> list[tuple[bool, str]]:
    """Return what can be wrong with a panel: whether it is, and what to do about it."""
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
        (
            panel.step and bool(panel.labels),
            "step draws lines, labels draws points without lines; give one of them",
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
