"""What a run writes down."""

from __future__ import annotations

from lbsim.scenario.fields import Period, Time
from lbsim.scenario.part import Part


class Measure(Part):
    """What to record."""

    interval: Period | None = None
    """Sampling period of the time series; left out, none are kept."""
    latency: bool = False
    """Whether to keep a latency histogram for each interval, of the packets that arrive in it."""
    reordering: bool = False
    """Whether to count packets that leave the server after a later one of their flow."""
    path_delay: Time = 0
    """Added to every latency: what wire and generator take."""
    packets: bool = False
    """Whether to keep one row a packet."""
