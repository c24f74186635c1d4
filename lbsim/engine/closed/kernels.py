"""The closed loop as a kernel: a heap of units by their entry into the queue of the link.

A core's departures are final at admission, as in the ring recursion of `lbsim.engine.kernels`, so a unit's
next entry is known as soon as its packet reaches the NIC. The link serves in order of (entry, unit), and an
entry is always later than the one it follows: the least entry of the heap is the next packet on the link.
"""

from __future__ import annotations

import numpy as np

from lbsim.engine.kernels import NEVER, OFFERED, OFFERED_BYTES, Int64s, Machine, Records, drop, note, record
from lbsim.jit import lean, step

TICKET = np.dtype([("entry", "i8"), ("unit", "i8")])  # ps, and whose

UNITS, FREE = range(2)  # `mark`: units in the heap; ps at which the link is free again


def queue_of(first: Int64s, end: int) -> Records:
    """Return the heap of all units whose first entry (ps) is before the end; in order, which is a heap."""
    units = np.argsort(first, kind="stable")[: np.count_nonzero(first < end)]
    heap = np.empty(len(units), TICKET)
    heap["unit"] = units
    heap["entry"] = first[heap["unit"]]
    return heap


@step
def sink(heap: Records, n: int, entry: int, unit: int) -> None:
    """Put a unit in place of the least of the first n of the heap."""
    k, child = 0, 1
    while child < n:
        right = child + 1
        if right < n and (
            heap[right].entry < heap[child].entry
            or (heap[right].entry == heap[child].entry and heap[right].unit < heap[child].unit)
        ):
            child = right
        least = heap[child]
        if entry < least.entry or (entry == least.entry and unit < least.unit):
            break
        heap[k].entry, heap[k].unit = least.entry, least.unit
        k, child = child, 2 * child + 1
    heap[k].entry, heap[k].unit = entry, unit


@lean
def circulate(
    cores: Records, rings: Records, polled: Int64s, counts: Int64s, rows: Int64s, m: Machine, table: Int64s,
    heap: Records, mark: Int64s, buckets: Int64s, frame: int, wire: int, delay: int, end: int,
    service: Int64s, now: int,
) -> int:  # fmt: skip
    """Run packets that reach the NIC before now, one a service time, and return how many.

    Fewer than there are service times: no other packet reaches the NIC before now.
    """
    mask = rings.shape[1] - 1
    n, free = mark[UNITS], mark[FREE]
    total, low, high, last = 0, NEVER, 0, 0
    done = 0
    while done < len(service) and n > 0:
        entry, unit = heap[0].entry, heap[0].unit
        t = max(entry, free) + wire
        if t >= now:
            break
        free = t
        bucket = buckets[unit]
        c = table[bucket]
        core = cores[c]
        k = core.count
        if entry >= m.warmup:
            counts[OFFERED] += 1
            counts[OFFERED_BYTES] += frame
        if k >= m.ring and rings[c, (k - m.ring) & mask].time > t:
            drop(cores, counts, m, c, entry, frame)
            back = t + delay
        else:
            departure = max(t, core.end) + service[done]
            slot = rings[c, k & mask]
            slot.time, slot.service, slot.bucket = departure, service[done], bucket
            polled[bucket] += 1
            core.end = departure
            core.busy += service[done]
            core.count = k + 1
            last = max(last, departure)
            if entry >= m.warmup:
                latency = departure - entry + m.delay
                record(counts, rows, m, entry, latency)
                total, low, high = total + latency, min(low, latency), max(high, latency)
            back = departure + delay
        if back < end:
            sink(heap, n, back, unit)
        else:
            n -= 1
            sink(heap, n, heap[n].entry, heap[n].unit)
        done += 1
    mark[UNITS], mark[FREE] = n, free
    note(counts, total, low, high, last)
    return done
