"""The compiled closed loop, and the choice between it and the reference."""

from __future__ import annotations

import numpy as np

from lbsim.engine.closed import kernels
from lbsim.engine.closed.loop import Loop, loop_of
from lbsim.engine.closed.reference import ClosedReference
from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.kernels import Books, Machine
from lbsim.engine.plane import Clock, Int64s, Plane, Progress
from lbsim.engine.reference import Rings
from lbsim.engine.rings import FifoRings
from lbsim.engine.source import Source


def closed_plane(
    env: Clock,
    source: Source,
    machine: Machine,
    table: Int64s,
    *,
    compiled: bool,
    intervals: int = 0,
    progress: Progress | None = None,
) -> Plane:
    """Return the data plane of a scenario with closed arrivals.

    A latency is a round trip: from the entry into the queue of the link to the next one, and the path delay.
    """
    loop = loop_of(source)
    machine = machine._replace(delay=machine.delay + loop.delay)
    cores = source.scenario.server.cores
    if not compiled:
        rings = Rings(env, machine, cores, table)
        return ClosedReference(env, loop, machine, rings, intervals=intervals, progress=progress)
    bank = LoopRings(machine, cores, table, loop)
    return ClosedPlane(loop, machine, bank, intervals=intervals, progress=progress)


class LoopRings(FifoRings):
    """Cores whose departures are final at admission, and the units that come back to them."""

    name = "closed loop"

    def __init__(self, machine: Machine, cores: int, table: Int64s, loop: Loop) -> None:
        super().__init__(machine, cores, table)
        self._loop = loop
        self._heap = kernels.queue_of(loop.first, loop.end)
        self._mark = np.array([len(self._heap), 0], np.int64)

    def circulate(self, books: Books, service: Int64s, now: int) -> int:
        """Run packets that reach the NIC before now, one a service time at most, and return how many."""
        loop = self._loop
        return kernels.circulate(
            *self._state, books.counts, books.rows, self._machine, self.table,
            self._heap, self._mark, loop.bucket, loop.frame, loop.wire, loop.delay, loop.end, service, now,
        )  # fmt: skip


class ClosedPlane(CompiledPlane):
    """A compiled plane without a stream of packets: what has departed comes back."""

    def __init__(
        self,
        loop: Loop,
        machine: Machine,
        bank: LoopRings,
        *,
        intervals: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(iter(()), machine, bank, intervals=intervals, progress=progress)
        self._cores = bank
        self._services = loop.services
        self._service = np.empty(0, np.int64)  # drawn, not yet used

    def _advance(self, now: int) -> bool:
        """Run packets that reach the NIC before now; say whether there may be more of them."""
        if not len(self._service):
            self._service = next(self._services)
        done = self._cores.circulate(self._books, self._service, now)
        whole = done == len(self._service)
        self._service = self._service[done:]
        self._base += done
        self._collect()
        if self._progress is not None:
            self._progress(min(now, self._last), self._base)
        return whole
