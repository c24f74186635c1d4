"""Confidence intervals: what a few independent replications allow one to say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """An estimate with its confidence interval; nan bounds where one sample cannot say."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.mean:.4g}"
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


def mean_interval(samples: ArrayLike, level: float = 0.95) -> Interval:
    """Return the Student t interval of the mean of independent samples (one value a replication).

    Samples that are nan are refused with ValueError: an interval that skips failed runs would lie.
    """
    x = np.asarray(samples, dtype=float)
    if np.isnan(x).any():
        raise ValueError("a sample is nan: leave the failed replication out knowingly, or repeat it")
    n, mean = len(x), float(x.mean())
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), n)
    from scipy import stats  # loads slowly; few runs need it

    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * x.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def paired_interval(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """Return the interval of the mean difference a - b of runs that shared their random numbers."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if x.shape != y.shape:
        raise ValueError(f"{x.size} and {y.size} samples are not pairs: run both with the same replications")
    return mean_interval(x - y, level)


def median_interval(samples: ArrayLike, level: float = 0.95) -> Interval:
    """Return the sample median with the order-statistic interval that needs no assumption on the law.

    The bounds are the sorted samples whose binomial(n, 1/2) ranks hold at least `level`; with fewer than six
    samples no such ranks exist at 95 % and the whole range is given.
    """
    x = np.sort(np.asarray(samples, dtype=float))
    n = len(x)
    if n < 2:
        return Interval(float(np.median(x)), float("nan"), float("nan"), n)
    from scipy import stats

    k = int(np.sum(2 * stats.binom.cdf(np.arange(n // 2), n, 0.5) <= 1 - level))
    low = max(0, k - 1)
    return Interval(float(np.median(x)), float(x[low]), float(x[n - 1 - low]), n)
