"""What the mapping tables share: hashing of numbers, the slot of a key, and what a pool must have.

A mapping table is int64[size] of server ids and a pure function of the servers that take new connections. A
balancer that keeps no connections looks every packet up in the table of the moment, so what a change of the
pool moves in the table, it breaks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import kernel, lean

Servers = NDArray[np.int64]
Weights = NDArray[np.float64]
Table = NDArray[np.int64]
Word = Any  # uint64; mypy has no fixed-width arithmetic with ints


@lean
def mixed(word: Word) -> Word:
    """Return 64 well-mixed bits: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    z = np.uint64(word)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@lean
def server_word(server: int) -> Word:
    """Return 64 bits that stand for a server in hashes: its step of SplitMix64's sequence, not yet mixed."""
    return np.uint64(server + 1) * np.uint64(0x9E3779B97F4A7C15)


@lean
def owner(table: Table, hash: Word) -> int:  # noqa: A002
    """Return the server of a key: the table's entry at its 32- or 64-bit hash modulo the size."""
    return table[np.uint64(hash) % np.uint64(len(table))]  # type: ignore[no-any-return]


@kernel
def check_pool(active: Servers, size: int) -> None:
    """Raise ValueError when no server is active, or when there are more of them than slots."""
    if len(active) == 0:
        raise ValueError("active is empty: a table needs 1 server or more; add one before the last leaves")
    if size < len(active):
        raise ValueError(f"size is {size} for {len(active)} active servers: a table needs a slot for each")


@kernel
def check_weights(active: Servers, weights: Weights) -> None:
    """Raise ValueError for a weight below 0 or not finite, and when no active server has any."""
    total = 0.0
    for server in active:
        weight = weights[server]
        if not (0.0 <= weight < np.inf):
            raise ValueError(f"the weight of server {server} is {weight}: give a finite weight of 0 or more")
        total += weight
    if total == 0.0:
        raise ValueError("weights are 0 for every active server: give at least one a weight above 0")
