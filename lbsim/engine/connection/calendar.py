"""The calendar of the agenda: events in lists by time, the bucket of now in order, and the heap beside it.

An event is an entry (time, key, record), written at the end of its bucket's list; lists are chains of blocks.
There are so few lists that all their ends stay in the cache, so with millions of connections nothing is
written at random. When a bucket becomes that of now, its entries are sorted at once, in the cache, by bins of
time and then by insertion; what is pending for a later revolution is appended again. Events that come into
the bucket of now later go into a small binary heap.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import lean, step

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
        ("next", "i4"),  # of a free record: the next free one
        ("url", "i4"),
        ("process", "i4"),  # whose URL it is; -1: nobody's
    ]
)
"""One connection, under way or waiting to begin again: one line of the cache."""

ENTRY: Final = np.dtype([("time", "i8"), ("key", "i8"), ("slot", "i8")])
"""An event: where it is sorted, it is not looked for in its record."""

FREE: Final = -1
NONE: Final = -1  # no record
KIND_SHIFT: Final = 60
INDEX: Final = (1 << KIND_SHIFT) - 1  # the bits of a key that are the index

# `mark`, an int64 array:
NOW, SHIFT, HEAPED, LISTED, USED, SPARE, DONE, SORTED, BLOCKS, BLANK = range(10)
MARKS: Final = 10
"""Bucket of now; log2 of its width; entries in the heap; in lists; records ever used; first free record;
entries of `sorted` that have been taken; that there are; blocks ever used; first free block."""

PER_BUCKET: Final = 512
"""Events a bucket is meant to have at least: few begin and end within it, by the slower heap."""

MOST_LISTS: Final = 2048
"""A line of the cache and a page for the end of each: no more, so that they all stay at hand."""

BLOCK_SHIFT: Final = 7
BLOCK: Final = 1 << BLOCK_SHIFT  # entries: read in a row, while little is lost in those not full

CROWD: Final = 24
"""Entries of one bin, at most, that are sorted by insertion, which takes the square of that."""


class Agenda(NamedTuple):
    """The records and the calendar."""

    records: Rows  # CONNECTION[capacity]
    blocks: Rows  # ENTRY[blocks * BLOCK]: the lists
    chain: Int32s  # [blocks] the block before in the same list; of free blocks: the next free one; or NONE
    ends: Int32s  # [lists], a power of two: the last entry of each list, or NONE
    bins: Int32s  # [bins], a power of two: where the next entry of each part of the bucket of now goes
    sorted: Rows  # ENTRY[capacity]: the bucket of now in order, but for the heap
    heap: Rows  # ENTRY[capacity]
    mark: Int64s


@step
def before(time: int, key: int, entry: Rows) -> bool:
    """Return whether (time, key) comes before an entry's."""
    return time < entry.time or (time == entry.time and key < entry.key)  # type: ignore[no-any-return]


@lean
def push(agenda: Agenda, time: int, key: int, slot: int) -> None:
    """Put an event into the heap."""
    heap = agenda.heap
    k = agenda.mark[HEAPED]
    agenda.mark[HEAPED] = k + 1
    while k > 0:
        above = heap[(k - 1) >> 1]
        if not before(time, key, above):
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
            if before(other.time, other.key, below):
                child, below = child + 1, other
        if before(time, key, below):
            break
        entry = heap[k]
        entry.time, entry.key, entry.slot = below.time, below.key, below.slot
        k, child = child, 2 * child + 1
    entry = heap[k]
    entry.time, entry.key, entry.slot = time, key, slot


@step
def append(agenda: Agenda, place: int, time: int, key: int, slot: int) -> None:
    """Write an event at the end of a list."""
    mark, chain = agenda.mark, agenda.chain
    at = agenda.ends[place] + 1
    if at & (BLOCK - 1) == 0:  # its last block is full, or it has none
        block = mark[BLANK]
        if block >= 0:
            mark[BLANK] = chain[block]
        else:
            block = mark[BLOCKS]
            mark[BLOCKS] += 1
        chain[block] = (at - 1) >> BLOCK_SHIFT
        at = block << BLOCK_SHIFT
    agenda.ends[place] = at
    entry = agenda.blocks[at]
    entry.time, entry.key, entry.slot = time, key, slot


@lean
def sort(agenda: Agenda) -> None:
    """Sort the events of the bucket of now, which are in its list."""
    mark = agenda.mark
    mark[DONE] = mark[SORTED] = 0
    place = mark[NOW] & (len(agenda.ends) - 1)
    end = agenda.ends[place]
    if end < 0:
        return
    agenda.ends[place] = NONE
    fine = count(agenda, end)
    deal(agenda, place, end, fine)
    entries = agenda.sorted
    for k in range(1, mark[SORTED]):
        entry = entries[k]
        time, key, slot = entry.time, entry.key, entry.slot
        while k > 0 and before(time, key, entries[k - 1]):
            entry, above = entries[k], entries[k - 1]
            entry.time, entry.key, entry.slot = above.time, above.key, above.slot
            k -= 1
        entry = entries[k]
        entry.time, entry.key, entry.slot = time, key, slot


@lean
def count(agenda: Agenda, end: int) -> int:
    """Find where the entries of each bin go; return log2 of the width of a bin, ps."""
    mark, bins, blocks = agenda.mark, agenda.bins, agenda.blocks
    fine, mask = mark[SHIFT], len(bins) - 1
    while fine > 0 and mask >> (mark[SHIFT] - fine) > 0:
        fine -= 1
    for k in range(len(bins)):
        bins[k] = 0
    while end >= 0:
        block = end >> BLOCK_SHIFT
        for at in range(block << BLOCK_SHIFT, end + 1):
            time = blocks[at].time
            if time >> mark[SHIFT] == mark[NOW]:
                bins[time >> fine & mask] += 1
        end = (agenda.chain[block] << BLOCK_SHIFT) + BLOCK - 1
    for k in range(len(bins)):
        size = bins[k]
        bins[k] = mark[SORTED] if size <= CROWD else NONE
        mark[SORTED] += size if size <= CROWD else 0
    return fine  # type: ignore[no-any-return]


@lean
def deal(agenda: Agenda, place: int, end: int, fine: int) -> None:
    """Deal the entries of a list into bins, a crowd into the heap, those of later revolutions back."""
    mark, bins, chain = agenda.mark, agenda.bins, agenda.chain
    mask = len(bins) - 1
    while end >= 0:
        block = end >> BLOCK_SHIFT
        for at in range(block << BLOCK_SHIFT, end + 1):
            entry = agenda.blocks[at]
            time, key, slot = entry.time, entry.key, entry.slot
            if time >> mark[SHIFT] != mark[NOW]:
                append(agenda, place, time, key, slot)
                continue
            mark[LISTED] -= 1
            to = bins[time >> fine & mask]
            if to < 0:
                push(agenda, time, key, slot)
            else:
                bins[time >> fine & mask] = to + 1
                entry = agenda.sorted[to]
                entry.time, entry.key, entry.slot = time, key, slot
        end = (chain[block] << BLOCK_SHIFT) + BLOCK - 1
        chain[block] = mark[BLANK]
        mark[BLANK] = block
