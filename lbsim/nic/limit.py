"""What a NIC cannot take: a token bucket before all of its receive queues."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import kernel

Int64s = NDArray[np.int64]
Flags = NDArray[np.bool_]


@kernel
def taken(level: int, at: int, depth: int, times: Int64s, costs: Int64s) -> tuple[Flags, int, int]:
    """Return which packets find room, and the bucket's level after the last one and its time.

    The bucket holds `depth` ps and fills by one ps a ps; a packet at `times` takes out `costs` ps, its time
    at the limit's rate, and is lost where they are not there. One that costs more than the bucket holds needs
    a full one, and leaves a debt. Exact: integers alone.
    """
    room = np.empty(len(times), np.bool_)
    for k in range(len(times)):
        level = min(depth, level + times[k] - at)
        at = times[k]
        room[k] = level >= min(costs[k], depth)
        if room[k]:
            level -= costs[k]
    return room, level, at
