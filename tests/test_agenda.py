import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.engine.connection import agenda
from lbsim.engine.connection.agenda import INDEX, KIND_SHIFT, NONE, SHIFT, SPARE

LAST = 3 << KIND_SHIFT


class Model:
    """The same agenda as a heapq, and the real one beside it."""

    def __init__(self, shift: int, capacity: int = 64) -> None:
        self.heap: list[tuple[int, int]] = []
        self.real = agenda.new_agenda(capacity, 1e9)
        self.real.mark[SHIFT] = shift
        self.slots: dict[tuple[int, int], int] = {}

    def schedule(self, time: int, key: int) -> None:
        if agenda.is_full(self.real):
            self.real = agenda.grown(self.real, 1e9)
        slot = agenda.take(self.real)
        assert slot not in self.slots.values()
        self.real.records[slot].time, self.real.records[slot].key = time, key
        agenda.schedule(self.real, slot)
        self.slots[time, key] = slot
        heapq.heappush(self.heap, (time, key))

    def due(self, time: int, key: int) -> tuple[int, int] | None:
        slot = agenda.due(self.real, time, key)
        if not self.heap or self.heap[0] >= (time, key):
            assert slot == NONE
            return None
        first = heapq.heappop(self.heap)
        assert slot == self.slots.pop(first)
        assert (self.real.records[slot].time, self.real.records[slot].key) == first
        agenda.give(self.real, slot)
        return first

    def rebuild(self, moves: list[int]) -> None:
        """Move some events further away, as a change of the pool does, and make the calendar anew."""
        for (time, key), slot in list(self.slots.items()):
            later = time + moves[key % len(moves)]
            self.real.records[slot].time = later
            del self.slots[time, key]
            self.slots[later, key] = slot
        self.heap = list(self.slots)
        heapq.heapify(self.heap)
        agenda.rebuild(self.real)


delays = st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 300), st.integers(0, 10**6))
steps = st.one_of(
    st.tuples(st.just("add"), delays, st.integers(0, 2)),
    st.tuples(st.just("until"), delays, st.integers(0, 3)),
    st.tuples(st.just("rebuild"), st.lists(delays, min_size=1, max_size=3), st.none()),
)


@given(st.lists(steps, max_size=150), st.sampled_from([0, 1, 4, 12, 40]))
@settings(max_examples=150, deadline=None)
def test_the_agenda_takes_events_in_the_order_of_a_heap(
    steps: list[tuple[str, object, object]], shift: int
) -> None:
    model, now = Model(shift), 0
    for number, (what, a, b) in enumerate(steps):
        if what == "add":
            model.schedule(now + a, b << KIND_SHIFT | 1000 - number)  # type: ignore[operator]
        elif what == "until":
            now += a  # type: ignore[operator]
            while model.due(now, b << KIND_SHIFT):  # type: ignore[operator]
                pass
        else:
            model.rebuild(a)  # type: ignore[arg-type]
    while model.due(now + 10**9, LAST):
        pass
    assert not model.slots


@pytest.mark.parametrize("shift", [0, 3, 30])
def test_events_may_follow_at_once_while_others_of_the_instant_wait(shift: int) -> None:
    model = Model(shift)
    for index in range(40):
        model.schedule(7, 1 << KIND_SHIFT | index)
    for index in range(40, 80):
        model.schedule(7, index)  # an end of the same instant comes before the breaks
        assert model.due(7, LAST) == (7, index)
    for index in range(40):
        assert model.due(7, LAST) == (7, 1 << KIND_SHIFT | index)
    assert model.due(10**15, LAST) is None


def test_a_record_given_back_is_taken_next_and_none_is_used_twice() -> None:
    real = agenda.new_agenda(64, 1e6)
    slots = [agenda.take(real) for _ in range(64)]
    assert sorted(slots) == list(range(64))
    assert agenda.is_full(real)
    for slot in (5, 9):
        agenda.give(real, slot)
    assert not agenda.is_full(real)
    assert [agenda.take(real), agenda.take(real)] == [9, 5]
    assert agenda.is_full(real)


def test_memory_follows_what_is_pending_and_not_the_time() -> None:
    model = Model(4)
    rng = np.random.default_rng(1)
    now = 0
    for index in range(3000):
        model.schedule(now + int(rng.integers(0, 4000)), index & INDEX)
        now += 50
        while model.due(now, 0):
            pass
    assert len(model.real.records) == 64  # about 40 are pending, 3000 were


def test_growing_keeps_what_is_pending_and_what_is_free() -> None:
    model = Model(2)
    for index in range(64):
        model.schedule(index * 37 % 64, index)
    for _ in range(10):
        model.due(1000, 0)
    for index in range(64, 75):  # ten fit; the next one does not
        model.schedule(64 + index, index)
    assert len(model.real.records) == 128
    assert model.real.mark[SPARE] == NONE
    taken = []
    while first := model.due(10**6, 0):
        taken.append(first)
    assert taken == sorted(taken)
    assert len(taken) == 65


def test_the_calendar_suits_the_hints() -> None:
    few, many = agenda.new_agenda(70_000, 1e6), agenda.new_agenda(10_000_000, 5e5)
    assert (len(few.ends), len(few.bins)) == (512, 512)
    assert len(many.ends) == agenda.MOST_LISTS
    assert len(many.bins) == 16_384  # for each of 9,766 ends
    ends = (1 << int(few.mark[SHIFT])) * 5e5 / 1e12
    assert agenda.PER_BUCKET / 2 <= ends <= agenda.PER_BUCKET
