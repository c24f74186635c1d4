"""The data plane as the control plane sees it: one interface, two implementations.

Control processes (SimPy) may read counters, rewrite the indirection table and stall a core. They first call
`sync(env.now)`: the compiled plane then runs all packets that arrived before now; the reference plane is
always up to date.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

from lbsim.balancer.policies import Unit, View
from lbsim.metrics.histogram import Histogram
from lbsim.metrics.result import PacketLog

Int64s = NDArray[np.int64]
Flags = NDArray[np.bool_]

DEPARTURE, HAND_OVER, CONTROL, ARRIVAL = -2000, -1, 0, 1
"""SimPy priorities: at equal time departures come first, then packets that a core hands over to others, then
control, then arrivals. Where cores share something, core c departs with DEPARTURE + c: in order of number."""

RING_FULL, QUEUE_FULL, NOT_OWNER, SERVER_DOWN = "ring full", "queue full", "not owner", "server down"
NIC_LIMIT = "nic limit"
"""Why packets are dropped: by the NIC, by a queue in memory, by a core that does not own their bucket, on
their way to a server that is dead, or since the NIC takes no more in all."""


Progress = Callable[[int, int], None]
"""Called now and then with the time reached (ps) and the packets run so far."""


class Clock(simpy.Environment):
    """SimPy's environment, counting whole picoseconds from 0."""

    _now: int

    def __init__(self) -> None:
        super().__init__(initial_time=0)

    @property
    def now(self) -> int:
        """Return the time in ps."""
        return self._now

    def wait(self, delay: int, priority: int) -> simpy.Event:
        """Return an event `delay` ps from now that keeps its place among events of the same instant.

        SimPy's own timeout always has the normal priority; departures, control and arrivals need three.
        """
        event = simpy.Event(self)
        event._ok, event._value = True, None
        self.schedule(event, priority, delay)  # type: ignore[arg-type]
        return event


class Choice(NamedTuple):
    """A policy ready to choose."""

    choose: Callable[[View, Unit], int]  # compiled or plain
    state: Int64s  # its memory
    seed: int  # of its coins
    hashes: Any  # uint32 per flow


class Counters(NamedTuple):
    """Cumulative counters at an instant; copies, safe to keep."""

    processed: Int64s  # packets that left each core
    busy: Int64s  # ps of work each core has done, the batch in service up to now included
    dropped: Int64s  # packets each full ring refused
    occupancy: Int64s  # packets in each ring
    polled: Int64s  # packets the cores took from their rings, by bucket of the indirection table


class Tally(NamedTuple):
    """What a finished run counted; the cohort arrived at or after the warm-up."""

    offered: int
    offered_bytes: int
    drops: dict[str, int]  # by cause; only causes that this data plane knows
    dropped_bytes: int
    latency: Histogram
    latencies: Int64s  # [intervals, BINS] of the same, by interval of arrival; [0, BINS] where not kept
    reordered: int  # packets that left after a later one of their flow; 0 where not measured
    counters: Counters  # whole run, after draining
    end: int  # ps of the last departure
    log: PacketLog | None
    counted: dict[str, int]  # whole run, by name: what else this data plane counts


class Plane(Protocol):
    """A data plane."""

    name: str
    table: Int64s
    """The indirection table, bucket -> core; control may assign to its entries after `sync`."""

    def sync(self, now: int) -> None:
        """Run everything before `now`, and departures at `now`."""

    def counters(self, now: int) -> Counters:
        """Return the counters at `now`; call `sync(now)` first."""

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core for `length` ps: its batch in service, or its next poll, ends that much later."""

    def moved(self, now: int) -> None:
        """Say that the indirection table has been rewritten at `now`."""

    def in_transit(self) -> Flags | None:
        """Return which buckets are still on their way to the core that the table names; None for none.

        Control must leave those where the table has them.
        """

    def finish(self) -> Tally:
        """Run to the last departure and return what was counted."""


def work_done(busy: Int64s, start: Int64s, cost: Int64s, now: int) -> Int64s:
    """Return the work each core has done by now: finished batches, and its share of the one in service.

    A batch counts as worked on from its start; a stall in its middle is seen as time after the work.
    """
    return busy + np.clip(now - start, 0, cost)
