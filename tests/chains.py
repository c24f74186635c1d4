"""Random service chains, and packets near the borders of their rules."""

from __future__ import annotations

from hypothesis import strategies as st

from lbsim.chain import Header, resolve
from lbsim.chain.space import IPV6
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

NETWORKS = (
    *("0.0.0.0/0", "0.0.0.0/1", "10.0.0.0/8", "10.64.0.0/10", "10.64.0.1/32", "192.0.2.0/24", "192.0.2.1/32"),
    *("198.51.100.0/30", "198.51.100.0/31", "198.51.100.2/32", "203.0.113.1/32", "255.255.255.255/32"),
)
"""Nested and disjoint networks; some cut through the backends, one is the address outside of NAPT."""

PORTS = ((0, 0), (0, 65535), (22, 22), (80, 443), (1024, 1025), (1024, 1027), (1026, 65535))
"""Ranges of ports; some cut through those that NAPT hands out."""

PROTOCOLS = (1, 6, 17, 132)

rules = st.builds(
    Rule,
    action=st.sampled_from(["allow", "deny"]),
    src=st.none() | st.sampled_from(NETWORKS),
    dst=st.none() | st.sampled_from(NETWORKS),
    proto=st.none() | st.sampled_from(PROTOCOLS),
    sport=st.none() | st.sampled_from(PORTS),
    dport=st.none() | st.sampled_from(PORTS),
)
routes = st.builds(Route, prefix=st.sampled_from(NETWORKS), port=st.integers(0, 3))
few = st.sampled_from([1, 3, 1000])
seeds = st.integers(0, 3)

firewalls = st.builds(
    Firewall,
    rules=st.lists(rules, max_size=6).map(tuple) | st.sampled_from([0, 1, 643]),
    default=st.sampled_from(["allow", "deny"]),
    seed=seeds,
)
routers = st.builds(
    Router, routes=st.lists(routes, max_size=6).map(tuple) | st.sampled_from([0, 5]), seed=seeds
)
backends = st.builds(
    Backends,
    number=st.sampled_from([1, 2, 4]),
    service=st.sampled_from(["192.0.2.1", "198.51.100.2"]),
    capacity=few,
)
stateful = st.one_of(
    st.builds(
        Napt,
        address=st.sampled_from(["203.0.113.1", "10.64.0.1"]),
        first=st.just(1024),
        last=st.sampled_from([1024, 1027]),
        capacity=few,
    ),
    backends,
    st.builds(Monitor, capacity=few),
)
plain = st.sampled_from([Forward(), Sanity(), Dpi(), WorkPackage()])
functions = firewalls | routers | stateful | plain


def _joined(*parts: list[AnyFunction]) -> list[AnyFunction]:
    return [function for part in parts for function in part][:6]


chains = st.lists(functions, min_size=1, max_size=6)

cutting = st.builds(
    Firewall,
    rules=st.lists(
        st.builds(Rule, action=st.just("deny"), sport=st.sampled_from(PORTS[4:]), dst=st.just(None))
        | st.builds(Rule, action=st.just("deny"), dst=st.sampled_from(NETWORKS[8:10]), proto=st.just(6)),
        min_size=1,
        max_size=3,
    ).map(tuple),
) | st.builds(Router, routes=st.just((Route(prefix="0.0.0.0/0"), Route(prefix="198.51.100.0/31", port=2))))
rewriting = st.builds(
    _joined,
    st.lists(st.just(Monitor()) | st.just(Router(routes=0)), max_size=1),
    st.lists(st.builds(Napt, first=st.just(1024), last=st.just(1027)) | backends, min_size=1, max_size=2),
    st.lists(cutting, min_size=1, max_size=2),
    st.lists(functions | cutting, max_size=2),
)
"""Chains in which functions match on what an earlier one's table writes."""


def values(parts: list[AnyFunction], field: int, largest: int) -> list[int]:
    """Values of a field beside every border that some rule has there, and their like."""
    borders = {0, largest + 1}
    for function in map(resolve, parts):
        borders |= {end for where, _ in function.rules[:20] for end in where[field]}
        borders |= set(function.values)
    return sorted({v for b in borders for v in (b - 1, b) if 0 <= v <= largest})


@st.composite
def packets(draw: st.DrawFn, parts: list[AnyFunction], most: int = 12) -> list[Header]:
    """Packets near the borders of a chain's rules; some flows come more than once."""
    addresses = [st.sampled_from(values(parts, field, IPV6 - 1)) for field in (0, 1)]
    ports = [st.sampled_from([1024, 80, *values(parts, field, 65535)]) for field in (3, 4)]
    drawn: list[Header] = []
    for _ in range(draw(st.integers(1, most))):
        if drawn and draw(st.booleans()):
            again = draw(st.sampled_from(drawn))
            change = draw(st.sampled_from(["nothing", "sport", "ttl"]))
            number = draw({"sport": ports[0], "ttl": st.integers(0, 4)}.get(change, st.none()))
            drawn.append(again if number is None else again._replace(**{change: number}))
            continue
        version = draw(st.sampled_from([4, 4, 4, 6]))
        src, dst = (draw(each) + (version == 6) * (draw(st.integers(0, 3)) << 32) for each in addresses)
        proto = draw(st.sampled_from(PROTOCOLS))
        sport, dport = (draw(each) if proto != 1 else 0 for each in ports)
        ttl = draw(st.sampled_from([64, 64, 255, 0, 1, 2, 3]))
        drawn.append(Header(src, dst, proto, sport, dport, ttl, version))
    return drawn
