"""JET: connections that are tracked or unmoved never break, and few are tracked."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import ids, ones

from lbsim.balancer.tables import Table
from lbsim.balancer.tables.jet import UNTRACKED, jet
from lbsim.balancer.tables.maglev import maglev_table
from lbsim.balancer.tables.rendezvous import rendezvous_table
from lbsim.balancer.tables.ring import ring_table

SIZE = 251
Steps = list[tuple[str, int]]


def tables(build: Callable[..., Table], active: set[int], horizon: set[int]) -> tuple[Table, Table]:
    return build(ids(sorted(active)), ones(), SIZE), build(ids(sorted(active | horizon)), ones(), SIZE)


def broken(build: Callable[..., Table], steps: Steps) -> int:
    """Run 251 connections, one a slot, through the steps; return how many of living servers moved."""
    active, horizon = set(range(8)), {8, 9, 10}
    table, wide = tables(build, active, horizon)
    connections = {key: jet(table, wide, key) for key in range(SIZE)}
    breaks = 0
    for step, k in steps:
        if step == "add" and horizon:
            server = sorted(horizon)[k % len(horizon)]
            horizon.remove(server)
            active.add(server)
        elif step == "remove" and len(active) > 1:
            server = sorted(active)[k % len(active)]
            active.remove(server)
            horizon.add(server)
        elif step == "announce":
            horizon |= {11 + k % 8} - active
        table, wide = tables(build, active, horizon)
        for key, before in connections.items():
            if before.server not in active:
                connections[key] = jet(table, wide, key)  # lost with its server; a new one in its place
                continue
            now = jet(table, wide, key, before.tracked)
            breaks += now.server != before.server
            assert now.tracked in (UNTRACKED, now.server)
            connections[key] = now
    return breaks


steps_of_churn = st.lists(
    st.tuples(st.sampled_from(["add", "add", "remove", "announce"]), st.integers(0, 30)), max_size=12
)


@pytest.mark.parametrize("build", [rendezvous_table, ring_table])
def test_nothing_breaks(build: Callable[..., Table]) -> None:
    @given(steps_of_churn)
    def check(steps: Steps) -> None:
        assert broken(build, steps) == 0

    check()


def test_maglev_breaks_connections_that_were_not_tracked() -> None:
    assert broken(maglev_table, [("add", 0), ("add", 0), ("remove", 3)]) > 0


def test_a_connection_is_tracked_only_if_the_horizon_would_take_it() -> None:
    table, wide = tables(rendezvous_table, set(range(18)), {18, 19})
    for key in range(5 * SIZE):
        routed = jet(table, wide, key)
        assert routed.server == table[key % SIZE]
        assert (routed.tracked == UNTRACKED) == (wide[key % SIZE] < 18)
    assert jet(table, wide, 3, tracked=77) == (77, 77)


def test_the_tracked_part_is_that_of_the_horizon() -> None:
    size = 65_536
    table = rendezvous_table(np.arange(90), ones(100), size)
    wide = rendezvous_table(np.arange(100), ones(100), size)
    assert np.mean(table != wide) == pytest.approx(0.1, rel=0.05)
