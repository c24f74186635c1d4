"""Synthesis: what traffic classes do equals what the functions do, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from itertools import combinations, pairwise
from math import prod

import numpy as np
import pytest
from chains import chains, packets, rewriting
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.chain import Header, Synthesis, Write, execute, run, synthesise, tables
from lbsim.chain.space import SIZES, header_of
from lbsim.scenario import (
    Backends,
    Dpi,
    Firewall,
    Forward,
    Monitor,
    Napt,
    Route,
    Router,
    Rule,
    Sanity,
)
from lbsim.scenario.functions import AnyFunction
from lbsim.workload.packets import FlowTable

TCP = 6


def address(text: str) -> int:
    return int(IPv4Address(text))


def flows_of(headers: Sequence[Header]) -> FlowTable:
    def column(addresses: list[int]) -> np.ndarray:
        cells = (
            a.to_bytes(4, "big") + bytes([7] * 12) if h.version == 4 else a.to_bytes(16, "big")
            for a, h in zip(addresses, headers, strict=True)
        )
        return np.frombuffer(b"".join(cells), np.uint8).reshape(len(headers), 16)

    ports = (np.array([h[k] for h in headers], np.uint16) for k in (3, 4))
    version, proto = (np.array([h[k] for h in headers], np.uint8) for k in (6, 2))
    return FlowTable(
        column([h.src for h in headers]), column([h.dst for h in headers]), version, proto, *ports
    )


def same(synthesis: Synthesis, headers: Sequence[Header]) -> None:
    """Send packets both ways: verdicts, headers and tables must be equal."""
    ones, others = tables(synthesis.functions), tables(synthesis.functions)
    for header in headers:
        assert run(synthesis, header, others) == execute(synthesis.functions, header, ones)
        assert others == ones


@given(st.data(), chains)
def test_classes_do_what_the_functions_do(data: st.DataObject, parts: list[AnyFunction]) -> None:
    same(synthesise(parts), data.draw(packets(parts)))


@given(st.data(), rewriting)
def test_rewrites_that_later_functions_match_on(data: st.DataObject, parts: list[AnyFunction]) -> None:
    same(synthesise(parts), data.draw(packets(parts)))


@pytest.mark.slow
@settings(max_examples=2000)
@given(st.data(), chains | rewriting)
def test_many_chains(data: st.DataObject, parts: list[AnyFunction]) -> None:
    same(synthesise(parts), data.draw(packets(parts)))


@settings(max_examples=50)
@given(chains | rewriting)
def test_classes_are_disjoint_and_cover_the_space(parts: list[AnyFunction]) -> None:
    synthesis = synthesise(parts)
    for segment in synthesis.segments:
        numbers = [k for k, each in enumerate(synthesis.classes) if each.first == segment.first]
        regions = [region for number in numbers for region in synthesis.regions(number)]
        assert sum(region.size for region in regions) == prod(SIZES)
        if len(regions) < 60:
            assert not any(a.meets(b) for a, b in combinations(regions, 2))
        for number in numbers:
            assert len(synthesis.regions(number)) > 0


@given(chains | rewriting)
def test_one_write_of_a_field_and_one_access_to_a_state(parts: list[AnyFunction]) -> None:
    synthesis = synthesise(parts)
    assert len(set(synthesis.classes)) == len(synthesis.classes)
    for each in synthesis.classes:
        fields = [write.field for write in each.writes]
        assert len(fields) == len(set(fields))
        assert list(each.stateful) == sorted(set(each.stateful))
        assert set(each.stateful) <= set(each.acts) <= set(each.visits)
        assert list(each.visits) == list(range(each.first, each.last))
        if each.dropped_by is not None:
            assert (each.writes, each.then, each.last) == ((), None, each.dropped_by + 1)
        elif each.then is None:
            assert each.last == len(parts)
        else:
            assert each.last == each.then > each.first
            assert any(segment.first == each.then for segment in synthesis.segments)


@settings(max_examples=40)
@given(st.data(), chains | rewriting)
def test_flows_have_the_class_of_their_headers(data: st.DataObject, parts: list[AnyFunction]) -> None:
    synthesis = synthesise(parts)
    headers = data.draw(packets(parts))
    flows = flows_of(headers)
    of = synthesis.of(flows)
    assert of.dtype == np.int32
    for row, header in enumerate(headers):
        assert header_of(flows, row) == header._replace(ttl=64)
        number = synthesis.classify(header._replace(ttl=64))
        assert of[row] == number
        inside = [k for k in range(len(synthesis.classes)) if synthesis.classes[k].first == 0]
        regions = {k: synthesis.regions(k) for k in inside}
        assert [k for k in inside if any(header._replace(ttl=64) in r for r in regions[k])] == [number]
    low = [synthesis.classify(header._replace(ttl=1)) for header in headers]
    assert synthesis.of(flows, ttl=1).tolist() == low


@given(st.data(), chains | rewriting)
def test_passes_lead_to_what_becomes_of_a_flow(data: st.DataObject, parts: list[AnyFunction]) -> None:
    synthesis = synthesise(parts)
    headers = [h._replace(ttl=64) for h in data.draw(packets(parts))]
    passes = synthesis.passes(flows_of(headers))
    state = tables(synthesis.functions)
    assert passes[:, 0].tolist() == synthesis.of(flows_of(headers)).tolist()
    for row, header in zip(passes.tolist(), headers, strict=True):
        verdict = execute(synthesis.functions, header, state)
        passed = [synthesis.classes[number] for number in row if number >= 0]
        last = passed[-1]
        assert all(each.then == after.first for each, after in pairwise(passed))
        if verdict.dropped_by is None or last.dropped_by is not None:
            assert last.then is None
        if verdict.dropped_by not in last.stateful:  # else for want of room
            assert last.dropped_by == verdict.dropped_by


# By hand


def test_the_chain_of_metron() -> None:
    """Firewall of 643 rules, router of 3117 routes, NAPT (TOCS 2021)."""
    synthesis = synthesise([Firewall(default="deny"), Router(), Napt()])
    assert len(synthesis.segments) == 1
    ttl, translated = Write("ttl", 1), (Write("src", address("203.0.113.1")), Write("sport", 0, 2))
    kinds = {(each.dropped_by, each.writes, each.stateful, each.acts) for each in synthesis.classes}
    assert kinds == {
        (0, (), (), ()),  # no rule allows it
        (1, (), (), ()),  # its time to live runs out
        (None, (ttl, Write("port", 0)), (), (1,)),  # neither TCP nor UDP
        (None, (ttl, Write("port", 1)), (), (1,)),
        (None, (*translated, ttl, Write("port", 0)), (2,), (1, 2)),
        (None, (*translated, ttl, Write("port", 1)), (2,), (1, 2)),
    }
    assert len(synthesis.classes) == len(kinds)
    assert {each.port for each in synthesis.classes if each.writes} == {0, 1}
    assert sum(len(synthesis.regions(k)) for k in range(len(kinds))) < 20


def test_rules_that_change_nothing_vanish() -> None:
    with_rules, without = synthesise([Firewall(rules=643), Monitor()]), synthesise([Forward(), Monitor()])
    (one,), (other,) = with_rules.classes, without.classes
    assert one.stateful == other.stateful == (1,)
    assert (one.writes, other.writes) == ((), (Write("port", 0),))
    assert len(synthesise([Firewall(rules=(Rule(action="deny", src="0.0.0.0/0"),) * 9)]).classes) == 2


def test_packets_that_will_be_dropped_are_dropped_at_once() -> None:
    late = Firewall(rules=(Rule(action="deny", dport=(22, 22)),))
    synthesis = synthesise([Router(routes=(Route(prefix="0.0.0.0/0"),)), Sanity(), Monitor(), Dpi(), late])
    number = synthesis.classify(Header(1, 2, TCP, 9, 22))
    dropped = synthesis.classes[number]
    assert (dropped.dropped_by, dropped.writes) == (4, ())
    assert dropped.acts == (
        2,
        3,
    )  # state and payload see the packet; its header is neither checked nor written
    assert dropped.visits == (0, 1, 2, 3, 4)
    served = synthesis.classes[synthesis.classify(Header(1, 2, TCP, 9, 23))]
    assert served.acts == (0, 1, 2, 3)


def test_constants_decide_for_later_functions() -> None:
    outside = Firewall(rules=(Rule(action="allow", src="203.0.113.1/32"),), default="deny")
    synthesis = synthesise([Napt(), outside])
    assert len(synthesis.segments) == 1
    tcp, icmp = (synthesis.classify(Header(1, 2, proto)) for proto in (TCP, 1))
    assert [synthesis.classes[k].dropped_by for k in (tcp, icmp)] == [None, 1]


def test_values_from_a_table_decide_where_all_agree() -> None:
    some = Firewall(rules=(Rule(action="deny", sport=(1024, 1030), dport=(22, 22)),))
    agreed = synthesise([Napt(first=1024, last=1030), some])
    assert len(agreed.segments) == 1
    ssh, web = (agreed.classes[agreed.classify(Header(1, 2, TCP, 9, port))] for port in (22, 80))
    assert (ssh.dropped_by, ssh.stateful, web.dropped_by) == (1, (0,), None)

    cut = synthesise([Napt(first=1024, last=1031), some])
    assert [segment.first for segment in cut.segments] == [0, 1]
    ssh, web = (cut.classes[cut.classify(Header(1, 2, TCP, 9, port))] for port in (22, 80))
    assert (ssh.then, ssh.dropped_by, ssh.acts) == (1, None, (0,))
    assert (web.then, web.dropped_by) == (None, None)
    clients = [Header(k, 2, TCP, 9, 22) for k in range(9)]
    passes = cut.passes(flows_of(clients))
    fates = [[cut.classes[number].dropped_by for number in row if number >= 0] for row in passes.tolist()]
    assert fates == [*[[None, 1]] * 7, [None, None], [None]]  # seven low ports, the last one, and no more


def test_backends_behind_a_router_are_routed_by_their_own_address() -> None:
    routes = (Route(prefix="198.51.100.0/31", port=1), Route(prefix="0.0.0.0/0", port=2))
    near, both = (
        synthesise([Backends(number=n, service="192.0.2.1"), Router(routes=routes)]) for n in (2, 3)
    )
    asked = Header(1, address("192.0.2.1"), TCP, 9, 80)
    assert near.classes[near.classify(asked)].port == 1
    assert both.classes[both.classify(asked)].then == 1
    state = tables(both.functions)
    ports = [run(both, asked._replace(sport=k), state).header for k in range(4)]
    assert [got and got.port for got in ports] == [1, 1, 2, 1]


def test_time_to_live_through_routers() -> None:
    synthesis = synthesise([Router(routes=0), Router(routes=0), Router(routes=0)])
    numbers = [synthesis.classify(Header(1, 2, TCP, ttl=ttl)) for ttl in range(6)]
    assert [synthesis.classes[number].dropped_by for number in numbers] == [0, 0, 1, 2, None, None]
    assert synthesis.classes[numbers[4]].writes == (Write("ttl", 3), Write("port", 0))


def test_two_translations_write_once() -> None:
    synthesis = synthesise([Napt(first=5000), Napt(address="192.0.2.77", first=7000)])
    number = synthesis.classify(Header(1, 2, TCP, 9, 80))
    both = synthesis.classes[number]
    assert both.writes == (Write("src", address("192.0.2.77")), Write("sport", 0, 1))
    assert both.stateful == (0, 1)
    assert both.accesses[1].sees == (Write("src", address("203.0.113.1")), Write("sport", 0, 0))
    verdict = run(synthesis, Header(1, 2, TCP, 9, 80), tables(synthesis.functions))
    assert verdict.header is not None
    assert verdict.header.sport == 7000
