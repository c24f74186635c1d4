import hashlib
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.balancer.tables.uhashring import cell_before, cell_of, md5_top, next_cell, owner, ring, starts_arc


def full(text: str) -> int:
    """The 128-bit position of a text, as uhashring computes it."""
    return int(hashlib.md5(text.encode()).hexdigest(), 16)


def top(text: str) -> np.uint64:
    a, b = np.frombuffer(hashlib.md5(text.encode()).digest()[:8], "<u4")
    return np.uint64(md5_top(a, b))


@given(servers=st.integers(1, 40), vnodes=st.integers(1, 6), data=st.data())
def test_a_key_belongs_to_the_first_point_after_it_whose_server_is_up(servers, vnodes, data):
    up = np.array(data.draw(st.lists(st.booleans(), min_size=servers, max_size=servers)))
    up[data.draw(st.integers(0, servers - 1))] = True
    made = ring(servers, vnodes)
    alive = sorted((full(f"{s}-{v}"), s) for s in range(servers) for v in range(vnodes) if up[s])
    for k in range(50):
        at = bisect_right(alive, (full(f"000{k}"), servers)) % len(alive)
        cell = cell_of(made.points, made.guide, top(f"000{k}"))
        assert owner(made.server, up, cell) == alive[at][1]


@given(servers=st.integers(1, 40), vnodes=st.integers(1, 6), data=st.data())
def test_the_arcs_of_a_server_are_the_cells_it_owns(servers, vnodes, data):
    up = np.array(data.draw(st.lists(st.booleans(), min_size=servers, max_size=servers)))
    s = data.draw(st.integers(0, servers - 1))
    up[s] = True
    made = ring(servers, vnodes)
    owned = [c for c in range(servers * vnodes) if owner(made.server, up, c) == s]
    up[s] = data.draw(st.booleans())  # it may be down: then these are the cells it will own
    walked = []
    for cell in made.of_server[s]:
        walked.append(cell)
        while not starts_arc(made.server, up, walked[-1], s):
            walked.append(cell_before(made.server, walked[-1]))
    assert sorted(walked) == owned


def test_points_are_in_order_and_the_cells_go_round():
    made = ring(468, 30)
    assert (np.diff(made.points.astype(object)) > 0).all()
    assert (np.bincount(made.server) == 30).all()
    np.testing.assert_array_equal(made.server[made.of_server], np.repeat(np.arange(468), 30).reshape(468, 30))
    assert next_cell(made.server, 14039) == 0
    assert cell_before(made.server, 0) == 14039
    past_all = np.uint64(2**64 - 1)
    assert cell_of(made.points, made.guide, past_all) == 0
    assert cell_of(made.points, made.guide, made.points[5]) == 6  # strictly after


@pytest.mark.parametrize("argument", ["servers", "vnodes"])
def test_an_empty_ring_is_refused(argument):
    with pytest.raises(ValueError, match=f"{argument} = 0"):
        ring(**{"servers": 1, "vnodes": 1, argument: 0})
