"""The data plane of connections as the control plane sees it: one interface, two implementations.

A connection begins, its packets cross the balancer now and then, it ends. Nothing but a change of the pool
can make its packets reach another server, so breaks are planned at changes: for each connection that would
go astray at its next crossing. At equal time ends come first, then control, then breaks, retries and begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lbsim.metrics.connections import CAUSES, LOST, REMAPPED, Breaks, Counters, Tally

__all__ = [
    "BEGIN",
    "BREAK",
    "CAUSES",
    "CONTROL",
    "END",
    "LOST",
    "REMAPPED",
    "RETRY",
    "Attempts",
    "Breaks",
    "Clients",
    "Counters",
    "Plane",
    "Tally",
    "Urls",
]

Int64s = NDArray[np.int64]

END, CONTROL, BREAK, RETRY, BEGIN = range(-1, 4)
"""SimPy priorities, and the order of the kernel's events (it has no events of control)."""


class Attempts(NamedTuple):
    """A chunk of connections that want to begin, in order of time; rows of the same length.

    Where clients ask for URLs (`urls` is given to the plane), `length` and `gap` are empty: the URL has them.
    """

    time: Int64s  # ps, rising
    hash: Int64s  # 32 bits
    length: Int64s  # ps
    gap: Int64s  # ps between packets that cross the balancer; 0: at every instant
    process: Int64s  # whose URLs; empty where there are none
    coin: Int64s  # 63 bits that pick the URL; empty where there are none


class Urls(NamedTuple):
    """What each of the processes asks for, one URL at a time at most."""

    processes: int
    length: Int64s  # ps, by URL
    gap: Int64s  # ps, by URL
    again: bool  # a URL that broke is asked for again


class Clients(NamedTuple):
    """How clients behave, the same for all."""

    seed: int  # of their coins
    warmup: int  # ps
    retry: int  # ps after a break until the client connects again; -1: never
    notice: int  # ps, mean time until a client reports a break
    urls: Urls | None


class Plane(Protocol):
    """A data plane of connections."""

    name: str

    def sync(self, now: int) -> None:
        """Run everything before `now`, and the ends at `now`."""

    def counters(self) -> Counters:
        """Return the counters; call `sync` first."""

    def loads(self) -> Int64s:
        """Return the connections of each configured server; call `sync` first."""

    def change(self, now: int, apply: Callable[[], None]) -> None:
        """Sync, let `apply` change the balancer's pool, and plan every break anew."""

    def refresh(self) -> None:
        """Take over a table of the balancer that changed without its pool (weights)."""

    def finish(self, end: int) -> Tally:
        """Run everything before `end` and return what was counted."""
