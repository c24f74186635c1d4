"""Maglev's table (Eisenbud et al., NSDI 2016, section 3.4): even to one slot, at the price of some moves.

Every server has a permutation of the slots, offset + k x skip; servers take turns, and at its turn each takes
the first slot of its permutation that is still free. A change of the pool also moves a few slots between
servers that stay: the larger the table, the fewer.
"""

from __future__ import annotations

from math import floor
from typing import Final

import numpy as np

from lbsim.balancer.tables import Servers, Table, Weights, check_pool, check_weights, mixed, server_word
from lbsim.jit import kernel

SMALL: Final = 65_537
LARGE: Final = 655_373
"""The two sizes that the paper evaluates; both primes."""


@kernel
def maglev_table(active: Servers, weights: Weights, size: int = SMALL) -> Table:
    """Return Maglev's table, int64[size]; `size` is prime, so that a permutation reaches every slot.

    The paper leaves open how weights alter the frequency of turns: here a server of weight w has turns in
    w / (the largest) of the rounds, evenly spaced. Turns go by rising id, so the table depends on the set of
    servers only. Raises ValueError for a size that is not prime, or a pool or weights that cannot be.
    """
    check_pool(active, size)
    check_weights(active, weights)
    if not _is_prime(size):
        raise ValueError(f"size is {size}: Maglev's table needs a prime number of slots, such as 65537")
    servers = np.sort(active)
    n = len(servers)
    share = weights[servers] / np.max(weights[servers])
    at, skip = np.empty(n, np.int64), np.empty(n, np.int64)
    for k in range(n):
        word = server_word(servers[k])
        at[k] = mixed(word) % np.uint64(size)
        skip[k] = mixed(~word) % np.uint64(size - 1) + np.uint64(1)
    table = np.full(size, -1)
    free, turn = size, 0
    while True:
        for k in range(n):
            if floor((turn + 1) * share[k]) == floor(turn * share[k]):
                continue
            slot = at[k]
            while table[slot] != -1:
                slot += skip[k]
                if slot >= size:
                    slot -= size
            table[slot] = servers[k]
            at[k] = slot
            free -= 1
            if free == 0:
                return table
        turn += 1


@kernel
def _is_prime(number: int) -> bool:
    if number < 2 or (number > 2 and number % 2 == 0):
        return False
    factor = 3
    while factor * factor <= number:
        if number % factor == 0:
            return False
        factor += 2
    return True
