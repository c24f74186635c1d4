"""CrossRSS's arithmetic: each step against brute force, and the flocking that credit takes away."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.balancer.crossrss import (
    assign,
    assign_with_credit,
    in_turn,
    per_core,
    repaired,
    smooth,
)


class Case(NamedTuple):
    load: np.ndarray
    maps: np.ndarray
    active: np.ndarray
    before: np.ndarray
    weight: np.ndarray


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few different loads, so that ties are common."""
    servers, cores, buckets = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 8))

    def table(rows: int, columns: int, most: int) -> np.ndarray:
        row = st.lists(st.integers(0, most), min_size=columns, max_size=columns)
        return np.array(draw(st.lists(row, min_size=rows, max_size=rows)), np.int64)

    active = np.array(draw(st.lists(st.booleans(), min_size=servers, max_size=servers)))
    active[draw(st.integers(0, servers - 1))] = True
    return Case(
        table(servers, cores, 3),
        table(servers, buckets, cores - 1),
        active,
        table(1, buckets, servers - 1)[0],
        table(1, buckets, 3)[0],
    )


def least(load: list[list[int]], maps: list[list[int]], usable: list[int], bucket: int) -> int:
    """The first server of least load, tried one by one."""
    best = usable[0]
    for server in usable[1:]:
        if load[server][maps[server][bucket]] < load[best][maps[best][bucket]]:
            best = server
    return best


@given(cases())
def test_every_bucket_goes_to_the_least_loaded_core_the_lowest_server_of_equals(case: Case) -> None:
    usable = [s for s, up in enumerate(case.active) if up]
    load, maps = case.load.tolist(), case.maps.tolist()
    wanted = [least(load, maps, usable, b) for b in range(case.maps.shape[1])]
    assert assign(case.load, case.maps, case.active).tolist() == wanted


@given(cases())
def test_credit_counts_for_the_buckets_behind(case: Case) -> None:
    usable = [s for s, up in enumerate(case.active) if up]
    load, maps, wanted = case.load.tolist(), case.maps.tolist(), []
    for b, (before, weight) in enumerate(zip(case.before.tolist(), case.weight.tolist(), strict=True)):
        server = least(load, maps, usable, b)
        if server != before:
            load[server][maps[server][b]] += weight
        wanted.append(server)
    got = assign_with_credit(case.load, case.maps, case.active, case.before, case.weight)
    assert got.tolist() == wanted
    free = assign_with_credit(case.load, case.maps, case.active, case.before, 0 * case.weight)
    assert free.tolist() == assign(case.load, case.maps, case.active).tolist()


@given(cases())
def test_a_repair_moves_the_buckets_of_servers_that_are_gone(case: Case) -> None:
    got = repaired(case.before, case.load, case.maps, case.active)
    best = assign(case.load, case.maps, case.active)
    for b, (before, after) in enumerate(zip(case.before, got, strict=True)):
        assert after == (before if case.active[before] else best[b])
        assert case.active[after]


@given(cases())
def test_counts_of_buckets_are_summed_by_core(case: Case) -> None:
    count = np.arange(case.maps.size).reshape(case.maps.shape) + 1
    cores = case.load.shape[1]
    got = per_core(count, case.maps, cores)
    for s in range(len(count)):
        for core in range(cores):
            assert got[s, core] == sum(count[s, b] for b in range(count.shape[1]) if case.maps[s, b] == core)


def test_loads_are_whole_numbers_cut_off() -> None:
    load, count = np.array([[5, 0, 7]]), np.array([[2, 1, 8]])
    assert smooth(load, count, 0.5).tolist() == [[3, 0, 7]]
    assert smooth(load, count, 1.0).tolist() == [[2, 1, 8]]
    assert smooth(load, count, 0.25).tolist() == [[4, 0, 7]]


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_at_one_half_smoothing_is_a_shift(load: int, count: int) -> None:
    assert smooth(np.array([load]), np.array([count]), 0.5)[0] == (load + count) >> 1


def test_the_first_table_takes_the_active_servers_in_turn() -> None:
    assert in_turn(np.array([True, False, True]), 5).tolist() == [0, 2, 0, 2, 0]


def test_without_an_active_server_there_is_an_error() -> None:
    load, maps = np.zeros((2, 1), np.int64), np.zeros((2, 4), np.int64)
    none, table, weight = np.zeros(2, np.bool_), np.zeros(4, np.int64), np.ones(4, np.int64)
    with pytest.raises(ValueError, match="no server is active"):
        assign(load, maps, none)
    with pytest.raises(ValueError, match="no server is active"):
        assign_with_credit(load, maps, none, table, weight)


def test_buckets_flock_to_one_idle_core_and_credit_keeps_them_apart() -> None:
    # Two servers of one core each; the second is idle: as published all 8 buckets go there at once.
    load, maps = np.array([[800], [0]]), np.zeros((2, 8), np.int64)
    both, before, weight = np.ones(2, np.bool_), np.zeros(8, np.int64), np.full(8, 100)
    assert assign(load, maps, both).tolist() == [1] * 8
    # With credit the idle core fills up: after eight of 100 it is as loaded, and the first of equals wins.
    assert assign_with_credit(load, maps, both, before, weight).tolist() == [1] * 8
    assert assign_with_credit(load, maps, both, before, 2 * weight).tolist() == [1] * 4 + [0] * 4
