"""Faild: affinity from the hosts alone (Araujo et al., NSDI 2018).

A switch hashes packets to a fixed set of next hops, and each is a MAC address that spells out two servers:
the current one and the one before it. A server takes what it knows and what opens a connection, and passes
the rest on to the one before (`beamer.receiver`, with a next hop for a bucket). Every next hop has a home: it
leaves when its home is drained and returns when its home is filled again, so a server that only rests for a
while loses nothing, and two servers away at once break connections only where one took over from the other.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from lbsim.balancer.tables import Servers, check_pool
from lbsim.balancer.tables.beamer import NOBODY, lightest
from lbsim.jit import kernel

Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

NEXT_HOP: Final = np.dtype([("current", np.int64), ("previous", np.int64), ("home", np.int64)])


def faild_next_hops(servers: Servers, size: int) -> Rows:
    """Return the switch's next hops, NEXT_HOP[size], spread evenly over the configured servers.

    Raises ValueError for no server, or more servers than next hops.
    """
    check_pool(servers, size)
    hops: Rows = np.zeros(size, NEXT_HOP).view(np.recarray)
    hops.home = servers[np.arange(size) * len(servers) // size]
    hops.current = hops.home
    hops.previous = NOBODY
    return hops


@kernel
def faild_drain(hops: Rows, active: Servers, server: int) -> int:
    """Give each next hop of a server that is leaving to the least loaded of `active`; return how many.

    Raises ValueError when no server is left.
    """
    check_pool(active, len(hops))
    load = np.zeros(np.max(active) + 1, np.int64)
    for k in range(len(hops)):
        if hops[k].current < len(load):
            load[hops[k].current] += 1
    moves = 0
    for k in range(len(hops)):
        if hops[k].current == server:
            taker = lightest(load, active)
            hops[k].previous = server
            hops[k].current = taker
            load[taker] += 1
            moves += 1
    return moves


@kernel
def faild_fill(hops: Rows, server: int) -> int:
    """Bring the next hops of a server that is back home to it; return how many."""
    moves = 0
    for k in range(len(hops)):
        if hops[k].home == server and hops[k].current != server:
            hops[k].previous = hops[k].current
            hops[k].current = server
            moves += 1
    return moves
