"""Cheetah, Section 2, "moving buckets" and "broken connections": Beamer that rebalances by moving buckets.

Connections hash to buckets, a bucket belongs to a server. When a server carries more than the threshold
times the mean, it is balancing: each of its own buckets goes to the server that owns the fewest, and comes
back once the load has fallen below the mean. A bucket remembers its previous server and the connections
there stay (Beamer's daisy chaining, of one hop): they break when the bucket moves a second time.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
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
from lbsim.engine.section2.levels import HIGHEST, Int64s, Levels, change, highest, join, levels, withdraw
from lbsim.jit import lean
from lbsim.workload.cpython import Stream, stream

MOST: Final = 2_000_000_000  # connections; their numbers are 32-bit
SLOT: Final = np.dtype([("time", "f8"), ("number", "i4"), ("group", "i4")])
GROUP: Final = np.dtype(
    [
        ("server", "i4"),  # -1 where there never was one
        ("count", "i4"),  # connections
        ("whole", "i4"),  # of these, never broken
        ("broken", "i4"),  # connections up to this number are broken
    ]
)
"""Connections of one bucket on one server. A bucket has two groups, the current and the previous one; a move
makes either the other, so that a connection stays in its group for life."""
SERVER: Final = np.dtype([("load", "i8"), ("buckets", "i8"), ("balancing", "i8")])
TALLY: Final = np.dtype(
    [
        ("started", "i8"),
        ("broken", "i8"),
        ("moved", "i8"),  # buckets, away from overloaded servers
        ("returned", "i8"),  # buckets, back to them
        ("calm", "i8"),  # servers that are not balancing
        ("calm_load", "i8"),  # their connections
    ]
)


class Beamer(NamedTuple):
    """What is simulated; the defaults are as published."""

    threshold: float  # a server is overloaded above this times the mean, e.g. 1.1
    connections: int = 70_000  # active at a time, on average
    servers: int = 468
    buckets: int = 46_800
    end: float = 900.0  # s
    hashing: Hashing = "python2"
    floor: bool = True  # the mean load is rounded down, as Python 2 divides integers; else real-valued
    any_overloaded: bool = False  # any server may start balancing; else only if it is the most loaded of all


def intended(threshold: float, end: float) -> Beamer:
    """Return the simulation as its text intends it."""
    return Beamer(threshold, end=end, hashing="uniform", floor=False, any_overloaded=True)


def dynamic_beamer(beamer: Beamer, seed: int = 1) -> pd.DataFrame:
    """Return a row a minute (the last may be shorter) with columns connections, broken, moved, returned.

    The first two count from the start, the others the buckets within the minute; the index is the minute.
    """
    refuse_below(1, threshold=beamer.threshold, connections=beamer.connections, servers=beamer.servers)
    refuse_below(1, buckets=beamer.buckets, end=beamer.end)
    law = durations()
    rate = beamer.connections / law.mean
    if rate * beamer.end > MOST:
        raise ValueError(f"end = {beamer.end} s is too long: give {MOST / rate:.0f} s or less")
    queues, tree, slots = departures(law, rate, SLOT)
    groups = np.zeros(2 * beamer.buckets, GROUP)
    owner = np.arange(beamer.buckets) * beamer.servers // beamer.buckets
    groups["server"][0::2], groups["server"][1::2] = owner, -1
    servers = np.zeros(beamer.servers, SERVER)
    servers["buckets"] = np.bincount(owner, minlength=beamer.servers)
    tally = np.zeros(1, TALLY)
    tally["calm"] = beamer.servers
    rows = np.zeros((math.ceil(beamer.end / 60), 4), np.int64)
    _run(
        HASHINGS.index(beamer.hashing), beamer.floor, beamer.any_overloaded, seed, rate, beamer.end,
        beamer.threshold, np.array(law.cdf), stream(seed), queues, tree, slots,
        groups, np.zeros(beamer.buckets, np.int8), servers, levels(beamer.servers, len(slots)),
        np.zeros(2, np.int64), tally, rows,
    )  # fmt: skip
    names = ["connections", "broken", "moved", "returned"]
    return pd.DataFrame(rows, pd.RangeIndex(1, len(rows) + 1, name="minute"), names)


@lean
def _run(
    hashing: int, floor: bool, any_overloaded: bool, seed: int, rate: float, end: float,
    threshold: float, cdf: NDArray[np.float64], stream: Stream,
    queues: Records, tree: Records, slots: Records, groups: Records, current: NDArray[np.int8],
    servers: Records, levels: Levels, loads: Int64s, tallies: Records, rows: Int64s,
) -> None:  # fmt: skip
    buckets = len(current)
    tally = tallies[0]
    arrival = 0.0
    number, tens, state, length = 0, -1, np.uint64(0), 0
    row, minute = 0, 60.0
    while True:
        now = min(arrival, tree[ROOT].time)
        while now > min(minute, end) and row < len(rows):
            _write(rows, row, tally)
            row += 1
            minute += 60.0
        if now > end:
            return
        if tree[ROOT].time > now:
            if number // 10 != tens:
                tens = number // 10
                state, length = prefix(tens), prefix_length(tens)
            b = bucket(hashing, seed, state, length, number, -1, buckets)
            g = 2 * b + current[b]
            group = groups[g]
            group.count += 1
            group.whole += 1
            slot = slots[enter(queues, tree, slots, draw(stream, cdf), now)]
            slot.number, slot.group = number, g
            arrival = now + exponential(stream, rate)
            _shift(servers, levels, loads, tally, any_overloaded, group.server, 1)
            tally.started += 1
            mean = _mean(tally, floor)
            if mean > 0 and loads[HIGHEST] > mean * threshold:
                x = highest(levels, loads[HIGHEST])
                if not servers[x].balancing:
                    _disperse(groups, current, servers, levels, loads, tally, any_overloaded, x, number)
            number += 2 if number == 0 else 1
        else:
            slot = slots[leave(queues, tree, slots)]
            group = groups[slot.group]
            s = group.server
            group.count -= 1
            group.whole -= slot.number > group.broken
            _shift(servers, levels, loads, tally, any_overloaded, s, -1)
            if servers[s].balancing and servers[s].load < _mean(tally, floor):
                _gather(groups, current, servers, levels, loads, tally, any_overloaded, s, number - 1)


@lean
def _write(rows: Int64s, row: int, tally: Any) -> None:
    rows[row, 0], rows[row, 1] = tally.started, tally.broken
    rows[row, 2], rows[row, 3] = tally.moved, tally.returned
    tally.moved, tally.returned = 0, 0


@lean
def _mean(tally: Any, floor: bool) -> float:
    """Return the mean load of the servers that are not balancing; with a threshold >= 1 there is one.

    The quotient of two whole numbers this small never rounds up to the next whole number.
    """
    mean: float = tally.calm_load / tally.calm
    return math.floor(mean) if floor else mean


@lean
def _shift(
    servers: Records, levels: Levels, loads: Int64s, tally: Any, any_overloaded: bool, s: int, by: int
) -> None:
    """The load of server s changes."""
    server = servers[s]
    load = server.load
    server.load = load + by
    if not server.balancing:
        tally.calm_load += by
    elif any_overloaded:
        return  # balancing servers are not in the levels
    change(levels, loads, s, load, by)


@lean
def _move(
    groups: Records, current: NDArray[np.int8], servers: Records, levels: Levels, loads: Int64s, tally: Any,
    any_overloaded: bool, b: int, new: int, newest: int,
) -> None:  # fmt: skip
    """Bucket b moves to server `new`, with the connections that were left on its previous server."""
    left = groups[2 * b + current[b]]
    carried = groups[2 * b + 1 - current[b]]
    if carried.server != new:
        if carried.count:
            _shift(servers, levels, loads, tally, any_overloaded, carried.server, -carried.count)
            _shift(servers, levels, loads, tally, any_overloaded, new, carried.count)
            tally.broken += carried.whole
            carried.whole, carried.broken = 0, newest
        carried.server = new
    current[b] = 1 - current[b]
    servers[left.server].buckets -= 1
    servers[new].buckets += 1


@lean
def _disperse(
    groups: Records, current: NDArray[np.int8], servers: Records, levels: Levels, loads: Int64s, tally: Any,
    any_overloaded: bool, x: int, newest: int,
) -> None:  # fmt: skip
    """Server x starts balancing: each of its own buckets goes to the calm server that owns the fewest.

    Only the receivers' counts rise meanwhile, so the calm servers are passed in order, level by level.
    """
    server = servers[x]
    server.balancing = 1
    tally.calm -= 1
    tally.calm_load -= server.load
    if any_overloaded:
        withdraw(levels, loads, x, server.load)
    fewest = len(current)
    for s in range(len(servers)):
        if not servers[s].balancing:
            fewest = min(fewest, servers[s].buckets)
    s = 0
    for b in range(_first(x, len(servers), len(current)), _first(x + 1, len(servers), len(current))):
        while servers[s].balancing or servers[s].buckets != fewest:
            s += 1
            if s == len(servers):
                s, fewest = 0, fewest + 1
        _move(groups, current, servers, levels, loads, tally, any_overloaded, b, s, newest)
        tally.moved += 1


@lean
def _gather(
    groups: Records, current: NDArray[np.int8], servers: Records, levels: Levels, loads: Int64s, tally: Any,
    any_overloaded: bool, x: int, newest: int,
) -> None:  # fmt: skip
    """Server x is no longer balancing: its own buckets come back."""
    for b in range(_first(x, len(servers), len(current)), _first(x + 1, len(servers), len(current))):
        _move(groups, current, servers, levels, loads, tally, any_overloaded, b, x, newest)
        tally.returned += 1
    server = servers[x]
    server.balancing = 0
    tally.calm += 1
    tally.calm_load += server.load
    if any_overloaded:
        join(levels, loads, x, server.load)


@lean
def _first(server: int, servers: int, buckets: int) -> int:
    """Return the first bucket that is a server's own: bucket b is server floor(b * servers / buckets)'s."""
    return -(-server * buckets // servers)
