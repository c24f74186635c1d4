"""Rendezvous hashing, or highest random weight (Thaler and Ravishankar, IEEE/ACM ToN 1998).

A key goes to the server with the highest score, a hash of both: when a server leaves only its own keys move,
and when one comes only to it. `rendezvous` is exact for every key and costs a hash per server; a table of
it, with slots as keys, costs a memory access.

With weights the score is weight / -ln(hash as a fraction), which makes shares those of the weights
(Schindelhauer and Schomaker, SPAA 2005, logarithmic method); a change of one weight moves only keys to or
from that server.
"""

from __future__ import annotations

from math import log

import numpy as np

from lbsim.balancer.tables import Servers, Table, Weights, Word, check_pool, check_weights, mixed, server_word
from lbsim.jit import kernel, lean


@lean
def score(server: int, key: Word) -> Word:
    """Return a server's score for a key that is mixed already: 53 bits, the precision of a float."""
    return mixed(server_word(server) ^ key) >> np.uint64(11)


@lean
def rendezvous(active: Servers, hash: Word) -> int:  # noqa: A002
    """Return the server of a key by its 32- or 64-bit hash, all servers weighing the same; one at least.

    O(servers), exact; at equal scores the first in the list.
    """
    key, best = mixed(hash), np.uint64(0)
    for k in range(
        len(active)
    ):  # indexes, and no branch: so it runs on vectors, twice as fast with both loops
        best = max(best, score(active[k], key))
    k = 0
    while score(active[k], key) != best:
        k += 1
    return active[k]  # type: ignore[no-any-return]


@lean
def weighted_rendezvous(active: Servers, weights: Weights, hash: Word) -> int:  # noqa: A002
    """Return the server of a key by its 32- or 64-bit hash, among those with a weight above 0; one at least.

    O(servers), exact; at equal scores the first in the list.
    """
    key, chosen, best = mixed(hash), -1, np.inf
    for k in range(len(active)):
        weight = weights[active[k]]
        fraction = _fraction(active[k], key)
        # -ln(x) >= 1 - x, so most servers cost no logarithm; nor does a weight of 0.
        if 1.0 - fraction < best * weight and -log(fraction) < best * weight:
            chosen, best = active[k], -log(fraction) / weight
    return chosen


@kernel
def rendezvous_table(active: Servers, weights: Weights, size: int) -> Table:
    """Return the servers of keys 0 .. size - 1, int64[size]; it depends on the set of servers only.

    O(servers x size); a change is O(size) with `rendezvous_add` and `rendezvous_remove`. Raises ValueError
    for a pool or weights that cannot be.
    """
    check_pool(active, size)
    check_weights(active, weights)
    table = np.empty(size, np.int64)
    even = _even(active, weights)
    for slot in range(size):
        table[slot] = _winner(active, weights, even, slot)
    return table


@kernel
def rendezvous_add(table: Table, weights: Weights, server: int) -> None:
    """Change the table into that with one server more."""
    for slot in range(len(table)):
        key, rival = mixed(np.uint64(slot)), table[slot]
        if weights[server] == weights[rival]:
            wins = score(server, key) > score(rival, key)
        else:
            wins = (
                -log(_fraction(server, key)) * weights[rival] < -log(_fraction(rival, key)) * weights[server]
            )
        if wins:
            table[slot] = server


@kernel
def rendezvous_remove(table: Table, active: Servers, weights: Weights, server: int) -> None:
    """Change the table into that without one server; `active` are those left.

    Raises ValueError when they cannot be all.
    """
    check_pool(active, len(table))
    check_weights(active, weights)
    even = _even(active, weights)
    for slot in range(len(table)):
        if table[slot] == server:
            table[slot] = _winner(active, weights, even, slot)


@lean
def _fraction(server: int, key: Word) -> float:
    return (np.float64(score(server, key)) + 0.5) * 2.0**-53


@kernel
def _even(active: Servers, weights: Weights) -> bool:
    return bool(np.all(weights[active] == weights[active[0]]))


@lean
def _winner(active: Servers, weights: Weights, even: bool, slot: int) -> int:
    return rendezvous(active, slot) if even else weighted_rendezvous(active, weights, slot)
