"""Confidence intervals: what a few independent replications allow one to say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lbsim.metrics.histogram import SUB_BITS, Histogram


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
    x = _samples(samples)
    n, mean = len(x), float(x.mean())
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), n)
    half = _student(level, n) * float(x.std(ddof=1)) / math.sqrt(n)
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
    from scipy.special import bdtr  # loads slowly; few runs need it

    k = int(np.sum(2 * bdtr(np.arange(n // 2), n, 0.5) <= 1 - level))
    low = max(0, k - 1)
    return Interval(float(np.median(x)), float(x[low]), float(x[n - 1 - low]), n)


def quantile_interval(histograms: Sequence[Histogram], q: float, level: float = 0.95) -> Interval:
    """Return the quantile `q` over independent replications, one histogram each, with its interval.

    Sectioning: the estimate is the quantile of all values together, which is less biased than the mean of
    the replications' own quantiles; their spread around it, through Student's t with n - 1 degrees of
    freedom, gives the width (Asmussen and Glynn, Stochastic Simulation, 2007, III.5; Nakayama, Confidence
    intervals for quantiles using sectioning, ACM TOMACS 24(4), 2014). A histogram knows a value to its bin,
    at most 1/128 wide: the bounds are counted from the edges of the bin, so the interval does not shrink to
    nothing where all replications agree on a bin.

    Measured coverage at 95 %, five replications: 95 % for independent exponential values with two or more a
    replication beyond the quantile, 92.5 % with one. Latencies come in bursts, and then a short replication's
    own tail is mostly too low: sojourn times in an M/M/1 queue at load 0.7, 10,000 packets a replication,
    are covered in 94 % at p50 and p95, 93 % at p99 (100 beyond) and 85 % at p99.9 (10 beyond); at load 0.9
    with 50,000 packets in 93 % at p99 (500 beyond) and 81 % at p99.9 (50 beyond).

    Raises ValueError where no histogram is given or one is empty.
    """
    if not histograms:
        raise ValueError("no histogram is given: a quantile needs at least one replication")
    merged = sum(histograms[1:], start=histograms[0])
    point, n = merged.quantile(q), len(histograms)
    x = _samples([histogram.quantile(q) for histogram in histograms])
    if n < 2:
        return Interval(point, float("nan"), float("nan"), n)
    half = _student(level, n) * math.sqrt(float(np.sum((x - point) ** 2)) / (n - 1) / n)
    width = 1 << max(0, int(point).bit_length() - 1 - SUB_BITS)
    first = int(point) // width * width  # of the whole values in the bin
    return Interval(point, max(first, merged.low) - half, min(first + width - 1, merged.high) + half, n)


def relative_half_width(interval: Interval) -> float:
    """Return half the width of an interval as a share of its estimate: 0.02 for "± 2 %".

    0 where the width is 0; infinite where the estimate is 0 or one sample cannot say.
    """
    half = (interval.high - interval.low) / 2
    if half == 0:
        return 0.0
    return half / abs(interval.mean) if half > 0 and interval.mean else float("inf")


def more_replications(values: ArrayLike, within: float, level: float = 0.95, at_most: int = 100) -> int:
    """Return how many more replications the mean of `values` needs; 0 once it is known well enough.

    The rule "until ± 2 % at 95 %": stop at n replications where the half width of the t interval is at most
    `within` (0.02) of the mean, or at `at_most`. Until then run as many as the spread so far asks for,
    (t s / (within mean))**2 in all, at least one more and at most twice as many. The answer depends on the
    values alone, so a sweep takes the same steps however its work is spread. With fewer than two values there
    is no spread, and the answer is what is missing to two.

    A rule that stops once the spread looks small stops too early where it looks small by chance (Chow and
    Robbins, Annals of Mathematical Statistics 36, 1965), so its last interval covers less often than its
    level says. Measured at 95 %, over 20,000 experiments each: with normal values it covers in 92 % or more
    when begun with 5 values (the worst where about 16 are needed), 93.5 % with 10, 94 % with 20; that the
    mean is within ± `within` of the truth, as was asked, held in 94.5 % or more. Skewed values do worse:
    lognormal ones with a standard deviation as large as their mean are covered in 90 % at ± 20 % and in 84 %
    at ± 40 %. Where `at_most` ended it, the interval covers as it says, but is wider than was asked for.

    Raises ValueError for a `within` that is not above 0, a `level` outside 0..1 and values that are nan.
    """
    if not within > 0:
        raise ValueError(f"within = {within} is out of range: give a share above 0, e.g. 0.02 for 2 %")
    n = np.size(values)
    if n < 2:
        return max(0, min(2, at_most) - n)
    x = _samples(values)
    wanted = within * abs(float(x.mean()))
    if relative_half_width(mean_interval(x, level)) <= within:
        return 0
    half = _student(level, n) * float(x.std(ddof=1))  # of one sample
    needed = math.ceil((half / wanted) ** 2) if half < wanted * n else 2 * n
    return max(0, min(max(needed, n + 1), 2 * n, at_most) - n)


def _samples(samples: ArrayLike) -> NDArray[np.float64]:
    """Return samples as an array; refuse what no interval can be made of."""
    x = np.asarray(samples, dtype=float)
    if not x.size:
        raise ValueError("no sample is given: an interval needs at least one replication")
    if not np.isfinite(x).all():
        raise ValueError(
            "a sample is nan or infinite: leave the failed replication out knowingly, or repeat it"
        )
    return x


def _student(level: float, n: int) -> float:
    """Return the Student t quantile of a two-sided interval of n samples."""
    if not 0 < level < 1:
        raise ValueError(f"level = {level} is out of range: give a share between 0 and 1, e.g. 0.95")
    from scipy.special import stdtrit  # loads slowly; few runs need it

    return float(stdtrit(n - 1, 0.5 + level / 2))
