"""Write packets and captures byte by byte, as the RFCs and the pcap drafts draw them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

TCP, UDP, SCTP, ICMP, ICMP6, GRE = 6, 17, 132, 1, 58, 47
IPV4, IPV6, ARP, VLAN, QINQ, MPLS, PPPOE = 0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x8847, 0x8864
A4, B4 = bytes([10, 0, 0, 1]), bytes([192, 0, 2, 200])
A6, B6 = bytes.fromhex("20010db8000000000000000000000001"), bytes.fromhex("fe80000000000000021122fffe334455")


def tcp(sport: int, dport: int, data: bytes = b"", checksum: int = 0xABCD) -> bytes:
    return struct.pack(">HHIIBBHHH", sport, dport, 1, 2, 5 << 4, 0x18, 1000, checksum, 0) + data


def udp(sport: int, dport: int, data: bytes = b"", checksum: int = 0x1234) -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(data), checksum) + data


def sctp(sport: int, dport: int, checksum: int = 0x89ABCDEF) -> bytes:
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 7, 65536, 1, 1, 9)  # an INIT
    return struct.pack(">HHII", sport, dport, 0, checksum) + chunk


def icmp(data: bytes = b"ping") -> bytes:
    return struct.pack(">BBHHH", 8, 0, 0x5555, 1, 1) + data


def ipv4(
    protocol: int,
    payload: bytes,
    src: bytes = A4,
    dst: bytes = B4,
    *,
    options: bytes = b"",
    fragment: int = 0,
    total: int | None = None,
) -> bytes:
    """`fragment` is the field of flags and offset; `total` overrides the total length."""
    size = 20 + len(options)
    total = size + len(payload) if total is None else total
    head = struct.pack(">BBHHHBBH", 0x40 | size // 4, 0, total, 1, fragment, 64, protocol, 0)
    return head + src + dst + options + payload


def ipv6(
    protocol: int,
    payload: bytes,
    src: bytes = A6,
    dst: bytes = B6,
    *,
    extensions: Iterable[tuple[int, bytes]] = (),
    length: int | None = None,
) -> bytes:
    """`extensions` are (number, bytes after the next-header byte); `length` overrides the payload's."""
    extensions = list(extensions)
    numbers = [number for number, _ in extensions] + [protocol]
    chain = b"".join(
        bytes([following]) + body for following, (_, body) in zip(numbers[1:], extensions, strict=True)
    )
    length = len(chain + payload) if length is None else length
    return struct.pack(">IHBB", 6 << 28, length, numbers[0], 64) + src + dst + chain + payload


def options_header(units: int = 0) -> bytes:
    """Hop-by-hop, routing or destination options of 8 * (units + 1) bytes, without the next header."""
    return bytes([units]) + bytes(6 + 8 * units)


def fragment_header(offset: int, more: bool = True) -> bytes:
    return struct.pack(">BHI", 0, offset << 3 | more, 77)


def authentication_header(words: int = 4) -> bytes:
    """AH of 4 * (words + 2) bytes, without the next header."""
    return bytes([words]) + bytes(4 * (words + 2) - 2)


def ethernet(kind: int, payload: bytes, tags: Iterable[int] = (), vlan: int = 5) -> bytes:
    """`tags` are the tag protocols from the outside in."""
    kinds = [*tags, kind]
    tagged = b"".join(struct.pack(">HH", vlan, following) for following in kinds[1:])
    return bytes.fromhex("020000000002020000000001") + struct.pack(">H", kinds[0]) + tagged + payload


def llc(data: bytes) -> bytes:
    """IEEE 802.3: a length where Ethernet II has a type."""
    return ethernet(len(data), data)


def snap(kind: int, payload: bytes) -> bytes:
    return llc(bytes.fromhex("aaaa03000000") + struct.pack(">H", kind) + payload)


def mpls(payload: bytes, labels: int) -> bytes:
    stack = b"".join(struct.pack(">I", (100 + i) << 12 | (i == labels - 1) << 8 | 64) for i in range(labels))
    return ethernet(MPLS, stack + payload)


def pppoe(payload: bytes, protocol: int) -> bytes:
    return ethernet(PPPOE, struct.pack(">BBHHH", 0x11, 0, 9, len(payload) + 2, protocol) + payload)


def sll(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HHH8sH", 0, 1, 6, bytes(8), kind) + payload


def sll2(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HHIHBB8s", kind, 0, 3, 1, 0, 6, bytes(8)) + payload


def on_link(link: int, packet: bytes) -> bytes:
    """Put an IP packet behind the header of a link type."""
    six = packet[0] >> 4 == 6
    kind = IPV6 if six else IPV4
    headers = {
        1: ethernet(kind, b""),
        113: sll(kind, b""),
        276: sll2(kind, b""),
        0: struct.pack("<I", 30 if six else 2),
        108: struct.pack(">I", 24 if six else 2),
        9: b"\xff\x03" + struct.pack(">H", 0x57 if six else 0x21),
        50: b"\xff\x03" + struct.pack(">H", 0x57 if six else 0x21),
        104: b"\x0f\x00" + struct.pack(">H", kind),
    }
    return headers.get(link, b"") + packet


class Packet(NamedTuple):
    """A packet to record: when (ns since 1970), its captured bytes, and its length on the wire."""

    when: int
    data: bytes
    wire: int

    @classmethod
    def whole(cls, when: int, data: bytes) -> Packet:
        return cls(when, data, len(data))


def pcap(
    packets: Iterable[Packet],
    *,
    order: str = "<",
    nano: bool = False,
    link: int = 1,
    magic: int | None = None,
    version: tuple[int, int] = (2, 4),
) -> bytes:
    magic = magic or (0xA1B23C4D if nano else 0xA1B2C3D4)
    unit = 1 if nano else 1000
    more = bytes(8) if magic == 0xA1B2CD34 else b""
    out = [struct.pack(order + "IHHiIII", magic, *version, 0, 0, 65535, link)]
    for when, data, wire in packets:
        seconds, rest = divmod(when, 10**9)
        out.append(struct.pack(order + "IIII", seconds, rest // unit, len(data), wire) + more + data)
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<", options: bytes = b"", version: int = 1) -> bytes:
    body = struct.pack(order + "IHHq", 0x1A2B3C4D, version, 0, -1) + options
    return block(0x0A0D0D0A, body, order)


def interface(link: int = 1, order: str = "<", snap: int = 0, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snap) + options, order)


def enhanced(
    ticks: int, data: bytes, order: str = "<", number: int = 0, wire: int | None = None, options: bytes = b""
) -> bytes:
    wire = len(data) if wire is None else wire
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), wire)
    return block(6, head + data + bytes(-len(data) % 4) + options, order)


def obsolete(ticks: int, data: bytes, order: str = "<", number: int = 0) -> bytes:
    head = struct.pack(order + "HHIIII", number, 3, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(2, head + data, order)


def simple(data: bytes, order: str = "<", wire: int | None = None) -> bytes:
    return block(3, struct.pack(order + "I", len(data) if wire is None else wire) + data, order)


def tsresol(exponent: int, order: str = "<", binary: bool = False) -> bytes:
    return option(9, bytes([exponent | binary << 7]), order)


def tsoffset(seconds: int, order: str = "<") -> bytes:
    return option(14, struct.pack(order + "q", seconds), order)


def zipped(data: bytes, members: int = 1) -> bytes:
    """gzip in so many members, as `cat a.gz b.gz` makes them."""
    edges = np.linspace(0, len(data), members + 1).astype(int)
    return b"".join(gzip.compress(data[a:b], mtime=0) for a, b in pairwise(edges))
