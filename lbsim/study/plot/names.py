"""Where the names of points stand: beside them, over as little as possible; names.js does the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

GAPS = (2.0, 11.0, 22.0, 34.0)  # points between a marker and its name
LEADER = 11.0  # the gap from which a line leads from the name to its point
SIXTEENTHS = (
    0,
    8,
    4,
    12,
    2,
    6,
    14,
    10,
    1,
    7,
    15,
    9,
    3,
    5,
    13,
    11,
)  # of a turn, the best side first: right, left
ROUNDS = 4  # in each every name looks for its best place again
NAME, MARK, OUTSIDE, FARTHER = 4.0, 2.0, 8.0, 1.5  # cost of covering a name, a mark, the outside; of a step

Boxes = npt.NDArray[np.float64]  # (n, 4): left, bottom, right, top


def place_names(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    radii: Sequence[float],
    marks: Boxes,
    frame: tuple[float, float, float, float],
) -> list[tuple[float, float, float]]:
    """Return dx, dy from every anchor to the middle of its name, and the gap between them.

    `sizes` are widths and heights of the names, `radii` those of the markers, `marks` boxes that names should
    not cover (markers, error bars), `frame` the box they should stay in; all in one unit, about a point. The
    names look for places one after the other, in the order given, each where it covers least; then again,
    now that all others stand: greedy, so it may miss the best, but equal input gives equal output.
    """
    options = [_options(*size, radius) for size, radius in zip(sizes, radii, strict=True)]
    boxes = np.full((len(anchors), 4), np.inf)
    chosen = [0] * len(anchors)
    for _ in range(ROUNDS):
        before = list(chosen)
        for i, ((x, y), (w, h)) in enumerate(zip(anchors, sizes, strict=True)):
            middles, half = options[i][:, :2] + np.array([x, y]), np.array([w / 2, h / 2])
            tried = np.hstack([middles - half, middles + half])
            others = np.delete(boxes, i, axis=0)
            outside = w * h - _shared(tried, np.array([frame]))
            cost = NAME * _shared(tried, others) + MARK * _shared(tried, marks) + OUTSIDE * outside
            cost += FARTHER * np.arange(len(tried)) + options[i][:, 2] * h / 8
            chosen[i] = int(np.argmin(cost))
            boxes[i] = tried[chosen[i]]
        if chosen == before:
            break
    return [tuple(options[i][k].tolist()) for i, k in enumerate(chosen)]


def _options(width: float, height: float, radius: float) -> Boxes:
    """Return the places a name may take, the best first: dx, dy, gap."""

    def places() -> Iterator[tuple[float, float, float]]:
        for gap in GAPS:
            for k in SIXTEENTHS:
                across, up = math.cos(math.pi * k / 8), math.sin(math.pi * k / 8)
                stretch = 2 * max(abs(across), abs(up))  # so that the edge of the name faces the marker
                away = radius + gap
                yield across * (away + width / stretch), up * (away + height / stretch), gap

    return np.array(list(places()))


def _shared(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Return the area that each box shares with the others; those at infinity are not placed yet."""
    there = others[np.isfinite(others).all(axis=1)]
    low = np.maximum(boxes[:, None, :2], there[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], there[None, :, 2:])
    shared: npt.NDArray[np.float64] = np.prod(np.maximum(high - low, 0), axis=2).sum(axis=1)
    return shared
