"""Banks of independent cores, a ring each: packets go by the indirection table, or where a policy says."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import numba
import numpy as np
from numba.core.errors import NumbaError, UnsupportedBytecodeError

from lbsim.balancer.policies import View, view_of_cores
from lbsim.engine import kernels
from lbsim.engine.kernels import Books, Machine
from lbsim.engine.plane import RING_FULL, Choice, Counters, Int64s, work_done
from lbsim.engine.policy import PolicyError
from lbsim.workload.packets import Packets

FOR_EVER = np.iinfo(np.int64).max


class FifoRings:
    """Cores whose departures are final at admission: no polls, no cost of a batch, no stalls."""

    name = "ring recursion"
    causes: tuple[str, ...] = (RING_FULL,)

    def __init__(self, machine: Machine, cores: int, table: Int64s) -> None:
        self.table = table
        self._machine = machine
        self._state = kernels.idle(cores, machine.ring, len(table))

    def run(self, books: Books, p: Packets, base: int) -> None:
        """Take packets base, base + 1 ... in order of arrival."""
        kernels.fifo(
            *self._state, *books, self._machine, self.table, p.time, p.bucket, p.service, p.frame, base
        )

    def catch_up(self, books: Books, now: int) -> None:
        """Do nothing: every departure is known already."""

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""
        c, rings, polled = self._state.cores, self._state.rings, self._state.polled.copy()
        pending = np.zeros(len(c), np.int64)
        kernels.look_back(c, rings, self._machine.ring, now, pending, polled)
        busy = c["busy"] - np.maximum(0, c["end"] - now)
        return Counters(c["count"] - pending, busy, c["dropped"].copy(), pending, polled)

    def stall(self, core: int, now: int, length: int) -> None:
        """Raise RuntimeError: what has been admitted can no longer be held up."""
        raise RuntimeError("the ring recursion knows no stalls; poll the rings instead")

    def moved(self, now: int) -> None:
        """Do nothing: buckets keep no state."""

    def in_transit(self) -> None:
        """Return None: buckets keep no state."""

    def drain(self, books: Books) -> None:
        """Do nothing: every departure is known already."""

    def counted(self) -> dict[str, int]:
        """Return nothing: there is nothing else to count."""
        return {}


class PolledRings:
    """Cores that poll a burst at a time; a policy, if there is one, looks at the queues as they are."""

    causes: tuple[str, ...] = (RING_FULL,)

    def __init__(self, machine: Machine, cores: int, table: Int64s, choice: Choice | None = None) -> None:
        self.name = "policy on live queues" if choice else "poll ring"
        self.table = table
        self._machine = machine
        self._state = kernels.idle(cores, machine.ring, 1 if choice else len(table))
        self._choice = choice
        self._view: View | None = None
        if choice is not None:
            self._view = view_of_cores(0, np.zeros(cores, np.int64), choice.state, choice.seed, table)

    def run(self, books: Books, p: Packets, base: int) -> None:
        """Take packets base, base + 1 ... in order of arrival."""
        if self._choice is None:
            kernels.poll(
                *self._state, *books, self._machine, self.table, p.time, p.bucket, p.service, p.frame, base
            )
            return
        c, n = self._choice, len(self._state.cores)
        try:
            lost = choose_and_poll()(
                *self._state, *books, self._machine, c.choose, self._view, c.hashes,
                p.time, p.flow, p.service, p.frame, base,
            )  # fmt: skip
        except (NumbaError, UnsupportedBytecodeError) as error:
            raise PolicyError.of(error) from error
        if lost >= 0:
            raise ValueError(f"the policy sent packet {lost} to no core: it must return 0 .. {n - 1}")

    def catch_up(self, books: Books, now: int) -> None:
        """Let every core finish what ends at or before now."""
        kernels.catch_up(*self._state, *books, self._machine, now)

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""
        c = self._state.cores
        busy = work_done(c["busy"], c["start"], c["cost"], now)
        return Counters(
            c["head"].copy(), busy, c["dropped"].copy(), c["count"].copy(), self._state.polled.copy()
        )

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core for `length` ps."""
        kernels.hold(self._state.cores, core, now, length)

    def moved(self, now: int) -> None:
        """Do nothing: buckets keep no state."""

    def in_transit(self) -> None:
        """Return None: buckets keep no state."""

    def drain(self, books: Books) -> None:
        """Run to the last departure."""
        self.catch_up(books, FOR_EVER)

    def counted(self) -> dict[str, int]:
        """Return nothing: there is nothing else to count."""
        return {}


@cache
def choose_and_poll() -> Callable[..., int]:
    """Return the kernel in which policies run, compiled for this process only.

    On disk, Numba would keep each policy it was specialised for beside the machine code, find none again
    (a policy is another object in every process), and need the module of every one to read any of them.
    """
    plain: Any = kernels.choose_and_poll
    options: Any = {"nogil": True, "_nrt": False}
    return cast(Callable[..., int], numba.njit(plain.py_func, **options))
