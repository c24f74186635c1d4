"""Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018).

Servers and keys hash to points of a circle, and a key goes to the next server clockwise that is not full:
that has fewer than ceil(c x keys x its share), c > 1. Keys are the slots of a table (`bounded_table`), for a
balancer without memory, or connections (`bounded_place`), for one that keeps them. The paper also moves keys
on when others leave; connections stay, so a server may keep more than a later bound allows.
"""

from __future__ import annotations

from math import ceil
from typing import Any, Final

import numpy as np

from lbsim.balancer.tables import Servers, Table, Weights, Word, check_pool, check_weights, mixed, server_word
from lbsim.jit import kernel, lean

Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

POINT: Final = np.dtype([("place", np.uint64), ("server", np.int64)])
FULL: Final = -1


@kernel
def bounded_points(active: Servers, nodes: int = 1) -> Rows:
    """Return the circle, POINT[servers x nodes] by rising place; the paper has one point a server.

    It depends on the set of servers only.
    """
    servers = np.sort(active)
    places = np.empty(len(servers) * nodes, np.uint64)
    for k in range(len(places)):
        places[k] = mixed(server_word(servers[k // nodes]) ^ mixed(np.uint64(k % nodes + 1)))
    points = np.empty(len(places), POINT)
    order = np.argsort(places, kind="mergesort")
    for k in range(len(places)):
        points[k].place = places[order[k]]
        points[k].server = servers[order[k] // nodes]
    return points


@lean
def bounded_limit(c: float, keys: int, share: float) -> int:
    """Return how many of `keys` a server may have: ceil(c x keys x its share of the weights)."""
    return ceil(c * keys * share)


@lean
def bounded_place(points: Rows, load: Servers, shares: Weights, c: float, keys: int, hash: Word) -> int:  # noqa: A002
    """Return the server of one more key by its 32- or 64-bit hash; `load` and `shares` are by server id.

    `keys` counts it in. With c >= 1 and shares that add up to 1 there is room; otherwise `FULL` is possible.
    """
    place = mixed(hash)
    low, high = 0, len(points)
    while low < high:
        middle = (low + high) >> 1
        if points[middle].place < place:
            low = middle + 1
        else:
            high = middle
    for _ in range(len(points)):
        if low == len(points):
            low = 0
        server = points[low].server
        if load[server] < bounded_limit(c, keys, shares[server]):
            return server  # type: ignore[no-any-return]
        low += 1
    return FULL


@kernel
def bounded_table(active: Servers, weights: Weights, size: int, c: float = 1.25, nodes: int = 1) -> Table:
    """Return int64[size]: no server has more than ceil(c x size x its share of the weights) slots.

    Slots are placed in turn as `bounded_place` places keys, which takes longer as c nears 1. The table
    depends on the set of servers only. Raises ValueError for c of 1 or less, or a pool or weights that
    cannot be.
    """
    check_pool(active, size)
    check_weights(active, weights)
    if not (c > 1.0):
        raise ValueError(f"c is {c}: the bound must be above 1 times the mean, such as 1.25")
    points = bounded_points(active, nodes)
    shares = np.zeros(len(weights))
    shares[active] = weights[active] / np.sum(weights[np.sort(active)])
    load = np.zeros(len(weights), np.int64)
    table = np.empty(size, np.int64)
    for slot in range(size):
        table[slot] = bounded_place(points, load, shares, c, size, slot)
        load[table[slot]] += 1
    return table
