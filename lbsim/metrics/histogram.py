"""Latency histograms: log-linear bins, exact counts, exact merge, at most 0.4 % relative error.

Each power of two is cut into 128 equal bins (the layout of HdrHistogram), so a value read back from the
middle of its bin is off by at most 1/256. Counts are whole numbers: merging two histograms is an addition
and loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import kernel

SUB_BITS = 7
BINS = 128 * (64 - SUB_BITS)
_SHIFT = 52 - SUB_BITS
_FIRST = (1023 + SUB_BITS) << SUB_BITS  # the float64 bits of 128.0, shifted


@kernel
def bin_of(value: int) -> int:
    """Return the bin of a non-negative int64: its exponent and top seven mantissa bits as a float64."""
    if value < 128:
        return value
    return 128 + (np.float64(value).view(np.int64) >> _SHIFT) - _FIRST  # type: ignore[return-value]


def bin_middles() -> NDArray[np.float64]:
    """Return the middle of the whole values in each bin, float64[BINS]."""
    k = np.arange(BINS)
    octave, sub = k // 128 - 1, k % 128
    width = np.exp2(np.maximum(octave, 0))
    return np.where(k < 128, k, (128 + sub) * width + (width - 1) / 2).astype(np.float64)


@dataclass(frozen=True)
class Histogram:
    """Counts of non-negative whole values (ps), with their exact sum, smallest and largest.

    >>> h = Histogram.of([100, 200, 300])
    >>> h.mean, h.quantile(0.5)
    (200.0, 200.0)
    """

    counts: NDArray[np.int64]
    total: int  # exact sum of all values
    low: int  # smallest and largest value; 0 where empty
    high: int

    @staticmethod
    def of(values: object) -> Histogram:
        """Return the histogram of an array of non-negative whole values."""
        array = np.asarray(values, dtype=np.int64)
        counts = np.zeros(BINS, np.int64)
        _fill(counts, array)
        if not len(array):
            return Histogram(counts, 0, 0, 0)
        return Histogram(counts, int(array.astype(object).sum()), int(array.min()), int(array.max()))

    @property
    def count(self) -> int:
        """Return how many values were recorded."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Return the exact mean; nan where empty."""
        return self.total / self.count if self.count else float("nan")

    def quantile(self, q: float) -> float:
        """Return the smallest recorded level that a share `q` of the values does not exceed (nearest rank).

        Within 1/256 of the true value; nan where empty. Raises ValueError for q outside 0..1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"quantile q = {q} is out of range: give a share between 0 and 1, e.g. 0.99")
        if not self.count:
            return float("nan")
        rank = max(1, int(np.ceil(q * self.count - 1e-9)))
        k = int(np.searchsorted(np.cumsum(self.counts), rank))
        return float(np.clip(bin_middles()[k], self.low, self.high))

    def cdf(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (level, share of values at or below it) for the bins that hold any."""
        used = np.flatnonzero(self.counts)
        return bin_middles()[used], np.cumsum(self.counts[used]) / max(1, self.count)

    def __add__(self, other: Histogram) -> Histogram:
        if not self.count or not other.count:
            return other if not self.count else self
        return Histogram(
            self.counts + other.counts,
            self.total + other.total,
            min(self.low, other.low),
            max(self.high, other.high),
        )


@kernel
def _fill(counts: NDArray[np.int64], values: NDArray[np.int64]) -> None:
    for value in values:
        counts[bin_of(value)] += 1
