"""What changes while requests come and go: attempts, users, servers, cores, workers, counters, the log.

An attempt is a record, taken from a free list when it is sent and given back when nothing will look at it
again. What waits in a queue is linked through its records: a queue is a head and a tail.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from lbsim.engine.request.heap import LINED, SIZE, Heap, Int64s, Line, Rows, grown, lengthened
from lbsim.engine.request.plane import Log, Source
from lbsim.engine.request.service import SERVICE
from lbsim.jit import step

int64: Any = np.int64  # makes a field of 32 bits an int, which it is for mypy

NONE: Final = -1  # no record, no server, no worker

ATTEMPT: Final = np.dtype(
    [
        *SERVICE,
        ("index", "i8"),  # of its request; NONE: the record is free
        ("due", "i8"),  # ps
        ("sent", "i8"),  # ps, of its request's first attempt
        ("picked", "i8"),  # ps
        ("work", "i8"),  # ps
        ("pause", "i8"),  # ps that its user thinks afterwards
        ("user", "i8"),
        ("hash", "u4"),
        ("server", "i4"),
        ("number", "i4"),  # 1: the first attempt; of one to come, its own
        ("next", "i4"),  # in the queue where it waits; of a free record: the next free one
        ("current", "i4"),  # 1 while its client waits for it
        ("found", "i4"),  # attempts in its server when it entered
    ]
)
"""An attempt: two lines of the cache."""

USER: Final = np.dtype(
    [
        ("home", "i8"),  # server of its connection; NONE: it has none
        ("hash", "i8"),  # of its connection
        ("over", "i8"),  # PACED: requests that are over
        ("behind", "i8"),  # PACED: 1 while it catches up
        ("anchor", "i8"),  # PACED: ps since when it is behind
        ("before", "i8"),  # PACED: requests that were over then
    ]
)
SERVER: Final = np.dtype(
    [
        ("placed", "i8"),
        ("answered", "i8"),
        ("busy", "i8"),  # ps, turns under way left out
        ("thawed", "i8"),  # ps from which on it runs
        ("speed", "f8"),
        ("idle", "i8"),  # cores without a turn
        ("head", "i4"),  # of what waits for any core: attempts, or workers
        ("tail", "i4"),
        ("_", "i8"),
    ]
)
CORE: Final = np.dtype(
    [
        ("running", "i8"),  # the attempt whose turn it is; NONE: idle
        ("since", "i8"),  # ps from which on the turn counts as busy and has not been counted yet
        ("start", "i8"),  # ps from which on the attempt runs and its progress has not been noted yet
        ("limit", "i8"),  # ps at which it has to stop
        ("plan", "i8"),  # number of the plan for its turn: the end that another one foresaw is stale
        ("slice", "i8"),  # SHARING with workers: ps at which the worker's slice ends
        ("last", "i8"),  # SHARING: who ran last, a worker or the coin index of an attempt; NONE: nobody
        ("worker", "i4"),  # SHARING with workers: who has the core
        ("held", "i4"),  # JBSQ: attempts that it holds, the running one included
        ("head", "i4"),  # STEALING, JBSQ: of the attempts that wait for this core
        ("tail", "i4"),
        ("_", "i8"),
    ]
)
WORKER: Final = np.dtype(
    [
        ("head", "i4"),  # of the attempts that it has accepted; PRIORITY: of a server's urgent ones
        ("tail", "i4"),
        ("next", "i4"),  # in the run queue
        ("awake", "i4"),  # 1: in the run queue, or running
    ]
)
ROW: Final = np.dtype([(name, "i8") for name in Log._fields])
"""A row of the log."""

# `counts`, an int64 array; the first ones in the order of `plane.Counters` and `plane.Cohort`:
LAUNCHED, COMPLETED, GIVEN_UP, REFUSED, TIMED_OUT, RETRIED = range(6)
COHORT: Final = 6  # from here on the same six, of the cohort
INSIDE, PEAK, SINCE, LAST, LOW, HIGH, LOGGED, NEXT, NOW, AT_ONCE, EVENTS, SPARE, USED, ASKED, TOLD = range(
    12, 27
)
"""Attempts in servers; the most ever; ps up to which `AREA` is; ps of the last event; least and greatest
latency; rows of the log; the next row of the columns; ps of now; events at that instant; all events; first
free record; records ever used; the request that a policy placed nowhere; where that was."""
AREA, SOJOURN, LATENCY = 27, 29, 31  # sums too great for an int64, as two of them: see `add_wide`
COUNTS: Final = 33

WIDE: Final = 20
"""Bits of the lower of the two numbers of a wide sum."""

MOST: Final = 4
"""Entries of the heap that an event makes at most; of records, timeouts and rows of the log it makes one."""


class State(NamedTuple):
    """Everything that changes."""

    heap: Heap
    line: Line  # the timeouts
    attempts: Rows  # ATTEMPT[capacity]
    users: Rows  # USER[users]
    servers: Rows  # SERVER[servers]
    cores: Rows  # CORE[servers * cores]
    workers: Rows  # WORKER[servers * workers]
    inside: Int64s  # [servers] attempts in each
    latency: Int64s  # [servers] ps, smoothed
    ready: Int64s  # [lanes] ps at which each core of the balancer is free
    counts: Int64s  # see above
    bins: Int64s  # histogram of latencies
    log: Rows  # ROW[capacity]; ROW[0] where none is kept


class Habits(NamedTuple):
    """Constants of the clients and of the balancer; see `plane.Source`."""

    kind: int
    first: Int64s
    period: int
    catch: int
    session: float
    overhead: int
    delay: int
    lanes: int
    cost: int
    timeout: int
    attempts: int
    backoff: int
    factor: float
    most: int
    jitter: float
    seed: int
    end: int
    warmup: int
    cohort_done: bool
    live: bool  # the policy sees what is in the servers
    asked: bool  # the policy wants to know about answers
    at_once: int  # events of one instant that are too many


def habits_of(source: Source, live: bool, asked: bool, at_once: int) -> Habits:
    """Return the constants of a run."""
    retry = source.retry
    return Habits(
        source.kind, source.first, source.period, source.catch, float(source.session),
        source.overhead, source.delay, source.lanes, source.cost,
        retry.timeout, retry.attempts, retry.backoff, float(retry.factor), retry.most, float(retry.jitter),
        source.seed, source.end, source.warmup, source.cohort_done, live, asked, at_once,
    )  # fmt: skip


# --- room ---------------------------------------------------------------------------------------------------


@step
def is_full(s: State) -> bool:
    """Return whether there is no room for what another event may make."""
    counts, line, log = s.counts, s.line, s.log
    full = s.heap.mark[SIZE] + MOST > len(s.heap.entries) or line.mark[LINED] == len(line.entries)
    full = full or (counts[SPARE] < 0 and counts[USED] == len(s.attempts))
    return full or (len(log) > 0 and counts[LOGGED] == len(log))


def roomy(s: State, entries: int = MOST) -> State:
    """Return a state with room for an event, and for so many entries of the heap."""
    counts, heap, log = s.counts, s.heap, s.log
    if heap.mark[SIZE] + entries > len(heap.entries):
        s = s._replace(heap=grown(heap, 2 * (len(heap.entries) + entries)))
    if s.line.mark[LINED] == len(s.line.entries):
        s = s._replace(line=lengthened(s.line))
    if counts[SPARE] < 0 and counts[USED] == len(s.attempts):
        s = s._replace(attempts=_doubled(s.attempts))
    if len(log) > 0 and counts[LOGGED] == len(log):
        s = s._replace(log=_doubled(log))
    return s


def _doubled(rows: Rows) -> Rows:
    larger = np.empty(2 * len(rows), rows.dtype).view(np.recarray)
    larger[: len(rows)] = rows
    return larger


# --- records and queues -------------------------------------------------------------------------------------


@step
def take(s: State) -> int:
    """Return a record to write, the one given back last; there must be one."""
    counts = s.counts
    slot = counts[SPARE]
    if slot >= 0:
        counts[SPARE] = s.attempts[slot].next
    else:
        slot = counts[USED]
        counts[USED] += 1
    return slot  # type: ignore[no-any-return]


@step
def give(s: State, slot: int) -> None:
    """Give back a record."""
    a = s.attempts[slot]
    a.index = NONE
    a.current = 0
    a.next = s.counts[SPARE]
    s.counts[SPARE] = slot


@step
def enqueue(nodes: Rows, queue: Rows, node: int) -> None:
    """Put a node at the tail of a queue."""
    nodes[node].next = NONE
    if queue.tail >= 0:
        nodes[queue.tail].next = node
    else:
        queue.head = node
    queue.tail = node


@step
def dequeue(nodes: Rows, queue: Rows) -> int:
    """Take the node at the head of a queue out and return it, or NONE."""
    node = int64(queue.head)
    if node >= 0:
        queue.head = nodes[node].next
        if queue.head < 0:
            queue.tail = NONE
    return node  # type: ignore[no-any-return]


@step
def add_wide(counts: Int64s, at: int, value: int, times: int) -> None:
    """Add value x times to the sum in counts[at] and counts[at + 1]; neither is negative."""
    low = counts[at] + (value & ((1 << WIDE) - 1)) * times
    counts[at] = low & ((1 << WIDE) - 1)
    counts[at + 1] += (value >> WIDE) * times + (low >> WIDE)


def wide(counts: Int64s, at: int) -> int:
    """Return a sum that `add_wide` made."""
    return (int(counts[at + 1]) << WIDE) + int(counts[at])
