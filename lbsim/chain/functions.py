"""Network functions on headers: what each does to a packet, one after the other. The specification.

A function is a list of rules, of which the first that matches decides: drop the packet, or write some
constants, take some hops off its time to live, and maybe look its flow up in the function's table, which
may give one more value to write or no room. Functions that look into packets (DPI, WorkPackage) change no
header. Synthesis (`lbsim.chain.synthesis`) must do the same in fewer steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from lbsim.chain.rules import TCP, UDP, allowing, routed
from lbsim.chain.space import EVERYTHING, IPV4, Box, Header, Interval, network, point
from lbsim.scenario import Backends, Firewall, Forward, Monitor, Napt, Router, Sanity
from lbsim.scenario.functions import AnyFunction

FlowKey = tuple[int, ...]
KEY: Final = ("version", "proto", "src", "sport", "dst", "dport")
"""Fields of a header that tell its flow from others: all that a look-up sees of it."""

PAYLOAD, WORK, VALIDITY = "payload", "work", "validity"
SEES: Final = {"dpi": PAYLOAD, "work_package": WORK, "sanity": VALIDITY}
"""What functions look at beside the fields of the header space: the packet's bytes, memory, whether lengths
and checksums are right."""


class Decision(NamedTuple):
    """What a function does with the packets that a rule of it matches."""

    drops: bool = False
    writes: tuple[tuple[str, int], ...] = ()  # constants, by the name of the header's field
    hops: int = 0  # taken off the time to live
    looks: bool = False  # the packet's flow up in the table


PASS: Final = Decision()
DROP: Final = Decision(drops=True)
LOOK: Final = Decision(looks=True)


@dataclass
class Table:
    """What a stateful function remembers."""

    entries: dict[FlowKey, int] = field(default_factory=dict)  # what it knows of each flow
    used: Counter[FlowKey] = field(default_factory=Counter)  # ports handed out towards each destination


Look = Callable[[Header, Table], int | None]
"""Look up a header's flow, which enters it if new; return a value to write, None where there is no room."""


class NetworkFunction(NamedTuple):
    """A network function in terms of headers."""

    kind: str
    rules: tuple[tuple[Box, Decision], ...]  # the last matches everything
    look: Look | None = None  # what its table says; None without state
    field: str = ""  # that the looked-up value is written to; "" for none
    values: Interval = (0, 1)  # where looked-up values are
    sees: str = ""  # what it looks at beyond the header


class Verdict(NamedTuple):
    """What becomes of a packet."""

    dropped_by: int | None  # place of the function in the chain; None: it leaves
    header: Header | None  # as it leaves; None where it is dropped


def resolve(function: AnyFunction) -> NetworkFunction:
    """Return what a function of a scenario does to headers.

    Raises ValueError for backends beyond the last IPv4 address.
    """
    kind = function.kind
    match function:
        case Forward():
            return NetworkFunction(kind, ((EVERYTHING, Decision(writes=(("port", 0),))),))
        case Firewall():
            allowed = ((where, PASS if allows else DROP) for where, allows in allowing(function))
            return NetworkFunction(kind, tuple(allowed))
        case Router():
            routes = ((at, Decision(writes=(("port", to),), hops=1)) for at, to in routed(function))
            return NetworkFunction(kind, ((Box(ttl=(0, 2)), DROP), *routes, (EVERYTHING, DROP)))
        case Napt():
            translate = Decision(writes=(("src", int(IPv4Address(function.address))),), looks=True)
            inside = ((Box(src=IPV4, proto=(p, p + 1)), translate) for p in (TCP, UDP))
            look, values = partial(_free_port, function), (function.first, function.last + 1)
            return NetworkFunction(kind, (*inside, (EVERYTHING, PASS)), look, "sport", values)
        case Backends():
            first = int(IPv4Address(function.first))
            values = (first, first + function.number)
            asked = Box(src=IPV4)
            if function.service is not None:
                asked = asked._replace(dst=network(function.service))
            look = partial(_next_backend, values, function.capacity)
            return NetworkFunction(kind, ((asked, LOOK), (EVERYTHING, PASS)), look, "dst", values)
        case Monitor():
            return NetworkFunction(kind, ((EVERYTHING, LOOK),), partial(_count, function.capacity))
        case Sanity():
            return NetworkFunction(kind, ((Box(ttl=(0, 1)), DROP), (EVERYTHING, PASS)), sees=SEES[kind])
        case _:
            return NetworkFunction(kind, ((EVERYTHING, PASS),), sees=SEES[kind])


def tables(functions: Sequence[NetworkFunction]) -> list[Table]:
    """Return an empty table for each function of a chain."""
    return [Table() for _ in functions]


def decision(function: NetworkFunction, header: Header) -> Decision:
    """Return what a function does with a packet: what its first rule says that matches."""
    at = point(header)
    for where, what in function.rules:
        if all(first <= value < last for value, (first, last) in zip(at, where, strict=True)):
            return what
    raise AssertionError("the last rule matches everything")


def execute(functions: Sequence[NetworkFunction], header: Header, state: Sequence[Table]) -> Verdict:
    """Send one packet through the functions, one after the other; their tables change in place."""
    for k, function in enumerate(functions):
        drops, writes, hops, looks = decision(function, header)
        if drops:
            return Verdict(k, None)
        written = dict(writes, ttl=header.ttl - hops)
        if looks and function.look is not None:
            value = function.look(header, state[k])
            if value is None:
                return Verdict(k, None)
            if function.field:
                written[function.field] = value
        header = header._replace(**written)
    return Verdict(None, header)


def flow_key(header: Header) -> FlowKey:
    """Return the `KEY` of a packet."""
    return header.version, header.proto, header.src, header.sport, header.dst, header.dport


def _free_port(napt: Napt, header: Header, table: Table) -> int | None:
    """Return the source port of a flow outside; a new one gets the next that its destination has not seen."""
    key, towards = flow_key(header), (header.proto, header.dst, header.dport)
    if key not in table.entries:
        port = napt.first + table.used[towards]
        if port > napt.last or len(table.entries) >= napt.capacity:
            return None
        table.used[towards] += 1
        table.entries[key] = port
    return table.entries[key]


def _next_backend(values: Interval, capacity: int, header: Header, table: Table) -> int | None:
    """Return the backend of a flow; a new one gets the next in turn."""
    key, (first, last) = flow_key(header), values
    if key not in table.entries:
        if len(table.entries) >= capacity:
            return None
        table.entries[key] = first + len(table.entries) % (last - first)
    return table.entries[key]


def _count(capacity: int, header: Header, table: Table) -> int:
    """Count a packet of a flow; where there is no room for its flow, it passes uncounted."""
    key = flow_key(header)
    if key in table.entries or len(table.entries) < capacity:
        table.entries[key] = table.entries.get(key, 0) + 1
    return 0
