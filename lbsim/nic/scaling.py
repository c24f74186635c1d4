"""Core scaling of RSS++: take one core more, or one less, as the loads ask (RSS++ section 4, rsspp.cc).

Pure functions over arrays. Cores in use are 0..N-1 here and loads are in units of one core, as for
`lbsim.nic.rsspp.rebalance`, which fills an added core in the same tick.
"""

from __future__ import annotations

import heapq
from enum import IntEnum
from typing import Final

import numpy as np

from lbsim.nic.rsspp import Floats, Ints

LACK: Final = -0.1  # spare capacity, in cores, below which a core is added
MARGIN: Final = 0.05  # least that every core keeps in hand before one is removed


class Wish(IntEnum):
    """What the loads ask for."""

    REMOVE = -1
    KEEP = 0
    ADD = 1


def wish(load: Floats, target: float) -> Wish:
    """Return whether to take one core more or one less.

    `load` is float64[N], the loads of the cores in use. The spare capacity is the sum of `target` - load. A
    core is missing below -0.1. One is too many above 1 + (1 - `target`) + guard, with a guard of N + 1 times
    the larger of 0.05 and the highest load less `target`; a single core never is.
    """
    spare = float((target - load).sum())
    guard = (load.size + 1) * max(MARGIN, float(load.max()) - target)
    if load.size > 1 and spare > 1 + (1 - target) + guard:
        return Wish.REMOVE
    return Wish.ADD if spare < LACK else Wish.KEEP


def redistribute(load: Floats, bucket_counts: Ints, table: Ints, leaving: int, as_published: bool) -> Ints:
    """Return int64[B], the table once all buckets of the core `leaving` have gone to the others.

    `load` is float64[N]; `bucket_counts` (packets of each bucket since the last tick) and `table` (core of
    each bucket) are int64[B]. Bucket after bucket goes to the core that is lowest by then: the heaviest
    first, starting from the loads of the cores. The published code takes the lightest first and starts from
    zero, so it spreads evenly what leaves and does not see what is there. Ties fall to the lowest core and
    the lowest bucket. Raises ValueError where no other core is left.
    """
    if load.size < 2:
        raise ValueError(f"{load.size} cores are in use: one can leave only where another stays")
    mine = np.flatnonzero(table == leaving)
    counts = bucket_counts[mine]
    packets = int(counts.sum())
    weight = counts / packets * load[leaving] if packets else np.zeros(mine.size)
    heap = [(0.0 if as_published else float(load[c]), c) for c in range(load.size) if c != leaving]
    heapq.heapify(heap)
    after = table.copy()
    for k in np.argsort(counts if as_published else -counts, kind="stable"):
        low, core = heap[0]
        after[mine[k]] = core
        heapq.heapreplace(heap, (low + float(weight[k]), core))
    return after
