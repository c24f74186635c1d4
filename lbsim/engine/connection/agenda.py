"""The agenda: what is pending for each connection, as a calendar queue (Brown, CACM 1988) of records.

Time is cut into buckets of 2**shift ps; bucket b is list b modulo the number of lists. The lists are appended
to, and the bucket of now is sorted, see `calendar`. So what happens next is known well ahead, see `ahead`.

A connection has one pending event, and that never moves but at a change of the pool, when all records are
looked at anyway: then the calendar is made anew. So nothing is ever cancelled, and memory follows the
connections under way, not the time simulated.
"""

from __future__ import annotations

import numpy as np

from lbsim import units
from lbsim.engine.connection.calendar import (
    BLANK,
    BLOCK,
    BLOCKS,
    CONNECTION,
    DONE,
    ENTRY,
    FREE,
    HEAPED,
    INDEX,
    KIND_SHIFT,
    LISTED,
    MARKS,
    MOST_LISTS,
    NONE,
    NOW,
    PER_BUCKET,
    SHIFT,
    SORTED,
    SPARE,
    USED,
    Agenda,
    Rows,
    append,
    before,
    int64,
    pop,
    push,
    sort,
)
from lbsim.jit import inlined, kernel, step

__all__ = [
    "DONE",
    "INDEX",
    "KIND_SHIFT",
    "MOST_LISTS",
    "NONE",
    "PER_BUCKET",
    "SHIFT",
    "SORTED",
    "SPARE",
    "USED",
    "Agenda",
    "Rows",
    "int64",
]


@inlined
def key_of(kind: int, index: int) -> int:
    """Return what orders events of the same instant: kinds 0, 1, 2, then the index."""
    return (kind << KIND_SHIFT) | index


def new_agenda(capacity: int, rate: float) -> Agenda:
    """Return an empty agenda for `capacity` connections and about `rate` events per second.

    Half of the events are ends. At least twice as many fit into a revolution as there are connections, so
    few of these are passed over more than once.
    """
    capacity = max(capacity, 64)
    lists = min(MOST_LISTS, _power_of_two(max(16, 2 * capacity // PER_BUCKET)))
    ends = max(PER_BUCKET, 2 * capacity / lists)
    width = int(2 * ends * units.SECOND / max(rate, 1e-9))
    mark = np.zeros(MARKS, np.int64)
    mark[SHIFT] = min(max(width, 1).bit_length() - 1, 60)
    mark[SPARE] = mark[BLANK] = NONE
    blocks = capacity // BLOCK + lists + 2  # one of each list is not full; one is being read
    return Agenda(
        np.empty(capacity, CONNECTION).view(np.recarray),
        np.empty(blocks * BLOCK, ENTRY).view(np.recarray),
        np.empty(blocks, np.int32),
        np.full(lists, NONE, np.int32),
        np.empty(_power_of_two(int(ends)), np.int32),
        np.empty(capacity, ENTRY).view(np.recarray),
        np.empty(capacity, ENTRY).view(np.recarray),
        mark,
    )


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


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


@step
def is_full(agenda: Agenda) -> bool:
    """Return whether there is no room for another record."""
    mark = agenda.mark
    return mark[SPARE] < 0 and mark[USED] == len(agenda.records)  # type: ignore[no-any-return]


@step
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


@step
def give(agenda: Agenda, slot: int) -> None:
    """Give back a record whose event has been taken."""
    record = agenda.records[slot]
    record.key = FREE
    record.next = agenda.mark[SPARE]
    agenda.mark[SPARE] = slot


@step
def schedule(agenda: Agenda, slot: int) -> None:
    """Note a record's pending event, which is not before the bucket of now."""
    mark, record = agenda.mark, agenda.records[slot]
    bucket = record.time >> mark[SHIFT]
    if bucket <= mark[NOW]:
        push(agenda, record.time, record.key, slot)
    else:
        append(agenda, bucket & (len(agenda.ends) - 1), record.time, record.key, slot)
        mark[LISTED] += 1


@step
def due(agenda: Agenda, time: int, key: int) -> int:
    """Take the first event before (time, key) and return its record, or NONE.

    From then on nothing may be scheduled before that event; where there is none, nothing before `time`.
    """
    mark = agenda.mark
    while mark[HEAPED] == 0 and mark[DONE] == mark[SORTED]:
        if mark[NOW] >= time >> mark[SHIFT]:
            return NONE
        if mark[LISTED] == 0:
            mark[NOW] = time >> mark[SHIFT]
            return NONE
        mark[NOW] += 1
        sort(agenda)
    if mark[DONE] < mark[SORTED]:
        first = agenda.sorted[mark[DONE]]
        if mark[HEAPED] == 0 or before(first.time, first.key, agenda.heap[0]):
            if first.time > time or (first.time == time and first.key >= key):
                return NONE
            mark[DONE] += 1
            return first.slot  # type: ignore[no-any-return]
    first = agenda.heap[0]
    if first.time > time or (first.time == time and first.key >= key):
        return NONE
    slot = first.slot
    pop(agenda)
    return slot  # type: ignore[no-any-return]


@kernel
def rebuild(agenda: Agenda) -> None:
    """Make the calendar anew from the events in the records."""
    mark = agenda.mark
    agenda.ends[:] = NONE
    mark[HEAPED] = mark[LISTED] = mark[DONE] = mark[SORTED] = mark[BLOCKS] = 0
    mark[BLANK] = NONE
    for slot in range(mark[USED]):
        if agenda.records[slot].key != FREE:
            schedule(agenda, slot)
