"""Header space: the fields that network functions match on, and sets of headers as products of intervals.

A point of the space is (src, dst, proto, sport, dport, ttl). Rules name networks of IPv4 only, so all headers
of IPv6 share one more value of src and have dst 0: they match where a rule leaves both addresses open. A
rule that names a destination must therefore keep src within `IPV4`. Intervals are half-open: first, last + 1.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.workload.packets import FlowTable

Int64s = NDArray[np.int64]
Interval = tuple[int, int]

FIELDS: Final = ("src", "dst", "proto", "sport", "dport", "ttl")
SRC, DST, PROTO, SPORT, DPORT, TTL = range(len(FIELDS))
BITS: Final = (33, 32, 8, 16, 16, 8)  # of the values of each field; the first bit of src is its version
IPV6: Final = 1 << 32  # src of every IPv6 header
SIZES: Final = (IPV6 + 1, 1 << 32, 1 << 8, 1 << 16, 1 << 16, 1 << 8)
IPV4: Final[Interval] = (0, IPV6)

FRESH: Final = 64  # time to live that hosts send packets with (RFC 1700); flow tables do not know it


class Header(NamedTuple):
    """The header of a packet, and the output port it leaves by."""

    src: int  # 32 bits, or 128 where version is 6
    dst: int
    proto: int
    sport: int = 0  # 0 where the packet carries no ports
    dport: int = 0
    ttl: int = FRESH  # hop limit of IPv6
    version: int = 4
    port: int = 0


class Box(NamedTuple):
    """The headers that have every field in an interval: what a rule matches."""

    src: Interval = (0, SIZES[SRC])
    dst: Interval = (0, SIZES[DST])
    proto: Interval = (0, SIZES[PROTO])
    sport: Interval = (0, SIZES[SPORT])
    dport: Interval = (0, SIZES[DPORT])
    ttl: Interval = (0, SIZES[TTL])


EVERYTHING: Final = Box()


class Region(NamedTuple):
    """A set of headers: for each field a set of values, as disjoint intervals in order, int64[k, 2]."""

    src: Int64s
    dst: Int64s
    proto: Int64s
    sport: Int64s
    dport: Int64s
    ttl: Int64s

    def __contains__(self, header: object) -> bool:
        return isinstance(header, Header) and all(
            bool(((values[:, 0] <= at) & (at < values[:, 1])).any())
            for values, at in zip(self, point(header), strict=True)
        )

    @property
    def size(self) -> int:
        """Return the number of points."""
        size = 1
        for values in self:
            size *= int((values[:, 1] - values[:, 0]).sum())
        return size

    def meets(self, other: Region) -> bool:
        """Return whether some point is in both."""
        return all(
            bool(((a[:, :1] < b[None, :, 1]) & (b[None, :, 0] < a[:, 1:])).any())
            for a, b in zip(self, other, strict=True)
        )


def network(prefix: str) -> Interval:
    """Return the addresses of an IPv4 prefix, such as "192.0.2.0/24"."""
    addresses = IPv4Network(prefix)
    first = int(addresses.network_address)
    return first, first + addresses.num_addresses


def point(header: Header) -> tuple[int, ...]:
    """Return where a header is in the space."""
    src, dst, *others = header[:6]
    return (src, dst, *others) if header.version == 4 else (IPV6, 0, *others)


def columns(flows: FlowTable, ttl: int = FRESH) -> tuple[Int64s, ...]:
    """Return where each flow is in the space: one int64[n] for each field."""
    ipv4 = flows.version == 4
    return (
        np.where(ipv4, _addresses(flows.src), IPV6),
        np.where(ipv4, _addresses(flows.dst), 0),
        *(column.astype(np.int64) for column in (flows.proto, flows.sport, flows.dport)),
        np.full(len(flows), ttl, np.int64),
    )


def header_of(flows: FlowTable, row: int, ttl: int = FRESH) -> Header:
    """Return the header of one flow's packets."""
    version = int(flows.version[row])
    length = 4 if version == 4 else 16
    src, dst = (int.from_bytes(bytes(column[row, :length])) for column in (flows.src, flows.dst))
    proto, sport, dport = (int(column[row]) for column in (flows.proto, flows.sport, flows.dport))
    return Header(src, dst, proto, sport, dport, ttl, version)


def _addresses(column: NDArray[np.uint8]) -> Int64s:
    octets = column[:, :4].astype(np.int64)
    return octets[:, 0] << 24 | octets[:, 1] << 16 | octets[:, 2] << 8 | octets[:, 3]
