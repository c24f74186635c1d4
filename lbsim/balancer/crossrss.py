"""CrossRSS: new flows go to the server whose core for them is least loaded (CoNEXT 2020, poster).

A NIC's hash and indirection table decide which core of a server gets a packet. A balancer that knows the
tables of its servers knows, of each bucket of the hash, the one core that it leads to in every server. Once a
period it smooths the loads of all cores and gives each bucket to the server whose core for it has the least
(github.com/tbarbette/fastclick, elements/research/crossrss.cc). Pure functions over arrays:

- `load`: int64[servers, cores], packets, or ps of work, in a period;
- `maps`: int64[servers, buckets], core 0 .. cores-1 of each bucket in each server;
- `active`: bool[servers], which may get new flows.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
"""Load of a server that is not active: more than any."""


def smooth(load: Int64s, count: Int64s, share: float) -> Int64s:
    """Return `share` x `count` + (1 - `share`) x `load`, cut to whole numbers as published.

    At one half that is (count + load) >> 1. Arrays of any one shape, values of 0 to 2^53.
    """
    return cast(Int64s, (share * count + (1.0 - share) * load).astype(np.int64))


def in_turn(active: Bools, buckets: int) -> Int64s:
    """Return int64[buckets], the table at the start: the active servers in turn."""
    servers = np.flatnonzero(active)
    return servers[np.arange(buckets) % len(servers)]


def per_core(count: Int64s, maps: Int64s, cores: int) -> Int64s:
    """Return int64[servers, cores]: the sum of `count`, int64[servers, buckets], over the buckets of each."""
    loads = np.zeros((len(maps), cores), np.int64)
    np.add.at(loads, (np.arange(len(maps))[:, None], maps), count)
    return loads


def assign(load: Int64s, maps: Int64s, active: Bools) -> Int64s:
    """Return int64[buckets]: for each bucket the active server whose core for it has the least load.

    The lowest server of equals. Each bucket is looked at by itself, so that all that share an idle core flock
    to it, as published. Raises ValueError where no server is active.
    """
    return cast(Int64s, np.argmin(_seen(load, maps, active), axis=0))


def assign_with_credit(load: Int64s, maps: Int64s, active: Bools, before: Int64s, weight: Int64s) -> Int64s:
    """Return the same, but for what each bucket finds of those before it (ours; against the flocking).

    A bucket that leaves the server it had `before` adds its `weight`, the load that is expected of it
    (int64[buckets], in the unit of the loads), to the core that gets it; the next bucket sees that.
    """
    _seen(load, maps, active)
    loads, table, usable = load.copy(), before.copy(), np.flatnonzero(active)
    for b in range(maps.shape[1]):
        cores = maps[usable, b]
        place = int(np.argmin(loads[usable, cores]))
        server = usable[place]
        if server != before[b]:
            loads[server, cores[place]] += weight[b]
        table[b] = server
    return table


def repaired(table: Int64s, load: Int64s, maps: Int64s, active: Bools) -> Int64s:
    """Return the table once servers are gone: their buckets assigned anew, the others where they were."""
    return np.where(active[table], table, assign(load, maps, active))


def _seen(load: Int64s, maps: Int64s, active: Bools) -> Int64s:
    """Return int64[servers, buckets]: the load of the core that each bucket would meet."""
    if not active.any():
        raise ValueError("no server is active: a bucket needs at least one")
    seen = np.take_along_axis(load, maps, axis=1)
    return np.where(active[:, None], seen, NEVER)
