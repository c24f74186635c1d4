"""The heap and the line of events, against Python's own heap."""

from __future__ import annotations

import heapq

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lbsim.engine.request import heap

TIMES = st.lists(st.none() | st.tuples(st.integers(0, 5), st.integers(0, 2**42)), max_size=60)
"""What to put in, or None: take the first one out. Keys are made different below."""


@given(TIMES, st.booleans())
def test_events_leave_the_heap_in_order(does: list[tuple[int, int] | None], settle: bool) -> None:
    h = heap.new_heap(len(does) + 1)
    truth: list[tuple[int, int, int]] = []
    for tag, what in enumerate(does):
        if what is not None:
            event = (what[0], what[1] * 64 + tag, tag)
            heapq.heappush(truth, event)
            heap.push(h, *event)
        elif truth:
            heap.settle(h)  # of what was taken before, if nothing took its place
            first = h.entries[0]
            assert (first.time, first.key, first.tag) == heapq.heappop(truth)
            h.mark[heap.TAKEN] = 1
            if settle:
                heap.settle(h)
    heap.settle(h)
    assert h.mark[heap.SIZE] == len(truth)
    assert sorted(h.entries["tag"][: len(truth)].tolist()) == sorted(tag for _, _, tag in truth)


def test_a_heap_that_has_grown_holds_the_same() -> None:
    h = heap.new_heap(3)
    for k in (2, 1, 3):
        heap.push(h, k, 0, k)
    larger = heap.grown(h, 8)
    heap.push(larger, 0, 0, 0)
    assert larger.entries[0].time == 0
    assert sorted(larger.entries["time"][:4].tolist()) == [0, 1, 2, 3]
    assert larger.mark[heap.SIZE] == 4


@given(TIMES)
def test_events_leave_the_line_in_order(does: list[tuple[int, int] | None]) -> None:
    line = heap.new_line()
    truth: list[tuple[int, int, int]] = []
    for tag, what in enumerate(does):
        if what is not None:
            event = (what[0], what[1] * 64 + tag, tag)
            heapq.heappush(truth, event)
            if line.mark[heap.LINED] == len(line.entries):
                line = heap.lengthened(line)
            heap.join(line, *event)
        elif truth:
            first = heap.head(line)
            assert (first.time, first.key, first.tag) == heapq.heappop(truth)
            heap.drop(line)
    assert line.mark[heap.LINED] == len(truth)
    assert np.log2(len(line.entries)).is_integer()
