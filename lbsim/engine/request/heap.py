"""Where events wait: a heap, and a line for those that come about in the order in which they will happen.

An event is an entry (time, key, tag), in order of time, then key. No two that count have the same time and
key: what has become stale stays where it is, and its tag tells whoever takes it. An event mostly makes
another one, so the first entry of the heap stays in place while it is dealt with: what is pushed next takes
its place, and the heap is put in order once instead of twice.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import lean, step

Int64s = NDArray[np.int64]
Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

ENTRY: Final = np.dtype([("time", "i8"), ("key", "i8"), ("tag", "i8"), ("_", "i8")])
"""An event; two to a line of the cache."""

SIZE, TAKEN = range(2)
"""`Heap.mark`: entries in the heap; 1 while the first one has been taken, but is still in its place."""

HEAD, LINED = range(2)
"""`Line.mark`: entries that ever left the line; entries in it."""


class Heap(NamedTuple):
    """Pending events; `entries[0]` is the first, and those below entry k are 4 k + 1 .. 4 k + 4."""

    entries: Rows  # ENTRY[capacity]
    mark: Int64s


class Line(NamedTuple):
    """Pending events in order: nearly all come in at the end, and all leave at the head."""

    entries: Rows  # ENTRY[capacity], a power of two
    mark: Int64s


def new_heap(capacity: int) -> Heap:
    """Return an empty heap with room for `capacity` entries."""
    return Heap(np.empty(capacity, ENTRY).view(np.recarray), np.zeros(2, np.int64))


def grown(heap: Heap, capacity: int) -> Heap:
    """Return a heap with the same entries, and room for `capacity`."""
    larger = Heap(np.empty(capacity, ENTRY).view(np.recarray), heap.mark)
    larger.entries[: len(heap.entries)] = heap.entries
    return larger


def new_line() -> Line:
    """Return an empty line with room for one entry."""
    return Line(np.empty(1, ENTRY).view(np.recarray), np.zeros(2, np.int64))


def lengthened(line: Line) -> Line:
    """Return a line with the same entries and twice the room."""
    head, size = int(line.mark[HEAD]), len(line.entries)
    longer = Line(np.empty(2 * size, ENTRY).view(np.recarray), line.mark)
    places = np.arange(head, head + size)
    longer.entries[places & (2 * size - 1)] = line.entries[places & (size - 1)]
    return longer


@step
def before(time: int, key: int, entry: Rows) -> bool:
    """Return whether (time, key) comes before an entry's; without a branch, which would be guessed wrong."""
    return (time < entry.time) | ((time == entry.time) & (key < entry.key))  # type: ignore[no-any-return]


@step
def after(time: int, key: int, entry: Rows) -> bool:
    """Return whether (time, key) comes after an entry's."""
    return (time > entry.time) | ((time == entry.time) & (key > entry.key))  # type: ignore[no-any-return]


@step
def write(entry: Rows, time: int, key: int, tag: int) -> None:
    """Write an entry."""
    entry.time, entry.key, entry.tag = time, key, tag


# --- the heap -----------------------------------------------------------------------------------------------


@lean
def push(heap: Heap, time: int, key: int, tag: int) -> None:
    """Put an event into the heap; there must be room."""
    entries, mark = heap
    if mark[TAKEN]:
        mark[TAKEN] = 0
        sink(entries, mark[SIZE], time, key, tag)
        return
    k = mark[SIZE]
    mark[SIZE] = k + 1
    while k > 0:
        above = entries[(k - 1) >> 2]
        if not before(time, key, above):
            break
        write(entries[k], above.time, above.key, above.tag)
        k = (k - 1) >> 2
    write(entries[k], time, key, tag)


@step
def settle(heap: Heap) -> None:
    """Close the gap that a taken entry has left."""
    entries, mark = heap
    if mark[TAKEN]:
        mark[TAKEN] = 0
        mark[SIZE] -= 1
        last = entries[mark[SIZE]]
        sink(entries, mark[SIZE], last.time, last.key, last.tag)


@lean
def sink(entries: Rows, n: int, time: int, key: int, tag: int) -> None:
    """Put an event in place of the first of the n entries."""
    k, child = 0, 1
    while child < n:
        if child + 3 < n:
            low = child + before(entries[child + 1].time, entries[child + 1].key, entries[child])
            high = child + 2 + before(entries[child + 3].time, entries[child + 3].key, entries[child + 2])
            least = high if before(entries[high].time, entries[high].key, entries[low]) else low
        else:
            least = child
            for other in range(child + 1, n):
                least = other if before(entries[other].time, entries[other].key, entries[least]) else least
        below = entries[least]
        if before(time, key, below):
            break
        write(entries[k], below.time, below.key, below.tag)
        k, child = least, 4 * least + 1
    write(entries[k], time, key, tag)


# --- the line -----------------------------------------------------------------------------------------------


@lean
def join(line: Line, time: int, key: int, tag: int) -> None:
    """Put an event into the line; there must be room, and few events in it may come later."""
    entries, mark = line
    mask = len(entries) - 1
    k = mark[HEAD] + mark[LINED]
    mark[LINED] += 1
    while k > mark[HEAD]:
        other = entries[(k - 1) & mask]
        if not before(time, key, other):
            break
        write(entries[k & mask], other.time, other.key, other.tag)
        k -= 1
    write(entries[k & mask], time, key, tag)


@step
def head(line: Line) -> Rows:
    """Return the first entry of a line that is not empty."""
    return line.entries[line.mark[HEAD] & (len(line.entries) - 1)]


@step
def drop(line: Line) -> None:
    """Take the first entry out of the line."""
    line.mark[HEAD] += 1
    line.mark[LINED] -= 1
