"""What changes while requests come and go whose departure is final at admission: servers, visits, users."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from lbsim.engine.request.plane import INDEPENDENT, PACED, Int64s, Servers, Source
from lbsim.jit import kernel, step
from lbsim.metrics.histogram import BINS

Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

NEVER: Final = 2**62
"""Later than everything; the difference of two times fits."""

NONE: Final = -1

NOBODY: Final = 2**32 - 1

ROOM: Final = 1024
"""Requests in servers that there is room for at first."""

MATCH: Final = np.dtype([("time", "i8"), ("who", "i8")])
"""A node of a tournament by time: its winner."""

ROW: Final = np.dtype(
    [
        ("free", "i8"),  # ps at which all it was given is done
        ("next", "i8"),  # ps of its next departure; NEVER: nobody is there
        ("busy", "i8"),  # ps of all it was given
        ("placed", "i8"),
        ("speed", "f8"),
        ("head", "u4"),  # of its list of visits
        ("tail", "u4"),
        ("_", "i8", 2),
    ]
)
"""A server: a line of the cache."""

VISIT: Final = np.dtype([("end", "i8"), ("begin", "i8"), ("next", "u4"), ("_", "u4")])
"""A request in a server, and the one behind it, or NOBODY; of a spare record: the next spare one."""

PACE: Final = np.dtype([("first", "i8"), ("over", "i8"), ("time", "i8"), ("count", "i8")])
"""A paced user: ps at which the first request was due, how many are over; when it fell behind (NONE: it is
not), and how many were over then."""

ENTRY: Final = np.dtype([("user", "i8"), ("server", "i8"), ("due", "i8"), ("sent", "i8"), ("done", "i8")])
"""A row of the log."""

# `counts`:
AT, LAUNCHED, INSIDE, PEAK, SPARE, LATEST, LOW, HIGH = range(8)
SUMS = LATENCY, LATENCY_HIGH, STAY, STAY_HIGH, COHORT_LAUNCHED, COHORT_COMPLETED = range(8, 14)
COUNTS: Final = 14
"""Row of the columns; requests so far; of these in servers, or not seen to depart; most at once; first spare
visit; last departure; least and greatest latency of the cohort. Of one call of `run` alone, `SUMS`: sum
of these latencies, sum of the times in servers, requests of the cohort that were launched, completed."""

PART: Final = 24
"""The sums of times are in two parts, of their low bits and of the rest, so that they never overflow."""


class State(NamedTuple):
    """Everything that changes."""

    users: Rows  # MATCH[2 x a power of two]: a tournament of the users by their next launch
    paces: Rows  # PACE[users], [0] unless PACED
    rows: Rows  # ROW[servers]
    inside: Int64s  # [servers] requests in each
    latency: Int64s  # [servers] ps, smoothed
    leaving: Rows  # MATCH[2 x a power of two]: a tournament of the servers by their next departure
    visits: Rows  # VISIT[capacity]
    counts: Int64s  # see above
    bins: Int64s  # histogram of the latencies


class Habits(NamedTuple):
    """Constants of a run."""

    kind: int  # of clients
    period: int
    catch: int
    overhead: int
    warmup: int
    end: int
    cohort_done: bool
    response: int
    live: bool  # the policy sees what is in the servers


# --- a tournament by time -----------------------------------------------------------------------------------


def new_tournament(times: Int64s) -> Rows:
    """Return the tournament of contestants at their times, of equals the first wins; node 1 has the winner.

    Node k meets nodes 2k and 2k + 1, and the leaves are the contestants, made up to a power of two.
    """
    size = 1 << max(0, len(times) - 1).bit_length()
    tree: Rows = np.empty(2 * size, MATCH).view(np.recarray)
    tree.time = NEVER
    tree.time[size : size + len(times)] = times
    tree.who[size:] = np.arange(size)
    play_all(tree)
    return tree


@kernel
def play_all(tree: Rows) -> None:
    """Play every match."""
    for node in range(len(tree) // 2 - 1, 0, -1):
        winner = tree[2 * node + 1] if tree[2 * node + 1].time < tree[2 * node].time else tree[2 * node]
        tree[node].time, tree[node].who = winner.time, winner.who


@step
def play(tree: Rows, who: int, time: int) -> None:
    """Give a contestant another time, and play its matches again.

    Which nodes those are is known beforehand, and no branch depends on the times: the processor reads ahead.
    A heap takes three times as long.
    """
    node = len(tree) // 2 + who
    leaf = tree[node]
    leaf.time = time
    while node > 1:
        rival = tree[node ^ 1]
        wins = (rival.time - time - (node & 1)) >> 63  # all bits are ones where the rival wins
        time ^= (time ^ rival.time) & wins
        who ^= (who ^ rival.who) & wins
        node >>= 1
        match = tree[node]
        match.time, match.who = time, who


# --- the beginning, and growth ------------------------------------------------------------------------------


def new_state(source: Source, servers: Servers) -> State:
    """Return everything as it is before the first request."""
    n, closed = servers.number, source.kind != INDEPENDENT
    first = np.where(source.first < source.end, source.first, NEVER) if closed else np.full(1, NEVER)
    paces = np.zeros(source.users if source.kind == PACED else 0, PACE).view(np.recarray)
    paces.first, paces.time = source.first[: len(paces)], NONE
    rows: Rows = np.zeros(n, ROW).view(np.recarray)
    rows.next, rows.speed = NEVER, servers.speeds
    counts = np.zeros(COUNTS, np.int64)
    counts[LOW], counts[SPARE] = NEVER, NOBODY
    state = State(
        new_tournament(first), paces, rows, np.zeros(n, np.int64), np.zeros(n, np.int64),
        new_tournament(rows.next), np.empty(0, VISIT).view(np.recarray),
        counts, np.zeros(BINS, np.int64),
    )  # fmt: skip
    return _with_room(state, ROOM)


def grown(state: State) -> State:
    """Return the same with twice the room for visits."""
    return _with_room(state, 2 * len(state.visits))


def _with_room(state: State, room: int) -> State:
    """Return the same with room for so many visits, more than it had, none of which was spare."""
    old = len(state.visits)
    visits = np.empty(room, VISIT).view(np.recarray)
    visits[:old] = state.visits
    visits.next[old:] = np.arange(old + 1, room + 1)
    visits.next[-1] = state.counts[SPARE]
    state.counts[SPARE] = old
    return state._replace(visits=visits)
