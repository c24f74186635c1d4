"""Cheetah, Section 2, "imbalance": how far the most loaded server is above the mean.

468 servers, connections of Hadoop durations, no change of servers. At every arrival, before it is placed, the
largest load is divided by the mean load; the published number is the mean of that over the arrivals, as a
percentage above 1. Placements: round robin, hash, the less loaded of two hashed servers, the least loaded.
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.section2.events import (
    ROOT,
    Records,
    departures,
    draw,
    durations,
    enter,
    exponential,
    leave,
    refuse_below,
)
from lbsim.engine.section2.keys import HASHINGS, Hashing, bucket, prefix, prefix_length
from lbsim.engine.section2.levels import HIGHEST, LOWEST, Int64s, Levels, change, levels, lowest
from lbsim.jit import lean
from lbsim.workload.cpython import Stream, stream

Placement = Literal["round-robin", "hash", "power-of-two", "least-loaded"]
PLACEMENTS: Final = ("round-robin", "hash", "power-of-two", "least-loaded")
SLOT: Final = np.dtype([("time", "f8"), ("server", "i8")])
_ROUND_ROBIN, _HASH, _POWER_OF_TWO, _LEAST_LOADED = range(4)


class Cluster(NamedTuple):
    """What is simulated: by default the published scale."""

    connections: int  # active at a time, on average
    servers: int = 468
    buckets: int = 468  # of the hash
    end: float = 30_000.0  # s


class Meter(NamedTuple):
    """How connections are hashed and imbalance is measured; the defaults are as published."""

    hashing: Hashing = "python2"
    floor: bool = True  # the mean load is rounded down, as Python 2 divides integers; else real-valued
    at_arrivals: bool = True  # the mean over arrivals; else over time


PUBLISHED: Final = Meter()
INTENDED: Final = Meter(hashing="uniform", floor=False, at_arrivals=False)
WARM: Final = 0.9
"""Share of the target at which the mean load first counts as steady; measuring starts there."""


class Imbalance(NamedTuple):
    """What a run measured."""

    connections: int  # started
    mean: float  # of highest load / mean load
    largest: float

    @property
    def percent(self) -> float:
        """Return how far the most loaded server is above the mean, %."""
        return 100 * (self.mean - 1)


def imbalance(placement: Placement, cluster: Cluster, seed: int = 1, meter: Meter = PUBLISHED) -> Imbalance:
    """Run the simulation; ValueError where it ends before the load is steady."""
    refuse_below(1, connections=cluster.connections, servers=cluster.servers)
    refuse_below(2 if placement == "power-of-two" else 1, buckets=cluster.buckets)
    law = durations()
    rate = cluster.connections / law.mean
    queues, tree, slots = departures(law, rate, SLOT)
    out = np.zeros(3)
    _run(
        PLACEMENTS.index(placement), HASHINGS.index(meter.hashing), meter.floor, meter.at_arrivals, seed,
        rate, cluster.end, WARM * cluster.connections / cluster.servers, stream(seed), np.array(law.cdf),
        queues, tree, slots, np.arange(cluster.buckets) * cluster.servers // cluster.buckets,
        np.zeros(cluster.servers, np.int64), levels(cluster.servers, len(slots)), np.zeros(2, np.int64), out,
    )  # fmt: skip
    if np.isnan(out[1]):
        raise ValueError(f"end = {cluster.end} s is too short: the load is not steady yet, try 300 s or more")
    return Imbalance(int(out[0]), float(out[1]), float(out[2]))


@lean
def _run(
    placement: int, hashing: int, floor: bool, at_arrivals: bool, seed: int, rate: float, end: float,
    warm: float, stream: Stream, cdf: NDArray[np.float64], queues: Records, tree: Records, slots: Records,
    home: Int64s, load: Int64s, levels: Levels, loads: Int64s, out: NDArray[np.float64],
) -> None:  # fmt: skip
    """Run until `end`; `home` is the server of every bucket, `loads` the lowest and highest load."""
    servers, buckets = len(load), len(home)
    now = last = 0.0
    started, active, turn = 0, 0, 0
    number, tens, state, length = 0, -1, np.uint64(0), 0
    measuring = False
    total, weight, largest = 0.0, 0.0, 0.0
    while True:
        while tree[ROOT].time <= min(now, end):
            if measuring and not at_arrivals:
                time = tree[ROOT].time
                total += (time - last) * loads[HIGHEST] * servers / active
                weight += time - last
                last = time
            server = slots[leave(queues, tree, slots)].server
            change(levels, loads, server, load[server], -1)
            load[server] -= 1
            active -= 1
        if now > end:
            break
        mean = math.floor(active / servers) if floor else active / servers
        if mean > warm and not measuring:
            measuring, last = True, now
        if measuring:
            ratio = loads[HIGHEST] / mean
            step = 1.0 if at_arrivals else now - last
            total += step * ratio
            weight += step
            largest = max(largest, ratio)
            last = now
        if placement == _ROUND_ROBIN:
            server = turn
            turn = turn + 1 if turn + 1 < servers else 0
        elif placement == _LEAST_LOADED:
            server = lowest(levels, loads[LOWEST])
        else:
            if number // 10 != tens:
                tens = number // 10
                state, length = prefix(tens), prefix_length(tens)
            if placement == _HASH:
                server = home[bucket(hashing, seed, state, length, number, -1, buckets)]
            else:
                first = bucket(hashing, seed, state, length, number, 0, buckets)
                second = bucket(hashing, seed, state, length, number, 1, buckets - 1)
                server, other = home[first], home[second + (second >= first)]
                if load[server] > load[other]:
                    server = other
        change(levels, loads, server, load[server], 1)
        load[server] += 1
        active += 1
        slots[enter(queues, tree, slots, draw(stream, cdf), now)].server = server
        now += exponential(stream, rate)
        started += 1
        number += 1 if number else 2  # number 1 is the first update's, whether there are updates or not
    out[0], out[1], out[2] = started, total / weight if weight else np.nan, largest
