"""Banks of cores behind a front: it steers each packet, then the bank takes it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import simpy

from lbsim.engine import compiled, reference
from lbsim.engine.front import Front
from lbsim.engine.kernels import DROPPED_BYTES, SERVER_DOWN, Books, Machine
from lbsim.engine.plane import SERVER_DOWN as CAUSE
from lbsim.engine.plane import Counters, Flags
from lbsim.engine.reference import Fate, Packet
from lbsim.workload.packets import Packets


class FrontedBank:
    """A compiled bank behind a front; see `lbsim.engine.compiled.Bank`."""

    def __init__(self, machine: Machine, bank: compiled.Bank, front: Front) -> None:
        self.name = f"{front.name}, {bank.name}"
        self.table = bank.table
        self.causes = (*bank.causes, *front.causes)
        self._machine, self._bank, self._front = machine, bank, front

    def run(self, books: Books, p: Packets, base: int) -> None:
        """Steer packets base, base + 1 ... and let the bank take those that are not lost."""
        p = p._replace(bucket=self._front.steer(p, base))
        lost = p.bucket < 0
        if not lost.any():
            self._bank.run(books, p, base)
            return
        measured = lost & (p.time >= self._machine.warmup)
        books.counts[SERVER_DOWN] += np.count_nonzero(measured)
        books.counts[DROPPED_BYTES] += p.frame[measured].sum()
        if books.log.shape[1]:  # which names packets by their number
            for first, last in _runs(lost):
                self._bank.run(books, p.part(first, last), base + first)
        elif not lost.all():
            self._bank.run(books, _kept(p, ~lost), base)

    def catch_up(self, books: Books, now: int) -> None:
        """Let everything happen that is due up to now."""
        self._bank.catch_up(books, now)

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""
        return self._bank.counters(now)

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core for `length` ps."""
        self._bank.stall(core, now, length)

    def moved(self, now: int) -> None:
        """Say that the table has been rewritten."""
        self._bank.moved(now)

    def in_transit(self) -> Flags | None:
        """Return the buckets on their way to another core."""
        return self._bank.in_transit()

    def drain(self, books: Books) -> None:
        """Run to the last departure."""
        self._bank.drain(books)

    def counted(self) -> dict[str, int]:
        """Return what bank and front counted."""
        return self._bank.counted() | self._front.counted()


class FrontedReference:
    """A bank of the reference engine behind a front; see `lbsim.engine.reference.Bank`."""

    def __init__(self, bank: reference.Bank, front: Front) -> None:
        self.name = f"{front.name}, {bank.name}"
        self.table = bank.table
        self.causes = (*bank.causes, *front.causes)
        self.reordered = 0
        self._bank, self._front = bank, front

    def take(self, packet: Packet) -> Fate | simpy.Event:
        """Steer a packet that arrives now and let the bank take it, unless it is lost."""
        entry = self._front.steer_one(packet)
        return Fate(-1, CAUSE) if entry < 0 else self._bank.take(packet._replace(bucket=entry))

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""
        return self._bank.counters(now)

    def stall(self, core: int, length: int) -> None:
        """Hold a core for `length` ps."""
        self._bank.stall(core, length)

    def moved(self) -> None:
        """Say that the table has been rewritten now."""
        self._bank.moved()

    def in_transit(self) -> Flags | None:
        """Return the buckets on their way to another core."""
        return self._bank.in_transit()

    def drain(self) -> None:
        """After the last event: let go what still waits."""
        self._bank.drain()
        self.reordered = self._bank.reordered

    def counted(self) -> dict[str, int]:
        """Return what bank and front counted."""
        return self._bank.counted() | self._front.counted()


def _kept(p: Packets, kept: Flags) -> Packets:
    """Return some of the packets."""
    return Packets(p.time[kept], p.bucket[kept], p.flow[kept], p.frame[kept], p.service[kept])


def _runs(lost: Flags) -> Iterator[tuple[int, int]]:
    """Yield first and end of each run of packets that are not lost."""
    edges = np.flatnonzero(np.diff(lost, prepend=True, append=True))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
