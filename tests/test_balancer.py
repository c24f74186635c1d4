"""The balancer: its front, tables, scheme and memory after each change of the pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.balancer.balancer import Balancer, memory_bytes
from lbsim.balancer.cheetah.stateless import ABSENT, ACTIVE, CRASHED, DRAINING
from lbsim.balancer.policies import Policy, Unit, View, policies
from lbsim.balancer.tables import ring
from lbsim.balancer.tables.beamer import beamer_add, beamer_buckets, beamer_remove
from lbsim.balancer.tables.rendezvous import rendezvous_table
from lbsim.rng import coin
from lbsim.scenario.consistency import (
    Adapt,
    AnyConsistency,
    ConnTable,
    Cookie,
    DaisyChain,
    FlowTable,
    Jet,
    Rehash,
    SilkRoad,
)

Int64s = Any


def balancer(
    policy: str | Policy = "hashed",
    consistency: AnyConsistency | None = None,
    configured: int = 6,
    active: int = 4,
    weights: Any = None,
    **others: Any,
) -> Balancer:
    chosen = policies()[policy] if isinstance(policy, str) else policy
    weights = np.ones(configured) if weights is None else np.array(weights)
    consistency = Cookie() if consistency is None else consistency
    return Balancer(chosen, configured, active, weights, consistency=consistency, **others)


def own(name: str, **declared: Any) -> Policy:
    def choose(view: View, unit: Unit) -> int:
        return view.table[unit.hash % len(view.table)]  # type: ignore[no-any-return]

    return Policy(name, choose, **{"state": 0, "about": "", "by_hash": True, **declared})


# --- the front ----------------------------------------------------------------------------------------------


def test_the_front_at_the_start() -> None:
    front = balancer(weights=[1, 2, 3, 4, 5, 6]).front
    assert front.active.tolist() == [0, 1, 2, 3]
    assert front.place.tolist() == [0, 1, 2, 3, -1, -1]
    assert front.weight.tolist() == pytest.approx([0.4, 0.8, 1.2, 1.6])
    assert front.table.tolist() == []
    assert not front.down.any()
    assert [a.dtype for a in front] == [np.int64, np.int64, np.float64, np.int64, np.bool_]


def test_what_each_change_does_to_the_front() -> None:
    b = balancer(weights=[1, 2, 3, 4, 5, 6])
    assert b.join(None, 1, 10) == 4
    assert b.front.active.tolist() == [0, 4, 1, 2, 3]
    assert b.front.place.tolist() == [0, 2, 3, 4, 1, -1]
    assert b.front.weight.tolist() == pytest.approx([1 / 3, 5 / 3, 2 / 3, 1, 4 / 3])
    b.drain(1, 20)
    assert b.front.active.tolist() == [0, 4, 2, 3]
    assert not b.front.down.any()
    b.remove(0, 30)
    assert b.front.active.tolist() == [4, 2, 3]
    assert b.front.down.tolist() == [True, False, False, False, False, False]
    b.crash(2, 40)
    assert b.front.active.tolist() == [4, 2, 3]  # nobody has noticed yet
    assert np.flatnonzero(b.front.down).tolist() == [0, 2]
    b.leave(2, 50)
    assert b.front.active.tolist() == [4, 3]
    assert np.flatnonzero(b.front.down).tolist() == [0, 2]
    assert b.pool.spares == [5, 1, 0, 2]
    b.join(2, None, 60)
    assert b.front.active.tolist() == [4, 3, 2]
    assert np.flatnonzero(b.front.down).tolist() == [0]
    b.crash(1, 70)  # it was draining
    b.crash(1, 80)
    assert np.flatnonzero(b.front.down).tolist() == [0, 1]


def relative(weights: Sequence[float]) -> Any:
    """Return what the front is to have: weights relative to their mean."""
    return pytest.approx([w * len(weights) / sum(weights) for w in weights])


changes = st.lists(
    st.tuples(st.sampled_from(["join", "join", "drain", "remove", "crash", "leave"]), st.integers(0, 30)),
    max_size=25,
)


def run(b: Balancer, steps: list[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Make the changes that can be made; yield each with its server."""
    for now, (step, k) in enumerate(steps, 1):
        pool = b.pool
        if step == "join" and pool.spares:
            yield step, b.join(pool.spares[k % len(pool.spares)], k % (len(pool.active) + 1), now)
        elif step == "crash":
            b.crash(k % pool.configured, now)
            yield step, k % pool.configured
        elif step in ("drain", "remove", "leave") and len(pool.active) > 1:
            server = pool.active[k % len(pool.active)]
            {"drain": b.drain, "remove": b.remove, "leave": b.leave}[step](server, now)
            yield step, server


@given(changes)
def test_a_front_is_never_written(steps: list[tuple[str, int]]) -> None:
    b = balancer("ring", Jet(), 8, 5, slots=31)

    def seen() -> tuple[list[Any], list[Any]]:
        arrays = [*b.front, b.keeper.table, b.keeper.wide]
        return arrays, [a.tolist() for a in arrays]

    for arrays, before in [seen(), *(seen() for _ in run(b, steps))]:
        assert [a.tolist() for a in arrays] == before


@given(changes)
def test_the_front_is_the_pool(steps: list[tuple[str, int]]) -> None:
    weights, down = [3, 1, 4, 1, 5, 9, 2, 6], set[int]()
    b = balancer("rendezvous", Rehash(), 8, 5, weights, slots=31)
    for step, server in run(b, steps):
        down = down - {server} if step == "join" else down | {server} if step in ("remove", "crash") else down
        front, active = b.front, b.pool.active
        assert front.active.tolist() == active
        assert front.place.tolist() == [active.index(s) if s in active else -1 for s in range(8)]
        assert front.weight.tolist() == relative([weights[s] for s in active])
        assert set(np.flatnonzero(front.down)) == down
        by_slot = rendezvous_table(np.array(active), np.array(weights, float), 31)
        assert front.active[front.table].tolist() == by_slot.tolist()


# --- tables -------------------------------------------------------------------------------------------------


def test_builders_get_ids_in_list_order_all_weights_the_size_and_a_new_seed() -> None:
    asked: list[tuple[list[int], list[float], int, int]] = []

    def build(active: Int64s, weights: Any, size: int, seed: int) -> Int64s:
        asked.append((active.tolist(), weights.tolist(), size, seed))
        return np.repeat(active[::-1], 2)

    b = balancer(
        own("mine", table=build, slots=lambda configured: 10 * configured), seed=77, weights=[1.5] * 6
    )
    assert b.front.table.tolist() == [3, 3, 2, 2, 1, 1, 0, 0]
    b.join(5, 0, 1)
    assert b.front.table.tolist() == [4, 4, 3, 3, 2, 2, 1, 1, 0, 0]
    b.crash(5, 2)
    assert asked == [
        ([0, 1, 2, 3], [1.5] * 6, 60, coin(77, 0, 1)),
        ([5, 0, 1, 2, 3], [1.5] * 6, 60, coin(77, 1, 1)),
    ]
    assert balancer(own("mine", table=build, slots=5), slots=9).slots == 9
    assert asked[-1][2] == 9


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([0, 1, 5], "policy mine has server 5 in its table, which is not active"),
        ([0, -1], "has server -1 in its table"),
        ([0, 6], "has server 6 in its table"),
        ([], "policy mine has a table of no slots"),
    ],
)
def test_tables_that_cannot_be(table: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        balancer(own("mine", table=lambda *_: np.array(table, np.int64)))


def test_buckets_are_told_of_every_change() -> None:
    b = balancer("beamer", DaisyChain(), slots=50)
    rows = beamer_buckets(np.arange(4), 50)
    b.join(4, 1, 7)
    beamer_add(rows, np.array([0, 4, 1, 2, 3]), 4, 7)
    b.drain(2, 8)
    beamer_remove(rows, np.array([0, 4, 1, 3]), 2, 8)
    b.crash(0, 9)
    b.leave(0, 10)
    beamer_remove(rows, np.array([4, 1, 3]), 0, 10)
    assert b.rows.tolist() == rows.tolist()
    assert b.front.active[b.front.table].tolist() == rows.current.tolist()
    assert b.keeper.chain.current.tolist() == rows.current.tolist()
    assert b.keeper.chain.previous.tolist() == rows.previous.tolist()


@given(changes, st.sampled_from(["faild", "beamer", "beamer_published"]))
def test_buckets_belong_to_active_servers(steps: list[tuple[str, int]], policy: str) -> None:
    b = balancer(policy, DaisyChain(), 8, 5, slots=40)
    for _ in run(b, steps):
        assert set(b.keeper.chain.current) <= set(b.pool.active)
        assert b.front.active[b.front.table].tolist() == b.keeper.chain.current.tolist()


@given(changes)
def test_jet_has_the_table_and_that_of_all_servers(steps: list[tuple[str, int]]) -> None:
    weights = np.array([1.0, 2.0, 1.0, 0.5, 1.0, 1.0, 3.0, 1.0])
    b = balancer("ring", Jet(), 8, 5, weights, slots=97)
    for _ in run(b, steps):
        active = np.array(b.pool.active)
        assert b.keeper.table.tolist() == ring.ring_table(active, weights, 97).tolist()
        assert b.keeper.wide.tolist() == ring.ring_table(np.arange(8), weights, 97).tolist()


@given(changes)
def test_cookies_know_who_ever_served(steps: list[tuple[str, int]]) -> None:
    b = balancer()
    status = {s: ACTIVE if s < 4 else ABSENT for s in range(6)}
    for step, server in run(b, steps):
        if step == "join":
            status[server] = ACTIVE
        elif step in ("remove", "crash"):
            status[server] = CRASHED
        elif status[server] == ACTIVE:
            status[server] = DRAINING
        assert b.keeper.rows.status.tolist() == list(status.values())


# --- adaptive weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_published", "expected"),
    [
        (True, [30, 7, 15, 2, 30, 30]),  # mean of six: 150 // 6 = 25
        (False, [30, 10, 23, 3, 30, 30]),  # mean of the first four: 148 // 4 = 37
    ],
)
def test_reweigh(as_published: bool, expected: list[int]) -> None:
    b = balancer("adaptive_weighted_round_robin", adapt=Adapt(as_published=as_published))
    b.state[0] = 3
    before = b.front
    b.reweigh(np.array([0, 35, 16, 97, 2, 0]), 5)
    assert b.pool.weights.tolist() == expected
    assert b.front.weight.tolist() == relative(expected[:4])
    assert np.bincount(b.front.table).tolist() == expected[:4]
    assert before.weight.tolist() == [1] * 4
    assert b.state.tolist() == [3]
    assert b.front.active.tolist() == [0, 1, 2, 3]
    b.join(4, 0, 6)
    assert b.front.weight.tolist() == relative([expected[4], *expected[:4]])


def test_a_list_is_shuffled_anew_each_time() -> None:
    b = balancer("adaptive_weighted_round_robin", adapt=Adapt())
    tables = []
    for _ in range(3):
        b.reweigh(np.full(6, 10), 0)
        tables.append(tuple(b.front.table))
    assert len(set(tables)) == 3
    again = balancer("adaptive_weighted_round_robin", adapt=Adapt())
    again.reweigh(np.full(6, 10), 9)
    assert tuple(again.front.table) == tables[0]


def test_what_does_not_adapt_is_not_reweighed() -> None:
    with pytest.raises(ValueError, match="adapt is None"):
        balancer().reweigh(np.zeros(6, np.int64), 0)


# --- what does not go together ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "spec", "message"),
    [
        ("round_robin", Rehash(), "policy round_robin is not by hash"),
        ("round_robin", SilkRoad(cells=9), "policy round_robin is not by hash"),
        ("hashed", DaisyChain(), "policy hashed has no buckets to chain"),
        ("ring", DaisyChain(), "policy ring has no buckets to chain"),
        ("hashed", Jet(), "policy hashed has no table for JET"),
        ("ring_published", Jet(), "policy ring_published does not look its table up by hash modulo size"),
        ("weighted_round_robin", Jet(), "JET needs a policy whose table has as many slots"),
        ("hashed", Cookie(buckets=5), "buckets is 5 for 6 servers"),
    ],
)
def test_refused(policy: str, spec: AnyConsistency, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        balancer(policy, spec)


def test_changes_that_cannot_be_change_nothing() -> None:
    b = balancer("ring", active=2)
    front, rebuilds = b.front, b.rebuilds
    for change, message in (
        (lambda: b.join(1, None, 0), "server 1 is active already"),
        (lambda: b.drain(3, 0), "server 3 is not active"),
        (lambda: b.remove(5, 0), "server 5 is not active"),
        (lambda: b.crash(6, 0), "server is 6: servers are 0 to 5"),
    ):
        with pytest.raises(ValueError, match=message):
            change()
    b.drain(0, 0)
    with pytest.raises(ValueError, match="server 1 is the last active one"):
        b.remove(1, 1)
    assert not b.front.down.any()
    assert front.active.tolist() == [0, 1]
    assert b.rebuilds == rebuilds + 1


# --- memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "spec", "expected"),
    [
        ("hashed", Rehash(), {"table": 0}),
        ("ring", Rehash(), {"table": 4 * 600}),
        ("beamer", DaisyChain(), {"table": 24 * 3200}),
        ("hashed", Cookie(), {"table": 0, "cookies": 96}),
        ("hashed", Cookie(buckets=256), {"table": 0, "cookies": 4096}),
        ("hashed", ConnTable(capacity=40_000), {"table": 0, "connections": 8 * 65_536}),
        ("hashed", ConnTable(capacity=9, variant="fastclick"), {"table": 0, "connections": 80 * 32_768}),
        ("hashed", FlowTable(capacity=1000), {"table": 0, "connections": 108 * 1024}),
        ("ring", Jet(), {"table": 2400, "connections": 20 * 1234, "change": 2400}),
        ("hashed", SilkRoad(cells=1600), {"table": 0, "connections": 5600, "change": 256 + 64 * 24}),
    ],
)
def test_memory(policy: str, spec: AnyConsistency, expected: dict[str, int]) -> None:
    assert memory_bytes(balancer(policy, spec), 1234) == expected
