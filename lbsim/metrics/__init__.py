"""What is measured: histograms, counters, series, intervals, and whether a run was long enough."""

from lbsim.metrics.adequacy import too_short
from lbsim.metrics.connections import Breaks, ConnectionResult, ConnectionSamples, Counters
from lbsim.metrics.histogram import Histogram
from lbsim.metrics.intervals import (
    Interval,
    mean_interval,
    median_interval,
    more_replications,
    paired_interval,
    quantile_interval,
    relative_half_width,
)
from lbsim.metrics.requests import RequestLog, RequestResult, RequestSamples
from lbsim.metrics.result import PacketLog, Result, Samples
from lbsim.metrics.warmup import Truncation, mser5

AnyResult = Result | ConnectionResult | RequestResult

__all__ = [
    "AnyResult",
    "Breaks",
    "ConnectionResult",
    "ConnectionSamples",
    "Counters",
    "Histogram",
    "Interval",
    "PacketLog",
    "RequestLog",
    "RequestResult",
    "RequestSamples",
    "Result",
    "Samples",
    "Truncation",
    "mean_interval",
    "median_interval",
    "more_replications",
    "mser5",
    "paired_interval",
    "quantile_interval",
    "relative_half_width",
    "too_short",
]
