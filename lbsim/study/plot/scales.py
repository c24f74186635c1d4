"""Scales and the ticks a reader expects on them; the report has the same ones in axis.js."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lbsim.study.plot.panel import Panel

MOST_TICKS = 10
MOST_DOUBLINGS = 5  # of the knee, up to 32 times it; 1-2-5 is easier to read beyond
FAR = 7.0  # height of a symlog axis, in linear parts, from which half the knee is too close to be a tick


def symlog(values: npt.ArrayLike, knee: float) -> npt.NDArray[np.float64]:
    """Return the heights of values: value / knee up to the knee, 1 + ln(value / knee) above it.

    There is no bend at the knee, so that a curve has none either.
    """
    parts = np.asarray(values, float) / knee
    return np.where(parts <= 1, parts, 1 + np.log(np.maximum(parts, 1)))


def symlog_inverse(heights: npt.ArrayLike, knee: float) -> npt.NDArray[np.float64]:
    """Return the values at heights: the inverse of `symlog`."""
    heights = np.asarray(heights, float)
    return knee * np.where(heights <= 1, heights, np.exp(np.maximum(heights, 1) - 1))


def symlog_ticks(knee: float, top: float, most: int = MOST_TICKS) -> list[float]:
    """Return 0, the knee, its half where there is room, and above it doublings, else 1-2-5, else decades."""
    below = [0.0, knee] if symlog(top, knee) > FAR else [0.0, knee / 2, knee]
    doublings = [knee * 2**k for k in range(1, 1 + max(0, math.floor(math.log2(top / knee * 1.0001))))]
    room = most - len(below)
    if len(doublings) <= min(room, MOST_DOUBLINGS):
        return below + doublings
    above = (1.3 * knee, top)
    dense = powers(*above, (1, 2, 5))
    return below + (dense if len(dense) <= room else thinned(powers(*above, (1,)), room))


def log_ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Return 1-2-5 steps within the range, decades where these are too many, every digit where too few."""
    dense = powers(low, high, (1, 2, 5))
    if len(dense) > most:
        return thinned(powers(low, high, (1,)), most)
    return dense if len(dense) >= 3 else powers(low, high, tuple(range(1, 10)))


def powers(low: float, high: float, multiples: tuple[int, ...]) -> list[float]:
    """Return all values m times a power of ten from low to high, both above 0."""
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    values = [float(f"{m}e{k}") for k in decades for m in multiples]
    return [value for value in values if low * 0.9999 <= value <= high * 1.0001]


def thinned(ticks: list[float], most: int) -> list[float]:
    """Return every n-th tick, for the least n that leaves at most so many."""
    return ticks[:: max(1, math.ceil(len(ticks) / most))]


def number(value: float, _position: Any = None) -> str:
    """Return a number as its reader writes it: 0.5, 20, 1,000."""
    return f"{value:,.10g}"


def set_scales(axes: Axes, panel: Panel) -> None:
    """Give drawn axes the scales, limits and ticks of their panel."""
    if panel.symlog is not None:
        _set_symlog(axes, panel.symlog)
    elif panel.log:
        axes.set_yscale("log")
    if panel.ylim is not None:
        axes.set_ylim(panel.ylim)
    elif not panel.log:
        axes.set_ylim(bottom=0)
    if panel.symlog is not None and (top := axes.get_ylim()[1]) > panel.symlog:
        axes.set_yticks(symlog_ticks(panel.symlog, top))
    if panel.xlog:
        _set_xlog(axes)
    if panel.xticks:
        axes.set_xticks(list(panel.xticks))


def _set_symlog(axes: Axes, knee: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    functions = (lambda values: symlog(values, knee), lambda heights: symlog_inverse(heights, knee))
    axes.set_yscale("function", functions=functions)
    axes.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(number))


def _set_xlog(axes: Axes) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

    axes.set_xscale("log")
    ticks = log_ticks(*axes.get_xlim())
    axes.xaxis.set_major_locator(FixedLocator(ticks) if len(ticks) >= 2 else MaxNLocator(5))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(number))
