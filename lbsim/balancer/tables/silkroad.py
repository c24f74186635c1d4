"""SilkRoad: a switch that keeps connections by digests and versions (Miao et al., SIGCOMM 2017).

The connection table holds a 16-bit digest and a 6-bit version of the server pool for each connection; the
version's pool and the connection's hash give the server. Software writes the table, a learning delay D after
a connection's first packet. A change of the pool must not catch connections that are not yet learned:

1. `begin_update`: the pool stays; unlearned connections are noted in a Bloom filter, the transit table.
2. `switch_version`, D later, when all that came before the request are learned: the new version serves
   unlearned connections, but those in the filter still the old one.
3. `end_update`, again D later, when all in the filter are learned: the filter is emptied.

A first packet cannot belong to what it hits, so software resolves false hits of the table and the filter; it
also tells learned connections of equal digest apart. What remains: a connection that found no free cell is
never learned, and the next change may break it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.tables import Servers, Word, mixed
from lbsim.jit import lean

Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot
Filter = NDArray[np.uint64]

STAGES: Final = 4  # of the pipeline; each hashes a connection to one bucket of its own
WAYS: Final = 4  # cells in a bucket, one word of memory
CELL_BITS: Final = 28  # digest 16, version 6, overhead 6
VERSIONS: Final = 64
TRANSIT_BYTES: Final = 256
TRANSIT_HASHES: Final = 4

CELL: Final = np.dtype([("key", np.uint64), ("version", np.int64)])
"""One cell, with the whole key where the switch has only the digest, as its software knows it."""
EMPTY: Final = -1

UPDATE: Final = np.dtype([("phase", np.int64), ("version", np.int64), ("previous", np.int64)])
"""How far a change is, the version in the service's entry, and the one before it."""
IDLE: Final = 0
RECORD: Final = 1
SPLIT: Final = 2

HIT: Final = 0  # by the connection table
MISS: Final = 1  # to be learned
SOFTWARE: Final = 2  # a false hit of a first packet, resolved; to be learned


class Found(NamedTuple):
    """The version that serves a packet, and how it was found."""

    version: int
    how: int


def digest_table(cells: int) -> Rows:
    """Return an empty connection table of at least `cells` cells, CELL[stages x buckets x ways]."""
    table: Rows = np.zeros(-(-cells // (STAGES * WAYS)) * STAGES * WAYS, CELL).view(np.recarray)
    table.version = EMPTY
    return table


def transit_table(octets: int = TRANSIT_BYTES) -> Filter:
    """Return an empty Bloom filter of a multiple of 8 bytes."""
    return np.zeros(-(-octets // 8), np.uint64)


def no_update(version: int = 0) -> Rows:
    """Return UPDATE[1]: nothing under way, `version` in force."""
    update: Rows = np.zeros(1, UPDATE).view(np.recarray)
    update.version = update.previous = version
    return update


@lean
def silkroad(table: Rows, transit: Filter, update: Rows, key: Word, first: bool) -> Found:
    """Return the version for a packet of connection `key`, a 64-bit hash; `first` for a SYN.

    During `RECORD` it notes the connection in the filter.
    """
    state = update[0]
    cell = match(table, key)
    if cell != EMPTY and not first:
        return Found(table[cell].version, HIT)
    how = MISS if cell == EMPTY else SOFTWARE
    if state.phase == RECORD:
        transit_add(transit, key)
    elif state.phase == SPLIT and transit_has(transit, key):
        if not first:
            return Found(state.previous, MISS)
        how = SOFTWARE
    return Found(state.version, how)


@lean
def pool_server(pools: NDArray[np.int64], sizes: Servers, version: int, key: Word) -> int:
    """Return the server of a connection in a version of the pool: `pools` is int64[versions, servers]."""
    return pools[version, mixed(~key) % np.uint64(sizes[version])]  # type: ignore[no-any-return]


@lean
def free_version(users: Servers, version: int) -> int:
    """Return a version that is not in force and serves no connection, -1 if none; `users` counts them."""
    for other in range(len(users)):
        if users[other] == 0 and other != version:
            return other
    return -1


# --- updates ------------------------------------------------------------------------------------------------


@lean
def begin_update(transit: Filter, update: Rows) -> None:
    """Step 1: from now on note unlearned connections."""
    transit[:] = 0
    update[0].phase = RECORD


@lean
def switch_version(update: Rows, version: int) -> None:
    """Step 2: `version` serves connections that are neither learned nor noted."""
    update[0].previous = update[0].version
    update[0].version = version
    update[0].phase = SPLIT


@lean
def end_update(transit: Filter, update: Rows) -> None:
    """Step 3: forget what was noted."""
    transit[:] = 0
    update[0].phase = IDLE


# --- the connection table -----------------------------------------------------------------------------------


@lean
def match(table: Rows, key: Word) -> int:
    """Return the cell that serves a connection: its own, else the first of equal digest, else `EMPTY`."""
    key = np.uint64(key)
    digest, found = _digest(key), EMPTY
    for stage in range(STAGES):
        start = _bucket(table, key, stage)
        for cell in range(start, start + WAYS):
            if table[cell].version == EMPTY:
                continue
            if table[cell].key == key:
                return cell
            if found == EMPTY and _digest(table[cell].key) == digest:
                found = cell
    return found


@lean
def learn(table: Rows, key: Word, version: int) -> bool:
    """Write a connection into the first free cell of its buckets; return whether there was one."""
    for stage in range(STAGES):
        start = _bucket(table, key, stage)
        for cell in range(start, start + WAYS):
            if table[cell].version == EMPTY:
                table[cell].key = key
                table[cell].version = version
                return True
    return False


@lean
def forget(table: Rows, key: Word) -> bool:
    """Free the cell of a connection that ended; return whether it had one."""
    cell = match(table, key)
    if cell == EMPTY or table[cell].key != np.uint64(key):
        return False
    table[cell].version = EMPTY
    return True


@lean
def _digest(key: Word) -> Word:
    return mixed(key) & np.uint64(0xFFFF)


@lean
def _bucket(table: Rows, key: Word, stage: int) -> int:
    buckets = len(table) // (STAGES * WAYS)
    place = mixed(np.uint64(key) + np.uint64(stage + 1)) >> np.uint64(32)
    return (stage * buckets + np.int64(place * np.uint64(buckets) >> np.uint64(32))) * WAYS  # type: ignore[return-value]


# --- the transit table --------------------------------------------------------------------------------------


@lean
def transit_add(transit: Filter, key: Word) -> None:
    """Note a connection."""
    for k in range(TRANSIT_HASHES):
        bit = _bit(transit, key, k)
        transit[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@lean
def transit_has(transit: Filter, key: Word) -> bool:
    """Return whether a connection is noted, or looks like one that is."""
    for k in range(TRANSIT_HASHES):
        bit = _bit(transit, key, k)
        if not transit[bit >> np.uint64(6)] >> (bit & np.uint64(63)) & np.uint64(1):
            return False
    return True


@lean
def _bit(transit: Filter, key: Word, k: int) -> Word:
    return mixed(np.uint64(key) ^ np.uint64(0x5851F42D4C957F2D) * np.uint64(k + 1)) % np.uint64(
        64 * len(transit)
    )
