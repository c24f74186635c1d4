"""What is measured: histograms, counters, series, intervals."""

from lbsim.metrics.histogram import Histogram
from lbsim.metrics.intervals import Interval, mean_interval, median_interval, paired_interval
from lbsim.metrics.result import PacketLog, Result, Samples

__all__ = [
    "Histogram",
    "Interval",
    "PacketLog",
    "Result",
    "Samples",
    "mean_interval",
    "median_interval",
    "paired_interval",
]
