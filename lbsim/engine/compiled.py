"""The compiled data plane: kernels advanced lazily, only as far as the control plane looks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from lbsim.engine import kernels
from lbsim.engine.kernels import Books, Machine
from lbsim.engine.plane import (
    NOT_OWNER,
    QUEUE_FULL,
    RING_FULL,
    SERVER_DOWN,
    Counters,
    Flags,
    Int64s,
    Progress,
    Tally,
)
from lbsim.metrics.histogram import Histogram
from lbsim.metrics.result import PacketLog
from lbsim.workload.packets import Packets

SLICE = 1 << 14
"""Packets a kernel call takes at most: columns and rings stay in the cache."""

_CAUSES = {
    RING_FULL: kernels.DROPPED,
    QUEUE_FULL: kernels.QUEUE_FULL,
    NOT_OWNER: kernels.NOT_OWNER,
    SERVER_DOWN: kernels.SERVER_DOWN,
}


class Bank(Protocol):
    """A bank of cores with what queues before them, as columns: one family of kernels."""

    name: str
    """Of the kernel, for people."""
    table: Int64s
    """The indirection table; control may assign to its entries after `sync`."""
    causes: tuple[str, ...]
    """Why it may drop packets."""

    def run(self, books: Books, packets: Packets, base: int) -> None:
        """Take packets base, base + 1 ... in order of arrival."""

    def catch_up(self, books: Books, now: int) -> None:
        """Let everything happen that is due up to now."""

    def counters(self, now: int) -> Counters:
        """Return the counters at `now`, to which everything has caught up."""

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core, which has caught up."""

    def moved(self, now: int) -> None:
        """Take note that the table has been rewritten at `now`, to which everything has caught up."""

    def in_transit(self) -> Flags | None:
        """Return the buckets on their way to another core; None for none."""

    def drain(self, books: Books) -> None:
        """After the last arrival: run to the last departure."""

    def counted(self) -> dict[str, int]:
        """Return what else it counted in the whole run, by name."""


class CompiledPlane:
    """Packets in chunks through a bank of cores; see `lbsim.engine.plane.Plane` for the interface."""

    def __init__(
        self,
        packets: Iterator[Packets],
        machine: Machine,
        bank: Bank,
        *,
        intervals: int = 0,
        log: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.name = f"compiled: {bank.name}"
        self.table = bank.table
        self._packets = packets
        self._machine = machine
        self._bank = bank
        self._books = kernels.empty_books(intervals)
        self._arrivals: list[Int64s] | None = [] if log else None
        self._flows: list[Int64s] = []
        self._chunk: Packets | None = None  # the part of the current chunk not yet run
        self._base = 0  # packets run so far
        self._sum = [0] * kernels.TALLY
        self._low, self._high, self._last = np.iinfo(np.int64).max, 0, 0
        self._progress = progress

    def sync(self, now: int) -> None:
        """Run all packets that arrived before now, then every departure up to now."""
        while self._advance(now):
            pass
        self._bank.catch_up(self._books, now)

    def _advance(self, now: int) -> bool:
        """Run one chunk's packets that arrived before now; say whether there may be more of them."""
        if self._chunk is None:
            self._chunk = next(self._packets, None)
            if self._chunk is None:
                return False
            self._grow(self._chunk)
            kernels.offer(self._books.counts, self._machine, self._chunk.time, self._chunk.frame)
        chunk = self._chunk
        n = int(np.searchsorted(chunk.time, now, side="left"))
        for k in range(0, n, SLICE):
            self._run(chunk.part(k, min(n, k + SLICE)))
        whole = n == len(chunk.time)
        self._chunk = None if whole else chunk.part(n, len(chunk.time))
        return whole

    def _run(self, p: Packets) -> None:
        self._bank.run(self._books, p, self._base)
        self._base += len(p.time)
        self._last = max(self._last, int(p.time[-1]))
        self._collect()
        if self._progress is not None:
            self._progress(int(p.time[-1]), self._base)

    def _collect(self) -> None:
        """Move the kernels' int64 counters into Python ints, which do not overflow."""
        t = self._books.counts
        self._sum = [a + int(b) for a, b in zip(self._sum, t[: kernels.TALLY], strict=True)]
        self._low = min(self._low, int(t[kernels.LATENCY_LOW]))
        self._high = max(self._high, int(t[kernels.LATENCY_HIGH]))
        self._last = max(self._last, int(t[kernels.LAST]))
        kernels.clear(t)

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

    def finish(self) -> Tally:
        """Run every packet and every departure."""
        while self._advance(np.iinfo(np.int64).max):
            pass
        self._bank.drain(self._books)
        self._collect()
        bins = self._books.counts[kernels.TALLY :].copy()
        latency = Histogram(bins, self._sum[kernels.LATENCY_SUM], self._low if bins.any() else 0, self._high)
        log = None
        if self._arrivals is not None:
            none = np.empty(0, np.int64)
            times, flows = (np.concatenate([none, *parts]) for parts in (self._arrivals, self._flows))
            log = PacketLog(times, flows, *self._books.log[:, : self._base])
        sums = self._sum
        drops = {cause: sums[_CAUSES[cause]] for cause in self._bank.causes}
        return Tally(
            sums[kernels.OFFERED], sums[kernels.OFFERED_BYTES], drops, sums[kernels.DROPPED_BYTES],
            latency, self._books.rows, sums[kernels.REORDERED], self.counters(np.iinfo(np.int64).max),
            self._last, log, self._bank.counted(),
        )  # fmt: skip

    def _grow(self, chunk: Packets) -> None:
        """Make room in the packet log, if one is kept, for a chunk."""
        if self._arrivals is None:
            return
        self._arrivals.append(chunk.time)
        self._flows.append(chunk.flow.astype(np.int64))
        log, size = self._books.log, self._base + len(chunk.time)
        if size > log.shape[1]:
            larger = np.full((2, max(size, 2 * log.shape[1])), -1, np.int64)
            larger[:, : log.shape[1]] = log
            self._books = self._books._replace(log=larger)
