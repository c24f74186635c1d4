"""The consistent-hash ring as a table: slots take the server placed in them, gaps the server before.

`published_ring` is Cheetah's (cheetahlb/cheetah-fastclick, include/click/loadbalancer.hh): the table has 100
slots a configured server, and what it does otherwise than a ring is meant to:

- a server's virtual nodes are placed by arithmetic, not by a hash, so shares are far from even;
- their number follows the number of active servers, so that every change moves slots between others;
- where two fall on one slot, the later in the loop has it, which depends on the order of the list;
- the slots before the first node belong to the list's first server; a ring would close there.

`ring_table` is the ring as meant (Karger et al., STOC 1997): only what a change concerns moves.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lbsim.balancer.tables import Servers, Table, Weights, check_pool, check_weights, mixed, server_word
from lbsim.jit import kernel, lean

SLOTS: Final = 100
"""Slots of the published ring for each configured server."""

_MASK: Final = 0xFFFFFFFF  # the published arithmetic is on 32-bit unsigned ints


@lean
def cantor(server: int, node: int) -> int:
    """Return where the published code places a virtual node: Cantor's pairing function, 32-bit."""
    s = (server + node) & _MASK
    return (((s * (s + 1)) & _MASK) // 2 + node) & _MASK


@lean
def linear(server: int, node: int) -> int:
    """Return where the first published version (2020-02-08) places a virtual node."""
    return (server * 19219 + node * 34483) & _MASK


@kernel
def published_ring(active: Servers, size: int, first_version: bool = False) -> Table:
    """Return the ring as published, int64[size]; `active` in the order of the balancer's list.

    Look it up by the 16-bit `clickhash.fold16` of the NIC's hash, so that slots beyond 65,536 are never used.
    Raises ValueError for an empty pool, or more servers than slots.
    """
    check_pool(active, size)
    table = np.full(size, -1)
    for node in range((size - 1) // len(active) + 1):
        for server in active:
            place = linear(server, node) if first_version else cantor(server, node)
            table[place % size] = server
    _fill_gaps(table, active[0])
    return table


@kernel
def ring_table(active: Servers, weights: Weights, size: int, nodes: int = SLOTS) -> Table:
    """Return the ring as meant, int64[size]: a server has `nodes` x its weight hashed places, at least one.

    It depends on the set of servers only. A server that comes takes slots, one that leaves gives its own
    away; nothing else moves. Raises ValueError for a pool or weights that cannot be.
    """
    check_pool(active, size)
    check_weights(active, weights)
    table = np.full(size, -1)
    last = np.zeros(size, np.uint64)  # the place, in a slot with several, that is nearest its end
    for server in active:
        if weights[server] == 0.0:
            continue
        for node in range(max(1, round(nodes * weights[server]))):
            place = mixed(server_word(server) ^ mixed(np.uint64(node + 1)))
            slot = np.int64((place >> np.uint64(32)) * np.uint64(size) >> np.uint64(32))
            if table[slot] == -1 or place > last[slot] or (place == last[slot] and server < table[slot]):
                table[slot], last[slot] = server, place
    _fill_gaps(table, table[np.flatnonzero(table != -1)[-1]])
    return table


@lean
def _fill_gaps(table: Table, before: int) -> None:
    for slot in range(len(table)):
        if table[slot] == -1:
            table[slot] = before
        else:
            before = table[slot]
