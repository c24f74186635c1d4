"""When connections come and go: Poisson arrivals, and departures as a merge of first-in-first-out queues.

A duration has one of a few values, so connections of equal duration leave in the order in which they came: a
queue each, and the next departure is the earliest of their heads, kept in a tournament (Knuth, TAOCP 3,
5.4.1). That replaces a heap of every active connection.

Time is float seconds here and nowhere else in lbsim: the published simulation keeps it so, and its digits
depend on the rounding.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import lean
from lbsim.workload.cpython import PAIRS, Stream, uniform
from lbsim.workload.distributions import published

Records = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

QUEUE: Final = np.dtype(
    [
        ("lasts", "f8"),  # s from arrival to departure
        ("cdf", "f8"),  # share of the connections that last at most as long
        ("count", "i8"),  # connections waiting to leave
        ("head", "i8"),  # slot of the first of them
        ("tail", "i8"),  # slot of the next one to come
        ("base", "i8"),  # its first slot ...
        ("end", "i8"),  # ... and the one after its last
    ]
)
NODE: Final = np.dtype([("time", "f8"), ("queue", "i8")])  # of the tournament; node 1 is the winner
ROOT: Final = 1


class Law(NamedTuple):
    """A law of few values: `values[k]` for the first k with cdf[k] > u, u uniform."""

    values: tuple[float, ...]  # rising
    cdf: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean, added in the order of the values as the published simulation does."""
        shares = (high - low for low, high in zip((0.0, *self.cdf), self.cdf, strict=False))
        return sum(value * share for value, share in zip(self.values, shares, strict=True))


@cache
def law(name: str) -> Law:
    """Return a published step distribution, in seconds, as a law."""
    table = published(name)
    return Law(tuple(table.values.tolist()), tuple(table.cdf.tolist()))


def durations() -> Law:
    """Return the durations of the published simulation: Hadoop connections, 14 values, mean 21.3 s."""
    return law("cheetah_hadoop_conn_duration_s")


def down_times() -> Law:
    """Return the down-times of the published simulation: server upgrades, 11 values, mean 1786 s."""
    return law("silkroad_server_downtime_s")


def refuse_below(least: float, **values: float) -> None:
    """Raise ValueError naming the first value that is below the least sensible one."""
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} = {value} is too small: give {least} or more")


class Departures(NamedTuple):
    """Everything that waits to leave."""

    queues: Records  # QUEUE[k], one a duration
    tree: Records  # NODE[2 * (k rounded up to a power of two)]
    slots: Records  # one an active connection; has a field "time", its departure


def departures(durations: Law, rate: float, slot: np.dtype[Any]) -> Departures:
    """Return empty queues with room for `rate` arrivals/s: the expected number + 12 standard deviations.

    Beside that there is room for a block of arrivals, which enter together.
    """
    n = len(durations.values)
    queues = np.zeros(n, QUEUE)
    queues["lasts"], queues["cdf"] = durations.values, durations.cdf
    expected = rate * np.diff(durations.cdf, prepend=0.0) * queues["lasts"]
    room = (expected + 12 * np.sqrt(expected) + 64 + PAIRS).astype(np.int64)
    queues["end"] = np.cumsum(room)
    queues["base"] = queues["head"] = queues["tail"] = queues["end"] - room
    leaves = 1 << (n - 1).bit_length()
    tree = np.zeros(2 * leaves, NODE)
    tree["time"] = np.inf
    tree["queue"][leaves:] = np.arange(leaves)
    return Departures(queues, tree, np.zeros(room.sum(), slot))


@lean
def exponential(stream: Stream, rate: float) -> float:
    """Return CPython's `expovariate(rate)`."""
    return gap(uniform(stream), rate)


@lean
def gap(u: float, rate: float) -> float:
    """Return the exponential value that CPython makes of the uniform number u."""
    return -math.log(1.0 - u) / rate


@lean
def draw(stream: Stream, cdf: NDArray[np.float64]) -> int:
    """Return the position k of the value drawn from a law."""
    return position(cdf, uniform(stream))


@lean
def position(cdf: NDArray[np.float64], u: float) -> int:
    """Return the position k of the value of a law that the uniform number u stands for."""
    k = 0
    for share in cdf:
        k += u >= share
    return k


@lean
def enter(queues: Records, tree: Records, slots: Records, k: int, now: float) -> int:
    """A connection of the k-th duration starts now; return its slot. OverflowError for a full queue."""
    queue = queues[k]
    slot, time = queue.tail, now + queue.lasts
    if queue.count == queue.end - queue.base:
        raise OverflowError("more connections are active than 12 standard deviations above the mean")
    slots[slot].time = time
    queue.tail = slot + 1 if slot + 1 < queue.end else queue.base
    queue.count += 1
    if queue.count == 1:
        compete(tree, k, time)
    return slot  # type: ignore[no-any-return]


@lean
def leave(queues: Records, tree: Records, slots: Records) -> int:
    """The connection that is to leave first leaves; return its slot, to be read before another enters."""
    k = tree[ROOT].queue
    queue = queues[k]
    slot = queue.head
    queue.head = slot + 1 if slot + 1 < queue.end else queue.base
    queue.count -= 1
    compete(tree, k, slots[queue.head].time if queue.count else np.inf)
    return slot  # type: ignore[no-any-return]


@lean
def compete(tree: Records, k: int, time: float) -> None:
    """Play the matches of queue k anew: its head is now to leave at `time`."""
    node = np.uintp((len(tree) >> 1) + k)
    winner = k
    tree[node].time = time
    while node > np.uintp(ROOT):
        other = tree[node ^ np.uintp(1)]
        earlier = other.time < time
        winner = other.queue if earlier else winner
        time = min(other.time, time)
        node >>= np.uintp(1)
        tree[node].time = time
        tree[node].queue = winner
