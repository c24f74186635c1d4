"""Bounded loads: the first server clockwise with room, and none above the bound."""

import bisect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import bigger_pools, ids, mix, ones, pools, weightings, word_of

from lbsim.balancer.tables.bounded import FULL, bounded_limit, bounded_place, bounded_points, bounded_table

bounds = st.sampled_from([1.05, 1.25, 2.0])


class Circle:
    """Dicts and lists; limits with one rounding at a time, as the kernel has them."""

    def __init__(self, active: list[int], nodes: int, weights: list[float]) -> None:
        points = [(mix(word_of(s) ^ mix(node + 1)), s) for s in active for node in range(nodes)]
        self.points = sorted(points)
        total = float(np.sum(np.array([weights[s] for s in sorted(active)])))
        self.share = {s: weights[s] / total for s in active}
        self.load = dict.fromkeys(active, 0)

    def put(self, key: int, c: float, keys: int) -> int:
        start = bisect.bisect_left(self.points, (mix(key), -1))
        for _, server in self.points[start:] + self.points[:start]:
            if self.load[server] < math.ceil(c * keys * self.share[server]):
                self.load[server] += 1
                return server
        raise AssertionError("no room")


@given(pools, weightings, bounds, st.integers(1, 3))
def test_table(active: list[int], weights: list[float], c: float, nodes: int) -> None:
    table = bounded_table(ids(active), np.array(weights), 200, c, nodes)
    circle = Circle(active, nodes, weights)
    assert table.tolist() == [circle.put(slot, c, 200) for slot in range(200)]


@given(pools, weightings, bounds)
def test_no_server_is_above_the_bound(active: list[int], weights: list[float], c: float) -> None:
    counts = np.bincount(bounded_table(ids(active), np.array(weights), 200, c, 1), minlength=64)
    share = np.array(weights)[active]
    assert np.all(counts[active] < c * 200 * share / share.sum() + 1 + 1e-9)
    assert counts[active].sum() == 200


@given(bigger_pools)
def test_the_table_depends_on_the_set_only(active: list[int]) -> None:
    turned = active[1:] + active[:1]
    assert np.array_equal(
        bounded_table(ids(active), ones(), 200, 1.25, 1), bounded_table(ids(turned), ones(), 200, 1.25, 1)
    )


@given(bigger_pools, bounds, st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 9)), max_size=120))
def test_connections_come_and_go(active: list[int], c: float, steps: list[tuple[int, int]]) -> None:
    weights = [1.0] * 64
    circle = Circle(active, 2, weights)
    points, load = bounded_points(ids(active), 2), np.zeros(64, np.int64)
    share = np.zeros(64)
    share[active] = 1.0 / len(active)
    here: list[int] = []
    for key, step in steps:
        if step < 3 and here:
            server = here.pop(key % len(here))
            circle.load[server] -= 1
        else:
            server = bounded_place(points, load, share, c, len(here) + 1, key)
            assert server == circle.put(key, c, len(here) + 1)
            load[server] += 1
            here.append(server)
            assert load[server] <= math.ceil(c * len(here) / len(active))
            continue
        load[server] -= 1


def test_tight_bound_always_has_room() -> None:
    for n in (3, 7, 49):
        points, load = bounded_points(np.arange(n)), np.zeros(n, np.int64)
        for key in range(5 * n):
            load[bounded_place(points, load, np.full(n, 1 / n), 1.0, key + 1, key)] += 1
        assert set(load) == {5}


def test_full_circle_says_so() -> None:
    points = bounded_points(np.arange(2))
    assert bounded_place(points, np.array([9, 9]), np.array([0.5, 0.5]), 1.25, 4, 7) == FULL
    assert bounded_limit(1.25, 80, 1 / 20) == 5


def test_a_bound_of_the_mean_is_refused() -> None:
    for c in (1.0, 0.5, math.nan):
        with pytest.raises(ValueError, match="bound must be above 1"):
            bounded_table(np.arange(4), ones(), 100, c, 1)


def test_fewer_move_the_looser_the_bound() -> None:
    whole, without = [
        [bounded_table(np.arange(k, 50), ones(), 20_000, c, 20) for c in (1.05, 1.25, 2.0)] for k in (0, 1)
    ]
    elsewhere = [np.mean((a != b) & (a != 0)) for a, b in zip(whole, without, strict=True)]
    assert elsewhere[0] > elsewhere[1] > elsewhere[2]
