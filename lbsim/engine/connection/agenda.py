"""The agenda: what is pending for each connection, as a calendar queue (Brown, CACM 1988) of records.

Time is cut into buckets of 2**shift ps; bucket b is list b modulo the number of lists, linked through the
records themselves, so scheduling touches the new record and one list head. The bucket of now is a small
binary heap ordered by (time, key); when it is empty the next bucket's list is poured into it, and what is
pending for a later revolution stays where it is. A connection has one pending event, and that never moves
but at a change of the pool, when all records are looked at anyway: then the calendar is made anew. So
nothing is ever cancelled, and memory follows the connections under way, not the time simulated.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim import units
from lbsim.jit import inlined, kernel, lean

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot
int64: Any = np.int64  # makes a field of 32 bits an int, which it is for mypy

CONNECTION: Final = np.dtype(
    [
        ("time", "i8"),  # of the pending event, ps
        ("key", "i8"),  # kind of the pending event and the connection's index, see `key_of`; FREE: no record
        ("begin", "i8"),  # ps
        ("end", "i8"),  # ps; while it waits to begin again: how long it will last
        ("gap", "i8"),  # ps between packets that cross the balancer
        ("hash", "u4"),
        ("server", "i4"),
        ("handle", "i4"),  # of the consistency scheme
        ("next", "i4"),  # record in the same list; of free records: in the list of those
        ("url", "i4"),
        ("process", "i4"),  # whose URL it is; -1: nobody's
    ]
)
"""One connection, under way or waiting to begin again: one line of the cache."""

ENTRY: Final = np.dtype([("time", "i8"), ("key", "i8"), ("slot", "i8")])
"""One entry of the heap."""

FREE: Final = -1
NONE: Final = -1  # no record
KIND_SHIFT: Final = 60
INDEX: Final = (1 << KIND_SHIFT) - 1  # the bits of a key that are the index

# `mark`, an int64 array:
NOW, SHIFT, HEAPED, LISTED, USED, SPARE, SEEN, AHEAD = range(8)
"""Bucket of now; log2 of its width; entries in the heap; in lists; records ever used; first free record; for
`ahead`: the bucket it is at, and the record it is to look at."""

PER_BUCKET: Final = 8
"""Events a bucket is meant to have: a list is walked once for them, and few heads are read in vain."""

MOST_BUCKETS: Final = 1 << 22


class Agenda(NamedTuple):
    """The records and the calendar."""

    records: Rows  # CONNECTION[capacity]
    heads: Int32s  # [lists], a power of two: the first record of each list, or NONE
    heap: Rows  # ENTRY[capacity]
    mark: Int64s


@inlined
def key_of(kind: int, index: int) -> int:
    """Return what orders events of the same instant: kinds 0, 1, 2, then the index."""
    return (kind << KIND_SHIFT) | index


def new_agenda(capacity: int, rate: float) -> Agenda:
    """Return an empty agenda for `capacity` connections and about `rate` events per second.

    Four times the connections fit into a revolution, so few of them are passed over more than once.
    """
    capacity = max(capacity, 64)
    lists = min(MOST_BUCKETS, max(64, 1 << (4 * capacity // PER_BUCKET - 1).bit_length()))
    width = int(PER_BUCKET * units.SECOND / max(rate, 1e-9))
    mark = np.zeros(8, np.int64)
    mark[SHIFT] = min(max(width, 1).bit_length() - 1, 60)
    mark[SPARE] = mark[AHEAD] = NONE
    return Agenda(
        np.empty(capacity, CONNECTION).view(np.recarray),
        np.full(lists, NONE, np.int32),
        np.empty(capacity, ENTRY).view(np.recarray),
        mark,
    )


def grown(agenda: Agenda, rate: float) -> Agenda:
    """Return an agenda with the same events and twice the room."""
    old, mark = agenda.records, agenda.mark
    larger = new_agenda(2 * len(old), rate)
    larger.records[: len(old)] = old
    for k in (NOW, SHIFT, USED, SPARE):
        larger.mark[k] = mark[k]
    rebuild(larger)
    return larger


def reached(agenda: Agenda) -> int:
    """Return about what time it is, ps: when the bucket of now begins."""
    return int(agenda.mark[NOW]) << int(agenda.mark[SHIFT])


@lean
def is_full(agenda: Agenda) -> bool:
    """Return whether there is no room for another record."""
    mark = agenda.mark
    return mark[SPARE] < 0 and mark[USED] == len(agenda.records)  # type: ignore[no-any-return]


@lean
def take(agenda: Agenda) -> int:
    """Return a record to write, the one given back last; there must be one."""
    mark = agenda.mark
    slot = mark[SPARE]
    if slot >= 0:
        mark[SPARE] = agenda.records[slot].next
    else:
        slot = mark[USED]
        mark[USED] += 1
    return slot  # type: ignore[no-any-return]


@lean
def give(agenda: Agenda, slot: int) -> None:
    """Give back a record whose event has been taken."""
    record = agenda.records[slot]
    record.key = FREE
    record.next = agenda.mark[SPARE]
    agenda.mark[SPARE] = slot


@lean
def push(agenda: Agenda, slot: int) -> None:
    """Put a record's event into the heap."""
    heap, record = agenda.heap, agenda.records[slot]
    time, key = record.time, record.key
    k = agenda.mark[HEAPED]
    agenda.mark[HEAPED] = k + 1
    while k > 0:
        above = heap[(k - 1) >> 1]
        if above.time < time or (above.time == time and above.key < key):
            break
        entry = heap[k]
        entry.time, entry.key, entry.slot = above.time, above.key, above.slot
        k = (k - 1) >> 1
    entry = heap[k]
    entry.time, entry.key, entry.slot = time, key, slot


@lean
def pop(agenda: Agenda) -> None:
    """Take the first entry out of the heap, which is not empty."""
    heap = agenda.heap
    n = agenda.mark[HEAPED] - 1
    agenda.mark[HEAPED] = n
    last = heap[n]
    time, key, slot = last.time, last.key, last.slot
    k, child = 0, 1
    while child < n:
        below = heap[child]
        if child + 1 < n:
            other = heap[child + 1]
            if other.time < below.time or (other.time == below.time and other.key < below.key):
                child, below = child + 1, other
        if time < below.time or (time == below.time and key < below.key):
            break
        entry = heap[k]
        entry.time, entry.key, entry.slot = below.time, below.key, below.slot
        k, child = child, 2 * child + 1
    entry = heap[k]
    entry.time, entry.key, entry.slot = time, key, slot


@lean
def schedule(agenda: Agenda, slot: int) -> None:
    """Note a record's pending event, which is not before the bucket of now."""
    mark, record = agenda.mark, agenda.records[slot]
    bucket = record.time >> mark[SHIFT]
    if bucket <= mark[NOW]:
        push(agenda, slot)
    else:
        place = bucket & (len(agenda.heads) - 1)
        record.next = agenda.heads[place]
        agenda.heads[place] = slot
        mark[LISTED] += 1


@lean
def pour(agenda: Agenda) -> None:
    """Move the events of the bucket of now from its list into the heap."""
    mark, heads, records = agenda.mark, agenda.heads, agenda.records
    place = mark[NOW] & (len(heads) - 1)
    slot = heads[place]
    if slot < 0:
        return
    heads[place] = NONE
    while slot >= 0:
        record = records[slot]
        following = record.next
        if record.time >> mark[SHIFT] == mark[NOW]:
            mark[LISTED] -= 1
            push(agenda, slot)
        else:
            record.next = heads[place]
            heads[place] = slot
        slot = following


@lean
def due(agenda: Agenda, time: int, key: int) -> int:
    """Take the first event before (time, key) and return its record, or NONE.

    From then on nothing may be scheduled before that event; where there is none, nothing before `time`.
    """
    mark = agenda.mark
    while mark[HEAPED] == 0:
        if mark[NOW] >= time >> mark[SHIFT]:
            return NONE
        if mark[LISTED] == 0:
            mark[NOW] = time >> mark[SHIFT]
            return NONE
        mark[NOW] += 1
        pour(agenda)
    first = agenda.heap[0]
    if first.time < time or (first.time == time and first.key < key):
        slot = first.slot
        pop(agenda)
        return slot  # type: ignore[no-any-return]
    return NONE


@kernel
def rebuild(agenda: Agenda) -> None:
    """Make the calendar anew from the events in the records."""
    agenda.heads[:] = NONE
    agenda.mark[HEAPED] = agenda.mark[LISTED] = 0
    agenda.mark[AHEAD] = NONE
    for slot in range(agenda.mark[USED]):
        if agenda.records[slot].key != FREE:
            schedule(agenda, slot)
