"""Network functions: what a service chain is made of."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator

from lbsim.scenario.headers import Address, Port, Ports, Prefix
from lbsim.scenario.part import Part

MOST_RULES: Final = 65_536

LIST, NUMBER = "list", "number"
"""How rules may be given: one by one, or as many as a number says, made up."""


def _given(value: Any) -> str:
    return LIST if isinstance(value, list | tuple) else NUMBER


def _array(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


_Number = Annotated[int, Field(ge=0, le=MOST_RULES), Tag(NUMBER)]


class Rule(Part):
    """A rule of a firewall: it holds for packets that match every field it has; the first that holds decides.

    A flow of IPv6 matches only rules without prefixes.
    """

    action: Literal["allow", "deny"]
    """What becomes of a packet that matches."""
    src: Prefix | None = None
    """Source addresses; left out, any."""
    dst: Prefix | None = None
    """Destination addresses."""
    proto: int | None = Field(default=None, ge=0, le=255)
    """Protocol number: 6 is TCP, 17 UDP."""
    sport: Ports | None = None
    """First and last source port."""
    dport: Ports | None = None
    """First and last destination port."""


class Route(Part):
    """A route: of those whose prefix matches, the longest wins; of equal ones the first."""

    prefix: Prefix
    """Destination addresses."""
    port: int = Field(default=0, ge=0, le=1023)
    """Output port."""


class Function(Part):
    """What all network functions share."""

    kind: str
    box: Literal["inline", "ring", "sriov"] = "inline"
    """Where it runs. inline: in the process of the chain. ring: in a process of its own on a core of its own,
    a ring in memory away. sriov: likewise, but packets go through the NIC, from virtual function to virtual
    function."""


class Forward(Function):
    """Forwards packets as they are, to output port 0."""

    kind: Literal["forward"] = "forward"


class Firewall(Function):
    """Drops packets by rules on addresses, protocol and ports."""

    kind: Literal["firewall"] = "firewall"
    rules: Annotated[
        _Number | Annotated[tuple[Rule, ...], BeforeValidator(_array), Tag(LIST)], Discriminator(_given)
    ] = 643
    """The rules, in order; or how many are made up, which allow random source prefixes. 643: the firewall of
    Metron's chains (TOCS 2021)."""
    default: Literal["allow", "deny"] = "allow"
    """What becomes of packets that match none."""
    seed: int = Field(default=0, ge=0, le=2**31)
    """Made-up rules are drawn from it."""


class Router(Function):
    """Chooses the output port by the longest prefix of the destination, and decrements the time to live."""

    kind: Literal["router"] = "router"
    routes: Annotated[
        _Number | Annotated[tuple[Route, ...], BeforeValidator(_array), Tag(LIST)], Discriminator(_given)
    ] = 3117
    """The routes; or how many are made up, of single addresses, beside a default. 3117: the router of
    Metron's chains (TOCS 2021)."""
    seed: int = Field(default=0, ge=0, le=2**31)
    """Made-up routes are drawn from it."""


class Napt(Function):
    """Translates source address and port of every flow to one address and a free port of it (RFC 3022)."""

    kind: Literal["napt"] = "napt"
    address: Address = "203.0.113.1"
    """The address outside."""
    first: Port = 1024
    """First port it hands out."""
    last: Port = 65535
    """Last port it hands out."""
    capacity: int = Field(default=65_536, ge=1, le=2**31)
    """Flows it remembers."""

    @field_validator("last")
    @classmethod
    def _some_port(cls, last: int, info: ValidationInfo) -> int:
        first = info.data.get("first", 0)
        if last < first:
            raise ValueError(f"{last} is below first {first}; raise last or lower first")
        return last


class Backends(Function):
    """A load balancer as network function: every flow goes to one of the backends, which take turns."""

    kind: Literal["backends"] = "backends"
    number: int = Field(default=32, ge=1, le=65_536)
    """Backends."""
    service: Address | None = None
    """The address that clients talk to; packets to others pass. Left out, all of IPv4 goes to
    the backends."""
    first: Address = "198.51.100.0"
    """Address of the first backend; the others follow."""
    capacity: int = Field(default=65_536, ge=1, le=2**31)
    """Flows it remembers."""

    @field_validator("first")
    @classmethod
    def _addresses_for_all(cls, first: str, info: ValidationInfo) -> str:
        number = info.data.get("number", 1)
        if int(IPv4Address(first)) + number > 2**32:
            raise ValueError(f"{first} and the {number - 1} after it are beyond 255.255.255.255; lower it")
        return first


class Monitor(Function):
    """Counts packets and bytes of every flow."""

    kind: Literal["monitor"] = "monitor"
    capacity: int = Field(default=65_536, ge=1, le=2**31)
    """Flows it counts."""


class Dpi(Function):
    """Looks for patterns in every byte of a packet."""

    kind: Literal["dpi"] = "dpi"
    patterns: int = Field(default=1, ge=1, le=10**6)
    """Patterns that it looks for."""


class Sanity(Function):
    """Checks that headers make sense: lengths, checksum, time to live."""

    kind: Literal["sanity"] = "sanity"


class WorkPackage(Function):
    """Synthetic work: random numbers, and accesses to memory (FastClick's element of that name)."""

    kind: Literal["work_package"] = "work_package"
    draws: int = Field(default=0, ge=0, le=10**6, examples=[400])
    """Random numbers that it draws for each packet."""
    accesses: int = Field(default=0, ge=0, le=10**6, examples=[10])
    """Accesses to memory for each packet."""
    size_mb: float = Field(default=0.0, ge=0, le=10**5, examples=[1.0])
    """Memory that they go to, in MB."""
    payload: float = Field(default=0.0, ge=0, le=1)
    """Share of them that go to the packet instead."""


AnyFunction = Forward | Firewall | Router | Napt | Backends | Monitor | Dpi | Sanity | WorkPackage
"""Every network function."""

FUNCTION_KINDS: Final[tuple[type[Part], ...]] = (
    *(Forward, Firewall, Router, Napt, Backends),
    *(Monitor, Dpi, Sanity, WorkPackage),
)
