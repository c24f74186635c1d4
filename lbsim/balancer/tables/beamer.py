"""Beamer: buckets that remember their previous server (Olteanu et al., NSDI 2018).

As Cheetah's authors re-implemented it to compare with (cheetahlb/cheetah-fastclick, elements/cheetah/
simplebeamerlb.cc, beamerverifier.cc): one balancer, TCP only, `BUCKETS` buckets. A packet carries its
bucket's current and previous server. The current one passes a packet of a connection that it does not know
on to the previous one (daisy chaining), so a connection breaks once its bucket has moved twice since.
Which bucket to move: the oldest as meant, the one of highest index as published, whose search never
compares ages. Among servers of equal load the published choice is left to C++'s sort and heap; here it is
the first in the list.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from lbsim.balancer.tables import Servers, check_pool
from lbsim.jit import kernel, lean

Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

BUCKETS: Final = 3200
BUCKET: Final = np.dtype([("current", np.int64), ("previous", np.int64), ("moved", np.int64)])
"""One bucket: two server ids and when it last moved, in ps."""

NOBODY: Final = -1


def beamer_buckets(active: Servers, size: int = BUCKETS) -> Rows:
    """Return the buckets at the start, BUCKET[size]: floor(size / n) in a row for each, then one each.

    Raises ValueError for an empty pool, or more servers than buckets.
    """
    check_pool(active, size)
    buckets: Rows = np.zeros(size, BUCKET).view(np.recarray)
    whole = size // len(active) * len(active)
    buckets.current[:whole] = np.repeat(active, size // len(active))
    buckets.current[whole:] = active[: size - whole]
    buckets.previous = NOBODY
    return buckets


@kernel
def beamer_add(buckets: Rows, active: Servers, server: int, now: int, published: bool = False) -> int:
    """Give a new server its buckets; `active` has it already. Return how many moved.

    As long as it has two or more fewer than the most loaded one, that one gives a bucket: its oldest (of
    equals the lowest index), or, `published`, the one of highest index.
    """
    load = owned(buckets, active)
    gives = np.zeros(len(load), np.int64)
    moves = 0
    while True:
        giver = active[0]
        for other in active:
            if load[other] > load[giver]:
                giver = other
        if load[server] >= load[giver] - 1:
            break
        load[giver] -= 1
        gives[giver] += 1
        load[server] += 1
        moves += 1
    left = moves
    while left:  # in each pass one bucket of every server that has yet to give
        chosen = np.full(len(load), -1)
        for k in range(len(buckets)):
            owner = buckets[k].current
            if owner >= len(load) or gives[owner] == 0:
                continue
            if published or chosen[owner] == -1 or buckets[k].moved < buckets[chosen[owner]].moved:
                chosen[owner] = k
        for giver in active:
            if chosen[giver] != -1:
                move(buckets, chosen[giver], server, now)
                gives[giver] -= 1
                left -= 1
    return moves


@kernel
def beamer_remove(buckets: Rows, active: Servers, server: int, now: int) -> int:
    """Give each bucket of a server that left to the least loaded of `active`. Return how many moved.

    Raises ValueError when no server is left.
    """
    check_pool(active, len(buckets))
    load = owned(buckets, active)
    moves = 0
    for k in range(len(buckets)):
        if buckets[k].current == server:
            taker = lightest(load, active)
            move(buckets, k, taker, now)
            load[taker] += 1
            moves += 1
    return moves


@lean
def receiver(bucket: Rows, holder: int) -> int:
    """Return the server that a packet of a connection of server `holder` reaches, which may be `NOBODY`.

    A connection breaks when that is not its holder. Its first packet goes to `bucket.current`.
    """
    return bucket.current if bucket.current == holder else bucket.previous  # type: ignore[no-any-return]


@lean
def move(buckets: Rows, k: int, server: int, now: int) -> None:
    """Give bucket k to a server; the one that had it becomes the previous one."""
    buckets[k].previous = buckets[k].current
    buckets[k].current = server
    buckets[k].moved = now


@kernel
def owned(buckets: Rows, active: Servers) -> Servers:
    """Return how many buckets each active server has, by id; those of others are not counted."""
    load = np.zeros(np.max(active) + 1, np.int64)
    for k in range(len(buckets)):
        if buckets[k].current < len(load):
            load[buckets[k].current] += 1
    return load


@lean
def lightest(load: Servers, active: Servers) -> int:
    """Return the server with the fewest, the first in the list of those with as few."""
    best = active[0]
    for server in active:
        if load[server] < load[best]:
            best = server
    return best  # type: ignore[no-any-return]
