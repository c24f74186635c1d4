"""The compiled data plane: packets through rings and cores, as Numba kernels over columns.

Two kernel families, cheapest first; `engine.compiled` picks the cheapest that is exact for a scenario.

- `fifo`: one packet at a time, no cost per batch, no stalls, so a departure is final at admission, whoever
  rewrites the indirection table: d = max(t, last d) + service, and a packet is dropped iff the departure
  `ring` places back is still ahead.
- `poll`: a core polls up to `burst` packets at once, works per_batch + the sum of their services, and they
  all depart together. A batch depends on what has arrived when the core polls, so each core is brought up
  to date only when something looks at it: a packet for it, a policy, or the control plane.

At equal time departures come first, then control, then arrivals; a packet holds its ring slot until it
departs, and a slot is free if its departure <= now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.policies import Unit, View
from lbsim.jit import inlined, kernel, lean
from lbsim.metrics.histogram import BINS, bin_of

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Records = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

CORE = np.dtype(
    [
        ("head", "i8"),  # packets that ever left the ring
        ("count", "i8"),  # packets in the ring (fifo: ever admitted)
        ("serving", "i8"),  # of these, in the batch in service
        ("active", "i8"),  # 1 while working or stalled
        ("start", "i8"),  # of the batch in service, ps
        ("cost", "i8"),  # work of the batch in service, ps
        ("end", "i8"),  # when it is done, stalls included, ps (fifo: the last departure)
        ("busy", "i8"),  # work of the finished batches, ps (fifo: work admitted)
        ("dropped", "i8"),  # packets refused
    ]
)
SLOT = np.dtype(
    [
        ("time", "i8"),  # arrival, ps (fifo: departure)
        ("service", "i8"),  # ps
        ("packet", "i8"),  # number of the packet, for the log
        ("bucket", "i8"),  # entry of the indirection table that led here
    ]
)

# `counts` is one array: a tally of the measured cohort, then the latency histogram.
DROPPED, DROPPED_BYTES, LATENCY_SUM, LATENCY_LOW, LATENCY_HIGH, OFFERED, OFFERED_BYTES, LAST = range(8)
QUEUE_FULL, NOT_OWNER, REORDERED, SERVER_DOWN = 8, 9, 10, 11
NEVER = np.iinfo(np.int64).max

TALLY = 12

TO_CORE, DEPARTURE = 0, 1  # rows of the packet log


class Machine(NamedTuple):
    """Constants of the server under test."""

    ring: int  # packets a core's ring holds, those in service included
    burst: int  # packets a poll takes at most
    per_batch: int  # ps a poll costs apart from its packets
    warmup: int  # ps; only packets arriving from here on are measured
    delay: int  # ps added to each latency: the path outside the server
    interval: int = 0  # ps of arrivals that share a latency histogram; 0: only the whole run has one


class State(NamedTuple):
    """The cores and what waits for them."""

    cores: Records  # CORE[n]
    rings: Records  # SLOT[n, capacity], the capacity a power of two
    polled: Int64s  # packets taken from the rings, by bucket of the indirection table


class Books(NamedTuple):
    """What is written down."""

    counts: Int64s  # tally, histogram
    rows: Int64s  # [intervals, BINS]: latencies by interval of arrival; [0, BINS] where not kept
    log: Int64s  # [2, packets]: core and departure of each packet; [2, 0] where none is kept


def idle(cores: int, ring: int, buckets: int) -> State:
    """Return idle cores with empty rings."""
    capacity = 1 << (ring - 1).bit_length()
    return State(np.zeros(cores, CORE), np.zeros((cores, capacity), SLOT), np.zeros(buckets, np.int64))


def empty_books(intervals: int = 0) -> Books:
    """Return books with nothing in them and no log."""
    books = Books(
        np.zeros(TALLY + BINS, np.int64), np.zeros((intervals, BINS), np.int64), np.empty((2, 0), np.int64)
    )
    clear(books.counts)
    return books


def clear(counts: Int64s) -> None:
    """Empty the tally; the smallest latency starts at the largest int64."""
    counts[:TALLY] = 0
    counts[LATENCY_LOW] = NEVER


@inlined
def record(counts: Int64s, rows: Int64s, m: Machine, arrival: int, latency: int) -> None:
    """Add a latency of the cohort to the histograms."""
    counts[TALLY + bin_of(latency)] += 1
    if m.interval:
        rows[min(arrival // m.interval, rows.shape[0] - 1), bin_of(latency)] += 1


@inlined
def note(counts: Int64s, total: int, low: int, high: int, last: int) -> None:
    """Add some latencies, already in the histogram, to the tally; `last` is their last departure."""
    counts[LATENCY_SUM] += total
    counts[LATENCY_LOW] = min(counts[LATENCY_LOW], low)
    counts[LATENCY_HIGH] = max(counts[LATENCY_HIGH], high)
    counts[LAST] = max(counts[LAST], last)


@kernel
def offer(counts: Int64s, m: Machine, time: Int64s, frame: Int32s) -> None:
    """Count the packets of a chunk that belong to the measured cohort."""
    first = np.searchsorted(time, m.warmup, side="left")
    counts[OFFERED] += len(time) - first
    counts[OFFERED_BYTES] += frame[first:].sum()


@inlined
def drop(cores: Records, counts: Int64s, m: Machine, c: int, t: int, frame: int) -> None:
    """Refuse a packet: core c's ring is full."""
    cores[c].dropped += 1
    if t >= m.warmup:
        counts[DROPPED] += 1
        counts[DROPPED_BYTES] += frame


# --- poll: batches -------------------------------------------------------------------------------------


@inlined
def begin(cores: Records, rings: Records, polled: Int64s, m: Machine, c: int, now: int) -> None:
    """Core c polls its ring, which is not empty, and starts on the batch."""
    mask = rings.shape[1] - 1
    core = cores[c]
    n = min(m.burst, core.count)
    cost = m.per_batch
    for k in range(core.head, core.head + n):
        slot = rings[c, k & mask]
        cost += slot.service
        polled[slot.bucket] += 1
    core.serving, core.start, core.cost, core.end, core.active = n, now, cost, now + cost, 1


@inlined
def settle(
    cores: Records, rings: Records, polled: Int64s, counts: Int64s, rows: Int64s, log: Int64s, m: Machine,
    c: int, now: int,
) -> None:  # fmt: skip
    """Let core c finish every batch that ends at or before now, polling again after each."""
    mask = rings.shape[1] - 1
    core = cores[c]
    while core.active and core.end <= now:
        end, total, low, high = core.end, 0, NEVER, 0
        for k in range(core.head, core.head + core.serving):
            slot = rings[c, k & mask]
            if slot.time >= m.warmup:
                latency = end - slot.time + m.delay
                record(counts, rows, m, slot.time, latency)
                total, low, high = total + latency, min(low, latency), max(high, latency)
            if log.shape[1]:
                log[DEPARTURE, slot.packet] = end
        if core.serving:
            note(counts, total, low, high, end)
        core.head += core.serving
        core.count -= core.serving
        core.busy += core.cost
        core.serving, core.cost, core.active = 0, 0, 0
        if core.count:
            begin(cores, rings, polled, m, c, end)


@inlined
def admit(
    cores: Records, rings: Records, polled: Int64s, counts: Int64s, rows: Int64s, log: Int64s, m: Machine,
    c: int, t: int, service: int, bucket: int, frame: int, i: int,
) -> None:  # fmt: skip
    """Put packet i, arriving at t, into core c's ring, or drop it; an idle core starts at once."""
    settle(cores, rings, polled, counts, rows, log, m, c, t)
    core = cores[c]
    if log.shape[1]:
        log[TO_CORE, i] = c
    if core.count == m.ring:
        drop(cores, counts, m, c, t, frame)
    else:
        slot = rings[c, (core.head + core.count) & (rings.shape[1] - 1)]
        slot.time, slot.service, slot.bucket, slot.packet = t, service, bucket, i
        core.count += 1
        if not core.active:
            begin(cores, rings, polled, m, c, t)


@lean
def poll(
    cores: Records, rings: Records, polled: Int64s, counts: Int64s, rows: Int64s, log: Int64s, m: Machine,
    table: Int64s, time: Int64s, bucket: Int32s, service: Int64s, frame: Int32s, base: int,
) -> None:  # fmt: skip
    """Run packets base, base + 1 ... through the indirection table into the cores."""
    for i in range(len(time)):
        c = table[bucket[i]]
        admit(
            cores, rings, polled, counts, rows, log, m, c, time[i], service[i], bucket[i], frame[i], base + i
        )


@lean
def choose_and_poll(
    cores: Records, rings: Records, polled: Int64s, counts: Int64s, rows: Int64s, log: Int64s, m: Machine,
    policy: Callable[[View, Unit], int], view: View, hashes: Any,
    time: Int64s, flow: Int32s, service: Int64s, frame: Int32s, base: int,
) -> int:  # fmt: skip
    """Let a policy choose each packet's core on live queues; return -1, or the packet it placed nowhere."""
    n, queue = len(cores), view.queue
    for i in range(len(time)):
        t, total = time[i], 0
        for c in range(n):
            settle(cores, rings, polled, counts, rows, log, m, c, t)
            queue[c] = cores[c].count
            total += queue[c]
        f = np.int64(flow[i])
        unit = Unit(base + i, f, np.int64(hashes[f]), np.int64(frame[i]))  # type: ignore[arg-type]
        now = View(
            n, t, queue, view.state, view.seed, total,
            view.weight, view.table, view.order, view.active, view.choices,
            view.latency, view.inside, view.age,
        )  # fmt: skip
        c = policy(now, unit)
        if c < 0 or c >= n:
            return base + i
        admit(cores, rings, polled, counts, rows, log, m, c, t, service[i], 0, frame[i], base + i)
    return -1


@lean
def catch_up(
    cores: Records, rings: Records, polled: Int64s, counts: Int64s, rows: Int64s, log: Int64s, m: Machine,
    now: int,
) -> None:  # fmt: skip
    """Bring every core up to date."""
    for c in range(len(cores)):
        settle(cores, rings, polled, counts, rows, log, m, c, now)


@lean
def hold(cores: Records, c: int, now: int, length: int) -> None:
    """Stall core c, which is up to date: what it is doing, or its next poll, is delayed by `length`."""
    core = cores[c]
    if core.active:
        core.end += length
    else:
        core.active, core.start, core.end = 1, now, now + length


# --- fifo: one packet at a time ------------------------------------------------------------------------


@lean
def fifo(
    cores: Records, rings: Records, polled: Int64s, counts: Int64s, rows: Int64s, log: Int64s, m: Machine,
    table: Int64s, time: Int64s, bucket: Int32s, service: Int64s, frame: Int32s, base: int,
) -> None:  # fmt: skip
    """Run packets through the indirection table and the ring recursion."""
    mask = rings.shape[1] - 1
    total, low, high, last = 0, NEVER, 0, 0
    for i in range(len(time)):
        c, t = table[bucket[i]], time[i]
        core = cores[c]
        k = core.count
        if k >= m.ring and rings[c, (k - m.ring) & mask].time > t:
            drop(cores, counts, m, c, t, frame[i])
            departure = np.int64(-1)
        else:
            departure = max(t, core.end) + service[i]
            slot = rings[c, k & mask]
            slot.time, slot.service, slot.bucket = departure, service[i], bucket[i]
            polled[bucket[i]] += 1
            core.end = departure
            core.busy += service[i]
            core.count = k + 1
            last = max(last, departure)
            if t >= m.warmup:
                latency = departure - t + m.delay
                record(counts, rows, m, t, latency)
                total, low, high = total + latency, min(low, latency), max(high, latency)
        if log.shape[1]:
            log[TO_CORE, base + i] = c
            log[DEPARTURE, base + i] = departure
    note(counts, total, low, high, last)


@lean
def look_back(
    cores: Records, rings: Records, ring: int, now: int, pending: Int64s, polled: Int64s
) -> None:  # fmt: skip
    """Count into `pending` each core's admitted packets that have not departed by now.

    Packets were counted as polled when they were admitted; those whose service has not begun are taken back.
    """
    mask = rings.shape[1] - 1
    for c in range(len(cores)):
        k = cores[c].count
        while pending[c] < min(ring, k) and rings[c, (k - 1 - pending[c]) & mask].time > now:
            slot = rings[c, (k - 1 - pending[c]) & mask]
            if slot.time - slot.service > now:
                polled[slot.bucket] -= 1
            pending[c] += 1
