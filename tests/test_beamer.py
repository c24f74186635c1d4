"""Beamer's buckets: the published figures, and a plain re-telling bucket by bucket."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import ids

from lbsim.balancer.tables.beamer import NOBODY, beamer_add, beamer_buckets, beamer_remove, receiver

CHANGES = (1, 1, 1, 2, -1, 1, 1, -2, -1, -1, -2, -1, -1)  # the published schedule by the clock of the data


class Story:
    """Lists of [current, previous, moved] and a FIFO of servers, as the model page tells it."""

    def __init__(self, active: list[int], size: int, published: bool) -> None:
        each = size // len(active)
        owners = [s for s in active for _ in range(each)] + active[: size % len(active)]
        self.buckets: list[list[int | None]] = [[s, None, 0] for s in owners]
        self.active, self.published = list(active), published

    def load(self, server: int) -> int:
        return [b[0] for b in self.buckets].count(server)

    def add(self, server: int, now: int) -> int:
        self.active.append(server)
        for moves in range(len(self.buckets)):
            giver, taker = max(self.active, key=self.load), min(self.active, key=self.load)
            if self.load(giver) - self.load(taker) <= 1:
                return moves
            theirs = [b for b in self.buckets if b[0] == giver]
            bucket = theirs[-1] if self.published else min(theirs, key=lambda b: b[2] or 0)
            bucket[:] = [taker, giver, now]
        raise AssertionError

    def remove(self, server: int, now: int) -> int:
        self.active.remove(server)
        theirs = [b for b in self.buckets if b[0] == server]
        for bucket in theirs:
            bucket[:] = [min(self.active, key=self.load), server, now]
        return len(theirs)


@given(
    st.integers(1, 6),
    st.integers(10, 80),
    st.booleans(),
    st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=8),
)
def test_story(n: int, size: int, published: bool, changes: list[int | None]) -> None:
    story = Story(list(range(n)), size, published)
    buckets = beamer_buckets(np.arange(n), size)
    kept = {k: int(buckets.current[k]) for k in range(size)}
    for now, change in enumerate(changes, 1):
        if change is None and len(story.active) < 10:
            newcomer = min(set(range(10)) - set(story.active))
            expected = story.add(newcomer, now)
            assert beamer_add(buckets, ids(story.active), newcomer, now, published) == expected
        elif change is not None and len(story.active) > 1:
            leaver = story.active[change % len(story.active)]
            expected = story.remove(leaver, now)
            assert beamer_remove(buckets, ids(story.active), leaver, now) == expected
        else:
            continue
        told = [[b[0], NOBODY if b[1] is None else b[1], b[2]] for b in story.buckets]
        assert [list(row) for row in buckets.tolist()] == told
        loads = [story.load(s) for s in story.active]
        assert sum(loads) == size
        assert max(loads) - min(loads) <= 1
        for k, holder in kept.items():
            reached = receiver(buckets[k], holder)
            assert (reached == holder) == (holder in told[k][:2])


@pytest.mark.parametrize("published", [True, False])
def test_known_figures_of_the_published_schedule(published: bool) -> None:
    active, spares = list(range(24)), list(range(24, 32))
    buckets = beamer_buckets(np.arange(24))
    origin = buckets.current.copy()
    moves, lost = [], []
    for now, change in enumerate(CHANGES):
        for _ in range(abs(change)):
            if change > 0:
                active.append(spares.pop(0))
                moves.append(beamer_add(buckets, ids(active), active[-1], now, published))
            else:
                spares.append(active.pop(0))
                moves.append(beamer_remove(buckets, ids(active), spares[-1], now))
        lost.append(float(np.mean((buckets.current != origin) & (buckets.previous != origin))))
    assert min(moves) / 32 == pytest.approx(3.3, abs=0.05)
    assert max(moves) / 32 == pytest.approx(4.4, abs=0.05)
    after_fifth_add, first_double_removal, end = 100 * lost[3], 100 * lost[7], 100 * lost[-1]
    assert after_fifth_add == pytest.approx(0.8, abs=0.05)
    assert first_double_removal == pytest.approx(1.8, abs=0.05 if published else 0.15)
    assert end == pytest.approx(6.2, abs=0.06)


def test_daisy_chaining_saves_one_move() -> None:
    buckets = beamer_buckets(np.arange(2), 2)
    assert receiver(buckets[0], 0) == 0
    beamer_remove(buckets, ids([1]), 0, 1)
    assert receiver(buckets[0], 0) == 0  # passed on to it by server 1
    assert receiver(buckets[1], 7) == NOBODY
    beamer_remove(buckets, ids([2]), 1, 2)
    assert receiver(buckets[0], 0) == 1  # which knows nothing of it: broken


def test_bad_pools_are_refused() -> None:
    with pytest.raises(ValueError, match="size is 3 for 4 active"):
        beamer_buckets(np.arange(4), 3)
    with pytest.raises(ValueError, match="active is empty"):
        beamer_remove(beamer_buckets(np.arange(1), 4), ids([]), 0, 1)
