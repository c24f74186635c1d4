"""Parts of packet headers as scenarios write them: addresses, prefixes, ranges of ports."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from lbsim.scenario.errors import show


def _address(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except AddressValueError:
        raise ValueError(f'{show(value)} is no IPv4 address; write e.g. "192.0.2.1"') from None


def _prefix(value: str) -> str:
    try:
        network = IPv4Network(value, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise ValueError(f'{show(value)} is no IPv4 prefix; write e.g. "192.0.2.0/24"') from None
    if str(IPv4Address(value.partition("/")[0])) != str(network.network_address):
        raise ValueError(
            f'{show(value)} has bits set beyond its length of {network.prefixlen}; write "{network}"'
        )
    return str(network)


def _ports(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError(f"[{value[0]}, {value[1]}] is empty; write the lower port first")
    return value


def _pair(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Address = Annotated[str, Field(max_length=64, examples=["192.0.2.1"]), AfterValidator(_address)]
"""An IPv4 address."""

Prefix = Annotated[str, Field(max_length=64, examples=["192.0.2.0/24"]), AfterValidator(_prefix)]
"""An IPv4 prefix with its length; one without is a whole address."""

Port = Annotated[int, Field(ge=0, le=65535)]

Ports = Annotated[tuple[Port, Port], BeforeValidator(_pair), AfterValidator(_ports)]
"""The first and the last port of a range."""
