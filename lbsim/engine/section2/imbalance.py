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

from lbsim.engine.section2.block import BLOCK, NONE, Block, Uint32s, block, next_arrivals
from lbsim.engine.section2.events import Records, departures, durations, refuse_below
from lbsim.engine.section2.keys import HASHINGS, Hashing, bucket, prefix, prefix_length
from lbsim.engine.section2.levels import LOWEST, Int64s, Levels, change, levels, lowest
from lbsim.jit import lean
from lbsim.workload.cpython import Stream, stream

Placement = Literal["round-robin", "hash", "power-of-two", "least-loaded"]
PLACEMENTS: Final = ("round-robin", "hash", "power-of-two", "least-loaded")
SLOT: Final = np.dtype([("time", "f8"), ("server", "u4"), ("next", "u4")])
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
    queues, _, slots = departures(law, rate, SLOT)
    out = np.zeros(3)
    _run(
        PLACEMENTS.index(placement), HASHINGS.index(meter.hashing), meter.floor, meter.at_arrivals, seed,
        rate, cluster.end, WARM * cluster.connections / cluster.servers, stream(seed), np.array(law.cdf),
        queues, block(), slots, np.arange(cluster.buckets) * cluster.servers // cluster.buckets,
        np.zeros((2, BLOCK), np.uint32), np.zeros(cluster.servers, np.int64),
        np.zeros(len(slots) + 1, np.int64), levels(cluster.servers, len(slots)), np.zeros(2, np.int64), out,
    )  # fmt: skip
    if np.isnan(out[1]):
        raise ValueError(f"end = {cluster.end} s is too short: the load is not steady yet, try 300 s or more")
    return Imbalance(int(out[0]), float(out[1]), float(out[2]))


@lean
def _run(
    placement: int, hashing: int, floor: bool, at_arrivals: bool, seed: int, rate: float, end: float,
    warm: float, stream: Stream, cdf: NDArray[np.float64], queues: Records, block: Block, slots: Records,
    home: Int64s, choices: Uint32s, load: Int64s, crowd: Int64s, levels: Levels, loads: Int64s,
    out: NDArray[np.float64],
) -> None:  # fmt: skip
    """Run until `end`; `home` is the server of every bucket, `crowd` the number of servers of every load.

    The highest load that occurs is known from `crowd`; `levels` and `loads`, which know the lowest and who
    has it, are kept for the placement that asks for it.
    """
    servers = len(load)
    now = last = coming = 0.0
    started, active, highest = 0, 0, 0
    measuring = False
    total, weight, largest = 0.0, 0.0, 0.0
    crowd[0] = servers
    while now <= end:
        coming = next_arrivals(block, stream, cdf, rate, queues, slots, coming, not at_arrivals)
        if placement == _ROUND_ROBIN:
            _take_turns(started, servers, choices)
        elif placement != _LEAST_LOADED:
            _hash(placement, hashing, seed, started, home, choices)
        for i in range(BLOCK):
            now = block.time[i]
            slot = block.leaving[i]
            while slot != NONE:
                leaver = slots[slot]
                if not at_arrivals:
                    if leaver.time > end:
                        break
                    if measuring:
                        total += (leaver.time - last) * highest * servers / active
                        weight += leaver.time - last
                        last = leaver.time
                server = leaver.server
                was = load[server]
                if placement == _LEAST_LOADED:
                    change(levels, loads, server, was, -1)
                load[server] = was - 1
                crowd[was] -= 1
                crowd[was - 1] += 1
                highest -= was == highest and crowd[was] == 0
                active -= 1
                slot = leaver.next
            if now > end:
                break
            mean = math.floor(active / servers) if floor else active / servers
            if mean > warm and not measuring:
                measuring, last = True, now
            if measuring:
                ratio = highest / mean
                step = 1.0 if at_arrivals else now - last
                total += step * ratio
                weight += step
                largest = max(largest, ratio)
                last = now
            if placement == _LEAST_LOADED:
                least = lowest(levels, loads[LOWEST])
                change(levels, loads, least, load[least], 1)
                server = np.uint32(least)
            else:
                server = choices[0, i]
                if placement == _POWER_OF_TWO and load[server] > load[choices[1, i]]:
                    server = choices[1, i]
            was = load[server]
            load[server] = was + 1
            crowd[was] -= 1
            crowd[was + 1] += 1
            highest = max(highest, was + 1)
            active += 1
            slots[block.slot[i]].server = server
            started += 1
    out[0], out[1], out[2] = started, total / weight if weight else np.nan, largest


@lean
def _take_turns(started: int, servers: int, choices: Uint32s) -> None:
    """Write the servers of a block of connections, of which `started` came before, by round robin."""
    turn = started % servers
    for i in range(BLOCK):
        choices[0, i] = turn
        turn = turn + 1 if turn + 1 < servers else 0


@lean
def _hash(placement: int, hashing: int, seed: int, started: int, home: Int64s, choices: Uint32s) -> None:
    """Write the servers that a block of connections hash to, one or two each."""
    buckets = len(home)
    tens, state, length = -1, np.uint64(0), 0
    for i in range(BLOCK):
        number = started + i
        number += number > 0  # number 1 is the first update's, whether there are updates or not
        if number // 10 != tens:
            tens = number // 10
            state, length = prefix(tens), prefix_length(tens)
        if placement == _HASH:
            choices[0, i] = home[bucket(hashing, seed, state, length, number, -1, buckets)]
        else:
            first = bucket(hashing, seed, state, length, number, 0, buckets)
            second = bucket(hashing, seed, state, length, number, 1, buckets - 1)
            choices[0, i], choices[1, i] = home[first], home[second + (second >= first)]
