"""The compiled data plane: kernels advanced lazily, only as far as the control plane looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

import numba
import numpy as np
from numba.core.errors import NumbaError, UnsupportedBytecodeError

from lbsim.balancer.meaning import meaning
from lbsim.balancer.policies import Unit, View, view_of_cores
from lbsim.engine import kernels
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import Choice, Counters, Int64s, Progress, Tally, work_done
from lbsim.jit import transient
from lbsim.metrics.histogram import Histogram
from lbsim.metrics.result import PacketLog
from lbsim.workload.packets import Packets

SLICE = 1 << 14
"""Packets a kernel call takes at most: columns and rings stay in the cache."""


class PolicyError(Exception):
    """Numba cannot compile a policy; the reference engine can still run it."""


class CompiledPlane:
    """Rings and cores as columns; see `lbsim.engine.plane.Plane` for the interface."""

    def __init__(
        self,
        packets: Iterator[Packets],
        machine: Machine,
        cores: int,
        table: Int64s,
        *,
        fifo: bool = False,
        choice: Choice | None = None,
        log: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.name = "compiled: " + (
            "ring recursion" if fifo else "policy on live queues" if choice else "poll ring"
        )
        self.table = table
        self._packets = packets
        self._machine = machine
        self._state = kernels.idle(cores, machine.ring, 1 if choice else len(table))
        self._fifo = fifo
        self._choice = choice
        self._view: View | None = None
        if choice is not None:
            self._view = view_of_cores(0, np.zeros(cores, np.int64), choice.state, choice.seed, table)
        self._arrivals: list[Int64s] | None = [] if log else None
        self._flows: list[Int64s] = []
        self._chunk: Packets | None = None  # the part of the current chunk not yet run
        self._base = 0  # packets run so far
        self._sum = dict.fromkeys(("offered", "offered_bytes", "dropped", "dropped_bytes", "latency"), 0)
        self._low, self._high, self._last = np.iinfo(np.int64).max, 0, 0
        self._progress = progress

    def sync(self, now: int) -> None:
        """Run all packets that arrived before now, then every departure up to now."""
        while self._advance(now):
            pass
        if not self._fifo:
            kernels.catch_up(*self._state, self._machine, now)

    def _advance(self, now: int) -> bool:
        """Run one chunk's packets that arrived before now; say whether there may be more of them."""
        if self._chunk is None:
            self._chunk = next(self._packets, None)
            if self._chunk is None:
                return False
            self._grow(self._chunk)
            kernels.offer(self._state.counts, self._machine, self._chunk.time, self._chunk.frame)
        chunk = self._chunk
        n = int(np.searchsorted(chunk.time, now, side="left"))
        for k in range(0, n, SLICE):
            self._run(chunk.part(k, min(n, k + SLICE)))
        whole = n == len(chunk.time)
        self._chunk = None if whole else chunk.part(n, len(chunk.time))
        return whole

    def _run(self, p: Packets) -> None:
        m, base = self._machine, self._base
        if self._choice is not None:
            c, n = self._choice, len(self._state.cores)
            try:
                lost = choose_and_poll()(
                    *self._state, m, c.choose, self._view, c.hashes,
                    p.time, p.flow, p.service, p.frame, base,
                )  # fmt: skip
            except (NumbaError, UnsupportedBytecodeError) as error:
                said = [line.strip() for line in str(error).splitlines() if line.strip()]
                reasons = [line for line in said if not line.startswith("Failed in nopython mode")]
                raise PolicyError((reasons or ["Numba gives no reason"])[0]) from error
            if lost >= 0:
                raise ValueError(f"the policy sent packet {lost} to no core: it must return 0 .. {n - 1}")
        else:
            run = kernels.fifo if self._fifo else kernels.poll
            run(*self._state, m, self.table, p.time, p.bucket, p.service, p.frame, base)
        self._base += len(p.time)
        self._last = max(self._last, int(p.time[-1]))
        self._collect()
        if self._progress is not None:
            self._progress(int(p.time[-1]), self._base)

    def _collect(self) -> None:
        """Move the kernels' int64 counters into Python ints, which do not overflow."""
        t = self._state.counts
        self._sum["dropped"] += int(t[kernels.DROPPED])
        self._sum["dropped_bytes"] += int(t[kernels.DROPPED_BYTES])
        self._sum["latency"] += int(t[kernels.LATENCY_SUM])
        self._sum["offered"] += int(t[kernels.OFFERED])
        self._sum["offered_bytes"] += int(t[kernels.OFFERED_BYTES])
        self._low = min(self._low, int(t[kernels.LATENCY_LOW]))
        self._high = max(self._high, int(t[kernels.LATENCY_HIGH]))
        self._last = max(self._last, int(t[kernels.LAST]))
        kernels.clear(t)

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""
        c, rings, counts, _ = self._state
        dropped, polled = c["dropped"].copy(), counts[kernels.POLLED :].copy()
        if self._fifo:
            pending = np.zeros(len(c), np.int64)
            kernels.look_back(c, rings, self._machine.ring, now, pending, polled)
            busy = c["busy"] - np.maximum(0, c["end"] - now)
            return Counters(c["count"] - pending, busy, dropped, pending, polled)
        busy = work_done(c["busy"], c["start"], c["cost"], now)
        return Counters(c["head"].copy(), busy, dropped, c["count"].copy(), polled)

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core for `length` ps."""
        kernels.hold(self._state.cores, core, now, length)

    def finish(self) -> Tally:
        """Run every packet and every departure."""
        for_ever = np.iinfo(np.int64).max
        while self._advance(for_ever):
            pass
        if not self._fifo:
            kernels.catch_up(*self._state, self._machine, for_ever)
        self._collect()
        bins = self._state.counts[kernels.TALLY : kernels.POLLED].copy()
        count = int(bins.sum())
        latency = Histogram(bins, self._sum["latency"], self._low if count else 0, self._high)
        log = None
        if self._arrivals is not None:
            none = np.empty(0, np.int64)
            times, flows = (np.concatenate([none, *parts]) for parts in (self._arrivals, self._flows))
            log = PacketLog(times, flows, *self._state.log[:, : self._base])
        sums = self._sum
        return Tally(
            sums["offered"], sums["offered_bytes"], sums["dropped"], sums["dropped_bytes"],
            latency, self.counters(for_ever), self._last, log,
        )  # fmt: skip

    def _grow(self, chunk: Packets) -> None:
        """Make room in the packet log, if one is kept, for a chunk."""
        if self._arrivals is None:
            return
        self._arrivals.append(chunk.time)
        self._flows.append(chunk.flow.astype(np.int64))
        log, size = self._state.log, self._base + len(chunk.time)
        if size > log.shape[1]:
            larger = np.full((2, max(size, 2 * log.shape[1])), -1, np.int64)
            larger[:, : log.shape[1]] = log
            self._state = self._state._replace(log=larger)


@cache
def choose_and_poll() -> Callable[..., int]:
    """Return the kernel in which policies run, compiled for this process only.

    On disk, Numba would keep each policy it was specialised for beside the machine code, find none again
    (a policy is another object in every process), and need the module of every one to read any of them.
    """
    plain: Any = kernels.choose_and_poll
    options: Any = {"nogil": True, "_nrt": False}
    return cast(Callable[..., int], numba.njit(plain.py_func, **options))


_COMPILED: dict[str, Callable[[View, Unit], int]] = {}


def compile_policy(choose: Callable[[View, Unit], int]) -> Callable[[View, Unit], int]:
    """Return a policy's function compiled by Numba; its types are checked when it first runs.

    It compiles once for what it does: again after a global that it reads has changed, as Numba freezes those.
    """
    try:
        told = meaning(choose)
    except ValueError:  # it uses something that cannot be compared
        return transient(choose)
    if told not in _COMPILED:
        _COMPILED[told] = transient(choose)
    return _COMPILED[told]
