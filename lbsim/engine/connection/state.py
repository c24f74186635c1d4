"""What changes while connections come and go, apart from the agenda: servers, counters, breaks, free URLs."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.connection.agenda import Rows
from lbsim.engine.connection.plane import Int64s

SERVER: Final = np.dtype(
    [
        ("load", "i8"),  # connections it has
        ("placed", "i8"),  # connections it was ever given
        ("place", "i8"),  # its position in the list of active servers, -1: none
        ("down", "i8"),
    ]
)
BROKEN: Final = np.dtype(
    [("time", "i8"), ("reported", "i8"), ("index", "i8"), ("server", "i8"), ("cause", "i8")]
)
"""A row of the log of breaks, as in `plane.Breaks`."""

# `counts`, an int64 array; the first ones in the order of `plane.Counters`:
BEGUN, COMPLETED, BROKE, _, REFUSALS, SKIPPED, RETRIED, LIVE, ACTIVE, HIGHEST, LOWEST, PROTECTED = range(12)
PEAK, PEAK_PROTECTED, TOTAL, RATIOS, LOGGED, NEXT, EVENTS = range(12, 19)
COUNTS: Final = 19
"""BROKE + cause; connections on active servers; ratios of imbalance; rows of the log; the next attempt."""


class State(NamedTuple):
    """Everything that changes, but the agenda."""

    servers: Rows  # SERVER[configured]
    queue: Int64s  # [n] load by position
    levels: Int64s  # how many active servers have each load
    counts: Int64s  # see above
    ratio: NDArray[np.float64]  # of highest to mean load: sum, greatest
    log: Rows  # BROKEN[capacity]
    free: NDArray[np.int32]  # [processes, urls]: the URLs that can be asked for come first
    idle: Int64s  # [processes] how many they are
    soon: Int64s  # [SOON] positions decided ahead, by attempt modulo SOON; empty where none are


SOON: Final = 16  # attempts, a power of two
"""Where the policy looks at the hash alone, it decides so many attempts ahead: the server is at hand then."""


class Habits(NamedTuple):
    """Constants of the clients; see `plane.Clients`."""

    seed: int
    warmup: int
    retry: int
    notice: int
    again: bool
    length: Int64s  # by URL, empty where there are none
    gap: Int64s
