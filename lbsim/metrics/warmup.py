"""Warm-up: how much of the start of a series to leave out, by the rule MSER-5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

BATCH = 5
"""Observations averaged to one value before the search: the 5 of MSER-5."""

FEWEST = 50
"""Below this many observations (ten batches) MSER-5 has too little to choose from and says nothing."""

_KEPT = 5  # batches always kept: the spread of fewer is nearly 0 by chance and would win


@dataclass(frozen=True)
class Truncation:
    """What MSER-5 asks for.

    `index` is the number of observations to drop from the start, a multiple of five. `settled` is False where
    the series is too short to say: fewer than `FEWEST` observations (then `index` is 0), or the best cut lies
    in the second half, so that the start-up may not be over. `statistic` is the MSER of what is kept, the
    squared standard error of its mean if batches were independent; nan where there are too few observations.
    """

    index: int
    settled: bool
    statistic: float


def mser5(values: ArrayLike) -> Truncation:
    """Return where to cut a series so that the mean of the rest is the most precise, shape [k].

    MSER-5 averages non-overlapping batches of five to z[0..b-1] (an incomplete last batch is left out) and
    takes the cut d, a number of batches, that minimises

        sum((z[d:] - mean(z[d:]))**2) / (b - d)**2,

    the first one of equals, keeping at least five batches. A series that only shows noise may still ask for
    a short cut: early values far from the mean look like a start-up. Source: White, Cobb and Spratt, A
    comparison of five steady-state truncation heuristics for simulation, WSC 2000; the five batches at the
    end and the refusal of cuts in the second half: Hoad, Robinson and Davies, Automating warm-up length
    estimation, Journal of the Operational Research Society 61, 2010.

    Raises ValueError for an array that is not one series, and for values that are nan or infinite.

    >>> mser5([9, 8, 7, 6, 5] + [1] * 45)
    Truncation(index=5, settled=True, statistic=0.0)
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 1:
        raise ValueError(f"an array of shape {x.shape} is not one series: add up its columns, or choose one")
    if not np.isfinite(x).all():
        raise ValueError("the series holds a value that is nan or infinite: find out why before cutting it")
    if len(x) < FEWEST:
        return Truncation(0, False, float("nan"))
    batches = len(x) // BATCH
    # Sums, not means, of batches: whole numbers stay exact. Seen from the last batch, so that a constant end
    # has a spread of exactly 0, and the first of equal cuts is found.
    z = x[: batches * BATCH].reshape(batches, BATCH).sum(axis=1)
    z = (z - z[-1])[::-1]
    kept = np.arange(1, batches + 1)
    mean = np.cumsum(z) / kept
    # The sum of squares grows by terms that are never negative (Youngs and Cramer 1971): nothing cancels.
    grows = np.zeros(batches)
    grows[1:] = (z[1:] - mean[:-1]) ** 2 * (kept[:-1] / kept[1:])
    mser = (np.cumsum(grows) / (BATCH * kept) ** 2)[::-1]
    cut = int(np.argmin(mser[: batches - _KEPT + 1]))
    return Truncation(cut * BATCH, 2 * cut <= batches, float(mser[cut]))
