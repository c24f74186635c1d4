"""The loop of a scenario: its units, where each belongs, and what a round costs apart from queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.plane import Int64s
from lbsim.engine.source import Source, service_law
from lbsim.rng import stream
from lbsim.scenario import Closed, Flows
from lbsim.units import SECOND

CHUNK = 1 << 14
"""Service times drawn at a time."""


class Loop(NamedTuple):
    """Units of the windows of all flows, numbered flow by flow, and the way they go round."""

    first: Int64s  # ps at which each unit enters the queue of the link for the first time
    flow: Int64s  # of each unit: row of the flow table
    bucket: Int64s  # of each unit: entry of the indirection table
    frame: int  # bytes of every frame
    wire: int  # ps a frame occupies the link
    delay: int  # ps from a departure, or a drop, to the next entry into the queue of the link
    end: int  # ps; a unit that would enter at or after this stops
    services: Iterator[Int64s]  # ps of service, without end, in the order in which packets enter the queue


def loop_of(source: Source) -> Loop:
    """Return the loop of a scenario with closed arrivals; its service times can be taken once."""
    s = source.scenario
    assert isinstance(s.arrivals, Closed)
    assert isinstance(s.traffic, Flows)
    assert isinstance(s.traffic.frame, int)
    window = windows(s.arrivals, s.traffic.flows, stream(s.seed, "windows", s.replication))
    flow = np.repeat(np.arange(len(window)), window)
    first = stream(s.seed, "gaps", s.replication).integers(0, s.arrivals.delay, len(flow))
    return Loop(
        first=first,
        flow=flow,
        bucket=source.buckets.astype(np.int64)[flow],
        frame=s.traffic.frame,
        wire=round(SECOND / s.arrivals.link.pps(s.traffic.frame)),
        delay=s.arrivals.delay,
        end=source.end,
        services=_services(source, s.traffic.frame),
    )


def windows(spec: Closed, flows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the window of each flow in packets, at least 1: log-normal around the mean that `spec` gives."""
    variance = np.log1p(spec.spread**2)  # of the logarithm
    factor = np.exp(np.sqrt(variance) * rng.standard_normal(flows) - variance / 2)
    whole: NDArray[np.int64] = np.rint(spec.window * factor).astype(np.int64)
    return np.maximum(1, whole)


def _services(source: Source, frame: int) -> Iterator[Int64s]:
    """Yield chunks of service times without end."""
    s, server = source.scenario, source.scenario.server
    law = service_law(server.cost.work, server.clock)
    rng = stream(s.seed, "service", s.replication)
    fixed = server.fixed_ps + server.per_byte_ps * frame
    while True:
        yield law.draw(rng, CHUNK) + fixed
