"""Faild's next hops: who is spelled out in them, and which connections a rest of a server costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import ids

from lbsim.balancer.tables.beamer import NOBODY, receiver
from lbsim.balancer.tables.faild import faild_drain, faild_fill, faild_next_hops

SERVERS, SIZE = 6, 40


@given(st.lists(st.integers(0, SERVERS - 1), max_size=14))
def test_drain_and_fill(turns: list[int]) -> None:
    """Each turn drains a server, or fills it if it rests; a plain list of tuples follows."""
    hops = faild_next_hops(np.arange(SERVERS), SIZE)
    told = [(k * SERVERS // SIZE, NOBODY, k * SERVERS // SIZE) for k in range(SIZE)]
    resting: set[int] = set()
    for server in turns:
        if server in resting:
            resting.remove(server)
            moved = [k for k in range(SIZE) if told[k][2] == server]
            assert faild_fill(hops, server) == len(moved)
            for k in moved:
                told[k] = (server, told[k][0], server)
        elif len(resting) < SERVERS - 1:
            resting.add(server)
            active = sorted(set(range(SERVERS)) - resting)
            moved = [k for k in range(SIZE) if told[k][0] == server]
            assert faild_drain(hops, ids(active), server) == len(moved)
            for k in moved:
                loads = [sum(t[0] == s for t in told) for s in active]
                told[k] = (active[loads.index(min(loads))], server, told[k][2])
        assert hops.tolist() == told
        assert not {t[0] for t in told} & resting


def test_a_rest_costs_nothing() -> None:
    hops = faild_next_hops(np.arange(SERVERS), SIZE)
    before = hops.current.copy()
    faild_drain(hops, ids([0, 1, 2, 4, 5]), 3)
    assert all(receiver(hops[k], before[k]) == before[k] for k in range(SIZE))
    during = hops.current.copy()
    faild_fill(hops, 3)
    assert all(receiver(hops[k], during[k]) == during[k] for k in range(SIZE))
    assert np.array_equal(hops.current, before)


def test_two_servers_away_break_what_one_took_from_the_other() -> None:
    hops = faild_next_hops(np.arange(SERVERS), SIZE)
    before = hops.current.copy()
    faild_drain(hops, ids([0, 1, 2, 4, 5]), 3)
    faild_drain(hops, ids([0, 1, 2, 4]), 5)
    broken = [k for k in range(SIZE) if receiver(hops[k], before[k]) != before[k]]
    assert broken
    assert set(before[broken]) == {3}
    assert all(hops.previous[broken] == 5)


def test_bad_pools_are_refused() -> None:
    with pytest.raises(ValueError, match="active is empty"):
        faild_next_hops(ids([]), 8)
    with pytest.raises(ValueError, match="active is empty"):
        faild_drain(faild_next_hops(np.arange(1), 8), ids([]), 0)
