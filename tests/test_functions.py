"""Network functions on headers, checked against the addresses and prefixes of the standard library."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from chains import chains, firewalls, packets, routers
from hypothesis import given
from hypothesis import strategies as st

from lbsim.chain import Header, Table, Verdict, execute, resolve, tables
from lbsim.chain.rules import allowing, routed
from lbsim.chain.space import EVERYTHING, IPV4, network
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
    WorkPackage,
)
from lbsim.scenario.functions import AnyFunction

TCP, UDP = 6, 17


def packet(src: str, dst: str, proto: int = TCP, sport: int = 5000, dport: int = 80, ttl: int = 64) -> Header:
    return Header(int(IPv4Address(src)), int(IPv4Address(dst)), proto, sport, dport, ttl)


def ipv6(src: int = 1 << 125, dst: int = 5, proto: int = TCP, dport: int = 80) -> Header:
    return Header(src, dst, proto, 5000, dport, version=6)


def sent(function: AnyFunction, headers: list[Header], table: Table | None = None) -> list[Header | None]:
    """What one function makes of packets, in order; None where it drops one."""
    resolved, state = resolve(function), Table() if table is None else table
    return [execute([resolved], header, [state]).header for header in headers]


# Firewalls


def allowed(firewall: Firewall, header: Header) -> bool:
    """Oracle: rules given one by one."""
    assert isinstance(firewall.rules, tuple)
    for rule in firewall.rules:
        if (rule.src or rule.dst) and header.version == 6:
            continue
        fields = [
            rule.src is None or IPv4Address(header.src) in IPv4Network(rule.src),
            rule.dst is None or IPv4Address(header.dst) in IPv4Network(rule.dst),
            rule.proto is None or header.proto == rule.proto,
            rule.sport is None or rule.sport[0] <= header.sport <= rule.sport[1],
            rule.dport is None or rule.dport[0] <= header.dport <= rule.dport[1],
            (rule.sport is None and rule.dport is None) or header.proto in (6, 17, 132),
        ]
        if all(fields):
            return rule.action == "allow"
    return firewall.default == "allow"


@given(st.data(), firewalls.filter(lambda each: isinstance(each.rules, tuple)))
def test_firewalls_equal_the_oracle(data: st.DataObject, firewall: Firewall) -> None:
    some = data.draw(packets([firewall]))
    assert sent(firewall, some) == [each if allowed(firewall, each) else None for each in some]


def test_ports_are_asked_for_only_where_there_are_ports() -> None:
    web = Firewall(rules=(Rule(action="deny", dport=(0, 443)),))
    some = [packet("10.0.0.1", "10.0.0.2", proto, 0, 0) for proto in (1, 6, 17, 47, 132)]
    assert [got is None for got in sent(web, some)] == [False, True, True, False, True]
    never = Firewall(rules=(Rule(action="deny", proto=1, dport=(0, 65535)),))
    assert sent(never, some) == some


def test_rules_with_prefixes_leave_ipv6_alone() -> None:
    everyone = Firewall(rules=(Rule(action="deny", src="0.0.0.0/0"), Rule(action="deny", dst="0.0.0.0/0")))
    assert sent(everyone, [ipv6()]) == [ipv6()]
    web = Firewall(rules=(Rule(action="deny", proto=6, dport=(80, 80)),))
    assert sent(web, [ipv6(), ipv6(dport=81)]) == [None, ipv6(dport=81)]


@pytest.mark.parametrize(
    ("number", "length"), [(1, 10), (643, 10), (1024, 10), (1025, 11), (4000, 12), (65536, 16)]
)
def test_made_up_rules_are_distinct_prefixes_of_one_length(number: int, length: int) -> None:
    *made, (where, allows) = allowing(Firewall(rules=number, default="deny"))
    assert (where, allows) == (EVERYTHING, False)
    assert len(made) == number == len({box for box, _ in made})
    assert all(allows for _, allows in made)
    size = 1 << 32 - length
    for box, _ in made:
        assert box.src[0] % size == 0
        assert box == EVERYTHING._replace(src=(box.src[0], box.src[0] + size))
        assert box.src[1] <= IPV4[1]


def test_made_up_rules_come_from_their_seed() -> None:
    one, again, other = (allowing(Firewall(rules=50, seed=seed)) for seed in (1, 1, 2))
    assert one == again
    assert len({box for box, _ in one[:-1]} & {box for box, _ in other[:-1]}) < 25


def test_made_up_rules_matter_where_the_default_denies() -> None:
    clients = [packet(f"10.{k}.0.1", "192.0.2.1") for k in range(0, 256, 32)]
    assert sent(Firewall(rules=643), clients) == clients
    denied = set()
    for seed in range(40):
        within = {box.src for box, _ in allowing(Firewall(rules=643, seed=seed))[:-1]}
        got = sent(Firewall(rules=643, default="deny", seed=seed), clients)
        assert got == [each if any(a <= each.src < b for a, b in within) else None for each in clients]
        denied.add(got.count(None))
    assert denied == {0, 2, 4, 6, 8}  # networks of /10: quarters of 10.0.0.0/8
    assert sent(Firewall(rules=0, default="deny"), clients[:1]) == [None]


# Routers


def chosen(router: Router, header: Header) -> int | None:
    """Oracle: the port of the longest prefix; of equal ones, of the first."""
    assert isinstance(router.routes, tuple)
    if header.version == 6:
        return None
    fits = [route for route in router.routes if IPv4Address(header.dst) in IPv4Network(route.prefix)]
    longest = max((IPv4Network(route.prefix).prefixlen for route in fits), default=None)
    return next((r.port for r in fits if IPv4Network(r.prefix).prefixlen == longest), None)


@given(st.data(), routers.filter(lambda each: isinstance(each.routes, tuple)))
def test_routers_equal_the_oracle(data: st.DataObject, router: Router) -> None:
    some = data.draw(packets([router]))
    for header, got in zip(some, sent(router, some), strict=True):
        port = chosen(router, header)
        if port is None or header.ttl <= 1:
            assert got is None
        else:
            assert got == header._replace(port=port, ttl=header.ttl - 1)


def test_made_up_routes_are_to_hosts_beside_a_default() -> None:
    *hosts, low, high = routed(Router())
    assert len(hosts) == 3117 == len({box for box, _ in hosts})
    for box, port in hosts:
        assert box == EVERYTHING._replace(src=IPV4, dst=(box.dst[0], box.dst[0] + 1))
        assert network("1.0.0.0/32")[0] <= box.dst[0] <= network("223.255.255.255/32")[0]
        assert port in (0, 1)
    assert {port for _, port in hosts} == {0, 1}
    assert [(box.dst, port) for box, port in (low, high)] == [
        (network("0.0.0.0/1"), 0),
        (network("128.0.0.0/1"), 1),
    ]
    assert routed(Router()) == routed(Router()) != routed(Router(seed=1))
    assert [got and got.port for got in sent(Router(routes=0), [packet("10.0.0.1", "192.0.2.1")])] == [1]
    host = packet("10.0.0.1", "10.0.0.1")._replace(dst=hosts[0][0].dst[0])
    assert [got and got.port for got in sent(Router(), [host])] == [hosts[0][1]]


# Functions with state


def test_napt_translates_each_flow_to_a_port_of_its_own() -> None:
    napt, table = Napt(address="203.0.113.9", first=2000, last=2001), Table()
    a, b = packet("10.0.0.1", "192.0.2.1", sport=7), packet("10.0.0.2", "192.0.2.1", sport=7)
    outside = int(IPv4Address("203.0.113.9"))
    got = sent(napt, [a, b, a, b._replace(dport=81), b._replace(proto=UDP), a._replace(sport=8)], table)
    assert [each and each.sport for each in got] == [2000, 2001, 2000, 2000, 2000, None]
    for before, after in zip([a, b, a], got, strict=False):
        assert after == before._replace(src=outside, sport=after.sport if after else -1)
    assert len(table.entries) == 4
    assert sent(napt, [b], table) == [b._replace(src=outside, sport=2001)]  # known flows keep their port


def test_napt_forgets_nothing_and_has_so_much_room() -> None:
    table = Table()
    some = [packet("10.0.0.1", f"192.0.2.{k}") for k in range(4)]
    got = sent(Napt(capacity=2), [*some, some[0]], table)
    assert [each is None for each in got] == [False, False, True, True, False]
    assert len(table.entries) == 2


def test_napt_leaves_other_protocols_and_ipv6_alone() -> None:
    some = [packet("10.0.0.1", "192.0.2.1", 1, 0, 0), packet("10.0.0.1", "192.0.2.1", 132), ipv6()]
    table = Table()
    assert sent(Napt(), some, table) == some
    assert not table.entries


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([TCP, UDP]), st.integers(0, 2)))
)
def test_answers_to_napt_find_their_flow(some: list[tuple[int, int, int, int]]) -> None:
    flows = [Header(src, dst, proto, 9, dport) for src, dst, proto, dport in some]
    got = [each for each in sent(Napt(), flows) if each is not None]
    assert len(got) == len(flows)
    assert len({(h.proto, h.dst, h.dport, h.sport) for h in got}) == len(set(flows))


def test_backends_take_flows_in_turn() -> None:
    balancer, table = Backends(number=3, service="192.0.2.1", first="198.51.100.7"), Table()
    some = [packet("10.0.0.1", "192.0.2.1", sport=k) for k in range(5)]
    first = int(IPv4Address("198.51.100.7"))
    got = sent(balancer, [*some, *some], table)
    assert [each and each.dst - first for each in got] == [0, 1, 2, 0, 1] * 2
    assert [each and each._replace(dst=0) for each in got] == [h._replace(dst=0) for h in [*some, *some]]
    other = [packet("10.0.0.1", "192.0.2.2"), ipv6()]
    assert sent(balancer, other, table) == other
    assert len(table.entries) == 5


def test_backends_without_room_drop_new_flows() -> None:
    some = [packet("10.0.0.1", "192.0.2.1", sport=k) for k in (1, 2, 1)]
    assert [got is None for got in sent(Backends(capacity=1, service="192.0.2.1"), some)] == [
        False,
        True,
        False,
    ]


def test_backends_end_where_addresses_do() -> None:
    assert resolve(Backends(number=256, first="255.255.255.0")).values[1] == IPV4[1]
    with pytest.raises(ValueError, match=r"255\.255\.255\.0 and the 256 after it are beyond 255"):
        resolve(Backends(number=257, first="255.255.255.0"))


def test_a_monitor_counts_the_packets_of_flows() -> None:
    table, a, b = Table(), packet("10.0.0.1", "192.0.2.1"), ipv6()
    assert sent(Monitor(), [a, b, a, a], table) == [a, b, a, a]
    assert list(table.entries.values()) == [3, 1]
    table = Table()
    assert sent(Monitor(capacity=1), [a, b, a], table) == [a, b, a]
    assert list(table.entries.values()) == [2]


# The others, and chains


def test_functions_that_change_no_header() -> None:
    some = [packet("10.0.0.1", "192.0.2.1", ttl=ttl) for ttl in (0, 1, 64)]
    for function in (Dpi(), WorkPackage(), Forward()):
        assert sent(function, some) == some
    assert sent(Sanity(), some) == [None, *some[1:]]
    assert sent(Forward(), [some[0]._replace(port=3)]) == [some[0]]


def test_one_after_the_other() -> None:
    parts: list[AnyFunction] = [
        Monitor(),
        Router(routes=(Route(prefix="192.0.2.0/24", port=2),)),
        Napt(),
        Firewall(rules=(Rule(action="deny", dport=(80, 80)),)),
        Monitor(),
    ]
    chain = [resolve(part) for part in parts]
    state = tables(chain)
    web, other = packet("10.0.0.1", "192.0.2.1"), packet("10.0.0.1", "192.0.2.1", dport=81)
    assert execute(chain, web, state) == Verdict(3, None)
    assert [len(table.entries) for table in state] == [1, 0, 1, 0, 0]  # those before it saw the packet
    assert execute(chain, packet("10.0.0.1", "10.0.0.1"), state) == Verdict(1, None)
    left = other._replace(src=int(IPv4Address("203.0.113.1")), sport=1024, ttl=63, port=2)
    assert execute(chain, other, state) == Verdict(None, left)
    assert list(state[4].entries) == [(4, TCP, left.src, 1024, left.dst, 81)]


@given(st.data(), chains)
def test_a_packet_leaves_or_is_dropped_by_someone(data: st.DataObject, parts: list[AnyFunction]) -> None:
    chain = [resolve(part) for part in parts]
    state = tables(chain)
    for header in data.draw(packets(parts)):
        verdict = execute(chain, header, state)
        assert (verdict.header is None) == (verdict.dropped_by is not None)
        if verdict.header is not None:
            hops = sum(isinstance(part, Router) for part in parts)
            assert verdict.header.ttl == header.ttl - hops
