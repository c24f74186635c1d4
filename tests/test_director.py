"""Flow Director: a rule for each flow while there is room, RSS until it works; both engines alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lbsim
from lbsim.engine.control import initial_table
from lbsim.engine.front.director import FlowDirector as Director
from lbsim.engine.reference import Packet
from lbsim.nic import bucket_of, flow_hashes, parse_key
from lbsim.scenario import Cost, Fixed, FlowDirector, Flows, Poisson, Server
from lbsim.units import US
from lbsim.workload.flows import flow_traffic
from lbsim.workload.packets import Packets


def packets(times: list[int], flows: list[int], buckets: list[int]) -> Packets:
    n = len(times)
    column = np.array(flows, np.int32)
    frame, service = np.zeros(n, np.int32), np.ones(n, np.int64)
    return Packets(np.array(times, np.int64), np.array(buckets, np.int32)[column], column, frame, service)


def one_by_one(front: Director, p: Packets) -> list[int]:
    rows = zip(*(column.tolist() for column in p), strict=True)
    return [
        front.steer_one(Packet(k, time, bucket, flow, frame, service))
        for k, (time, bucket, flow, frame, service) in enumerate(rows)
    ]


@pytest.mark.parametrize("compiled", [True, False])
def test_rules_by_hand(compiled: bool) -> None:
    # Latency 10, two rules, 4 buckets of RSS. Flow 0 has bucket 3 until 10, then rule 0; flow 2 comes at 5
    # and has rule 1 from 15 on; flow 1 comes too late.
    p = packets([0, 5, 9, 10, 11, 14, 15, 90], [0, 2, 0, 0, 1, 2, 2, 1], [3, 0, 2])
    front = Director(3, entries=2, latency=10, table=4)
    got = front.steer(p, 0).tolist() if compiled else one_by_one(front, p)
    assert got == [3, 2, 3, 4, 0, 2, 5, 0]
    assert front.counted() == {"rules": 2, "rules_refused": 1}


def test_without_latency_the_first_packet_has_its_rule() -> None:
    p = packets([0, 0, 1], [1, 0, 1], [7, 7])
    assert Director(2, entries=2, latency=0, table=8).steer(p, 0).tolist() == [8, 9, 8]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=60),
    st.integers(1, 7),
    st.integers(0, 40),
    st.integers(1, 20),
)
def test_both_ways_to_steer_agree_however_packets_are_cut(
    steps: list[tuple[int, int]], entries: int, latency: int, size: int
) -> None:
    times = np.cumsum([gap for gap, _ in steps]).astype(int).tolist()
    p = packets(times, [flow for _, flow in steps], [5, 4, 3, 2, 1, 0])
    plain, compiled = (Director(6, entries, latency, 8) for _ in range(2))
    parts = [compiled.steer(p.part(k, k + size), k) for k in range(0, len(times), size)]
    assert np.concatenate([[], *parts]).tolist() == one_by_one(plain, p)
    assert compiled.counted() == plain.counted()
    seen = len(set(p.flow.tolist()))
    assert plain.counted() == {"rules": min(seen, entries), "rules_refused": max(0, seen - entries)}


# --- In a run -----------------------------------------------------------------------------------------------


def scenario(**options: Any) -> lbsim.Scenario:
    measure = options.pop("measure", {"packets": True, "interval": "5ms"})
    return lbsim.Scenario(
        duration="40ms",
        traffic=Flows(flows=40),
        arrivals=Poisson(load=0.7),
        nic={"dispatch": FlowDirector(**{"entries": 30, "latency": "2ms", "table": 16, **options})},
        server=Server(cores=3, ring=64, burst=4, cost=Cost(per_batch="1us", work=Fixed(time="4us"))),
        measure=measure,
    )


def test_the_table_has_rss_first_then_the_rules_in_turn() -> None:
    table = initial_table(scenario())
    assert table.tolist() == [k % 3 for k in range(16)] + [k % 3 for k in range(30)]


def test_every_packet_is_where_rss_or_its_rule_says() -> None:
    s = scenario()
    log = lbsim.run(s, "compiled").packets
    assert log is not None
    flows = flow_traffic(s.traffic, s.seed, s.replication).flows  # type: ignore[arg-type]
    by_rss = bucket_of(flow_hashes(flows, parse_key("microsoft")), 16) % 3
    first: dict[int, int] = {}
    for arrival, flow, core in zip(log.arrival.tolist(), log.flow.tolist(), log.core.tolist(), strict=True):
        first.setdefault(flow, arrival)
        rule = list(first).index(flow)
        ruled = rule < 30 and arrival >= first[flow] + 2000 * US
        assert core == (rule % 3 if ruled else by_rss[flow])
    assert len(first) == 40


@pytest.mark.parametrize("burst", [1, 4])
@pytest.mark.parametrize("reordering", [False, True])
def test_engines_agree(burst: int, reordering: bool) -> None:
    measure: dict[str, Any] = {"packets": True, "interval": "5ms", "reordering": reordering}
    s = scenario(measure=measure)
    cost = s.server.cost if burst > 1 else Cost(work=Fixed(time="4us"))
    s = s.model_copy(update={"server": s.server.model_copy(update={"burst": burst, "cost": cost})})
    fast, slow = (lbsim.run(s, engine) for engine in ("compiled", "reference"))  # type: ignore[call-overload]
    assert fast.packets is not None
    assert all((a == b).all() for a, b in zip(fast.packets, slow.packets, strict=True))
    assert fast.control == slow.control == {"rules": 30, "rules_refused": 10}
    assert (fast.busy == slow.busy).all()
    assert fast.reordered == slow.reordered
    if reordering:
        assert (fast.reordered > 0) is (burst == 4)  # a flow that changes its core may overtake itself
        assert lbsim.run(replace_latency(s), "compiled").reordered == 0


def replace_latency(s: lbsim.Scenario) -> lbsim.Scenario:
    """Return the scenario with rules that work at once."""
    dispatch = s.nic.dispatch.model_copy(update={"latency": 0})
    return s.model_copy(update={"nic": s.nic.model_copy(update={"dispatch": dispatch})})


def test_a_flow_stays_on_its_core_once_its_rule_works() -> None:
    log = lbsim.run(replace_latency(scenario()), "compiled").packets
    assert log is not None
    for flow in range(40):
        assert len(set(log.core[log.flow == flow].tolist())) == 1
