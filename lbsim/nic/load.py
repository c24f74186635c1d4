"""How loaded a core that polls is: it never idles, so RSS++ counts the cycles of polls that found packets.

Two readings make a load (rsspp/fastclick, routerthread.cc and devicebalancer.cc): `rough_load` ten times a
second, smoothed, and the exact work of each core at a tick; `core_loads` joins them. Loads are in cores.
"""

from __future__ import annotations

from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike

from lbsim.nic.rsspp import Floats, Ints, RssppParams
from lbsim.units import MS

ROUGH_PERIOD: Final = 100 * MS
"""Picoseconds between two updates of a core's rough load."""

ROUGH_ONE: Final = 1024  # a rough load is a fixed-point number of ten bits
SATURATED: Final = 0.98  # load above which a core counts towards the queue term


def rough_load(previous: ArrayLike, useful: ArrayLike, total: ArrayLike) -> Floats:
    """Return the rough load of cores, renewed every `ROUGH_PERIOD`: half the new reading, half the old load.

    `useful` and `total` are busy and elapsed times since the last update; all three are scalars or arrays
    over cores. Readings and loads are cut to multiples of 1/1024, the ten bits of the published code; a core
    without any elapsed time keeps its load.
    """
    old = (np.asarray(previous, np.float64) * ROUGH_ONE).astype(np.int64)
    elapsed = np.asarray(total, np.int64)
    reading = np.minimum(np.asarray(useful, np.int64) * ROUGH_ONE // np.maximum(elapsed, 1), ROUGH_ONE)
    return np.where(elapsed > 0, (reading + old) // 2, old) / ROUGH_ONE


def core_loads(useful: Ints, rough: Floats, occupancy: Ints, ring: int, params: RssppParams) -> Floats:
    """Return float64[N], the load of every core at a tick.

    `useful` is the busy time of each core since the last tick and gives its exact share of all work; only
    the scale, the sum of the `rough` loads, is smoothed, and lowered so that no core exceeds 1. If more than
    one core is above 0.98, a tenth of every load is replaced by how full its receive ring is (`occupancy` of
    `ring` descriptors).
    """
    work = useful.sum()
    if work == 0:
        return np.zeros(useful.size)
    share = useful / work
    loads = np.minimum(share * min(rough.sum(), 1.0 / share.max()), 1.0)
    if params.queue_term and np.count_nonzero(loads > SATURATED) > 1:
        loads = 0.9 * loads + 0.1 * (occupancy / ring)
    return cast(Floats, loads)
