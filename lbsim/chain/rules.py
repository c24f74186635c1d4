"""What firewalls and routers match on: rules and routes, as given or made up, as boxes of header space."""

from __future__ import annotations

from typing import Final

from lbsim.chain.space import EVERYTHING, IPV4, Box, Interval, network
from lbsim.rng import stream
from lbsim.scenario import Firewall, Router, Rule

TCP, UDP, SCTP = 6, 17, 132
LENGTH: Final = (
    10  # bits of a made-up rule's prefix: Metron's firewall of 643 rules has source networks of /10
)
UNICAST: Final[Interval] = (1 << 24, 224 << 24)  # where made-up hosts are: 1.0.0.0 to 223.255.255.255
HALVES: Final = (((0, 1 << 31), 0), ((1 << 31, IPV4[1]), 1))  # the default of made-up routes: 0/1 and 128/1


def allowing(firewall: Firewall) -> list[tuple[Box, bool]]:
    """Return the rules of a firewall in order, each with whether it allows; the last is its default.

    Made-up rules allow distinct random source prefixes of one length, 10 bits or as many as their number
    needs, as the 643 rules of Metron's chains do (TOCS 2021).
    """
    default = (EVERYTHING, firewall.default == "allow")
    if isinstance(firewall.rules, tuple):
        given = [(each, rule.action == "allow") for rule in firewall.rules for each in _boxes(rule)]
        return [*given, default]
    bits = max(LENGTH, (firewall.rules - 1).bit_length())
    draws = stream(firewall.seed, "rules").choice(1 << bits, firewall.rules, replace=False)
    shift = 32 - bits
    return [*((Box(src=(k << shift, k + 1 << shift)), True) for k in draws.tolist()), default]


def routed(router: Router) -> list[tuple[Box, int]]:
    """Return the routes of a router, longest prefix first, each with its output port.

    Made-up routes are to distinct random hosts (/32) by ports 0 and 1, beside a default in two halves: 0/1
    by port 0 and 128/1 by port 1. Metron's chains have 3117 routes to hosts (TOCS 2021).
    """
    if isinstance(router.routes, tuple):
        routes = [(network(route.prefix), route.port) for route in router.routes]
        routes.sort(
            key=lambda route: route[0][1] - route[0][0]
        )  # stable: of equal ones the first stays first
    else:
        draws = stream(router.seed, "routes")
        hosts = draws.choice(UNICAST[1] - UNICAST[0], router.routes, replace=False) + UNICAST[0]
        ports = draws.integers(0, len(HALVES), router.routes)
        pairs = zip(hosts.tolist(), ports.tolist(), strict=True)
        routes = [*(((host, host + 1), port) for host, port in pairs), *HALVES]
    return [(Box(src=IPV4, dst=addresses), port) for addresses, port in routes]


def _boxes(rule: Rule) -> list[Box]:
    """Return the headers that a rule matches; one with ports asks for a protocol that has ports."""
    fields: dict[str, Interval] = {}
    if rule.src is not None or rule.dst is not None:
        fields["src"] = IPV4 if rule.src is None else network(rule.src)
    if rule.dst is not None:
        fields["dst"] = network(rule.dst)
    if rule.sport is not None:
        fields["sport"] = (rule.sport[0], rule.sport[1] + 1)
    if rule.dport is not None:
        fields["dport"] = (rule.dport[0], rule.dport[1] + 1)
    ported = rule.sport is not None or rule.dport is not None
    if rule.proto is None and not ported:
        return [Box(**fields)]
    protocols = (TCP, UDP, SCTP) if rule.proto is None else (rule.proto,)
    return [
        Box(**fields, proto=(proto, proto + 1))
        for proto in protocols
        if not ported or proto in (TCP, UDP, SCTP)
    ]
