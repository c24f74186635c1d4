"""The compiled bank of a software dispatcher and its workers; see `lbsim.engine.compiled.Bank`."""

from __future__ import annotations

import numpy as np

from lbsim.engine.kernels import NEVER, Books, Machine
from lbsim.engine.plane import QUEUE_FULL, RING_FULL, Counters, Int64s, work_done
from lbsim.engine.software import kernels
from lbsim.engine.software.state import SHARED, Spec, idle
from lbsim.workload.packets import Packets


class SoftwareBank:
    """A dispatcher, core number `workers`, and its workers, cores 0 .. workers - 1.

    `machine.ring` is the dispatcher's; flows are numbered below `flows`. Packets that left the dispatcher's
    ring count as processed by it, those that a full queue refused too; with a shared queue it is the
    dispatcher that they count as dropped at, and what waits there that it holds.
    """

    name = "software dispatch"
    causes: tuple[str, ...] = (RING_FULL, QUEUE_FULL)

    def __init__(self, machine: Machine, workers: int, spec: Spec, flows: int, reordering: bool) -> None:
        self.table: Int64s = np.empty(0, np.int64)
        self._machine = machine
        self._spec = spec
        self._state = idle(machine, spec, workers, flows, reordering)

    def run(self, books: Books, p: Packets, base: int) -> None:
        """Take packets base, base + 1 ... in order of arrival."""
        kernels.run(self._state, books, self._machine, self._spec, p.time, p.flow, p.service, p.frame, base)

    def catch_up(self, books: Books, now: int) -> None:
        """Let everything happen that is due up to now."""
        kernels.catch_up(self._state, books, self._machine, self._spec, now)

    def counters(self, now: int) -> Counters:
        """Return the counters at now; buckets there are none."""
        c = self._state.cores
        occupancy = c["count"].copy()
        if self._spec.discipline == SHARED:
            occupancy[-1] += self._state.desk["waiting"][0]
        busy = work_done(c["busy"], c["start"], c["cost"], now)
        return Counters(c["head"].copy(), busy, c["dropped"].copy(), occupancy, np.zeros(1, np.int64))

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core for `length` ps."""
        kernels.hold(self._state, core, now, length)

    def moved(self, now: int) -> None:
        """Do nothing: there is no table."""

    def in_transit(self) -> None:
        """Return None: there are no buckets."""

    def counted(self) -> dict[str, int]:
        """Return nothing: there is nothing else to count."""
        return {}

    def drain(self, books: Books) -> None:
        """Run to the last departure."""
        self.catch_up(books, NEVER - 1)
