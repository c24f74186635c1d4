"""From a frame to its 5-tuple: link, IP and transport headers as a NIC's parser reads them.

Every step looks only at bytes that were captured, and moves forward by at least one header, so any bytes come
to an end. Sources: tcpdump's list of link types, RFC 791, RFC 8200 (IPv6 extension headers), RFC 4302 (AH),
RFC 3032 (MPLS), RFC 2516 (PPPoE), IEEE 802.1Q.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import kernel
from lbsim.workload.capture.fields import net16, net64, u8, u32
from lbsim.workload.capture.flows import find
from lbsim.workload.packets import Bytes, Int32s, Int64s

ETHERNET, NULL, LOOP, SLL, SLL2 = 1, 0, 108, 113, 276
PPP, PPP_HDLC, C_HDLC, RAW_IPV4, RAW_IPV6 = 9, 50, 104, 228, 229
LINK_TYPES: Final = {
    ETHERNET: "Ethernet",
    NULL: "BSD loopback",
    LOOP: "OpenBSD loopback",
    SLL: "Linux cooked v1",
    SLL2: "Linux cooked v2",
    PPP: "PPP",
    PPP_HDLC: "PPP in HDLC framing",
    C_HDLC: "Cisco HDLC",
    101: "raw IP",
    12: "raw IP",
    14: "raw IP",
    RAW_IPV4: "raw IPv4",
    RAW_IPV6: "raw IPv6",
}
"""Link types that can be parsed: their number in a capture, and their name."""

# What a packet turned out to be. The first three are kept; those without ports hash on addresses alone.
WHOLE, FRAGMENT, PORTLESS, NOT_IP, TRUNCATED, MALFORMED = range(6)

_IPV4, _IPV6, _EITHER, _OTHER, _CUT = 0x0800, 0x86DD, -1, -2, -3  # what comes next: EtherTypes and our own
_ETHERNET_HEADER: Final = 14
_TCP, _UDP, _SCTP = 6, 17, 132
_HOP_BY_HOP, _ROUTING, _FRAGMENT_HEADER, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60


@kernel
def _link_header(data: Bytes, at: int, end: int, link: int) -> tuple[int, int]:
    """Return what follows the link header, and its length."""
    if link == ETHERNET:
        return (net16(data, at + 12), 14) if at + 14 <= end else (_CUT, 14)
    if link == SLL:
        return (net16(data, at + 14), 16) if at + 16 <= end else (_CUT, 16)
    if link == SLL2:
        return (net16(data, at), 20) if at + 20 <= end else (_CUT, 20)
    if link == C_HDLC:
        return (net16(data, at + 2), 4) if at + 4 <= end else (_CUT, 4)
    if link == RAW_IPV4:
        return _IPV4, 0
    if link == RAW_IPV6:
        return _IPV6, 0
    if link in (PPP, PPP_HDLC):
        framed = at < end and u8(data, at) == 0xFF
        size = 4 if framed else 2
        return (_ppp(net16(data, at + size - 2)), size) if at + size <= end else (_CUT, size)
    if link in (NULL, LOOP):
        if at + 4 > end:
            return _CUT, 4
        # The address family as its host wrote it, in either byte order. IPv6 has a number per system.
        family = net16(data, at) << 16 | net16(data, at + 2)
        family = family >> 24 if family & 0xFFFFFF == 0 else family
        if family == 2:
            return _IPV4, 4
        return (_IPV6 if family in (10, 23, 24, 28, 30) else _OTHER), 4
    return _EITHER, 0


@kernel
def _ppp(protocol: int) -> int:
    if protocol == 0x0021:
        return _IPV4
    return _IPV6 if protocol == 0x0057 else _OTHER


@kernel
def _version(data: Bytes, at: int, end: int) -> int:
    """Return which IP the first nibble announces."""
    if at >= end:
        return _CUT
    version = u8(data, at) >> 4
    if version == 4:
        return _IPV4
    return _IPV6 if version == 6 else _OTHER


@kernel
def _strip_tags(data: Bytes, at: int, end: int, kind: int) -> tuple[int, int]:
    """Pass VLAN tags, MPLS labels, PPPoE and LLC/SNAP; return which IP follows, if any, and where."""
    while kind >= 0 and kind != _IPV4 and kind != _IPV6:
        if kind in (0x8100, 0x88A8, 0x9100, 0x9200):
            kind, at = (net16(data, at + 2) if at + 4 <= end else _CUT), at + 4
        elif kind == 0x8847 or kind == 0x8848:
            while at + 4 <= end and not u8(data, at + 2) & 1:  # not the bottom of the stack
                at += 4
            at += 4
            kind = _version(data, at, end)
        elif kind == 0x8864:
            kind, at = (_ppp(net16(data, at + 6)) if at + 8 <= end else _CUT), at + 8
        elif kind <= 1500:  # a length: IEEE 802.3
            if at + 8 > end:
                kind = _CUT
            elif u32(data, at, True) == 0xAAAA0300 and net16(data, at + 4) == 0:
                kind, at = net16(data, at + 6), at + 8
            else:
                kind = _OTHER
        else:
            kind = _OTHER
    if kind == _EITHER:
        kind = _version(data, at, end)
    return kind, at


@kernel
def _ipv4(data: Bytes, at: int, end: int, key: Any) -> tuple[int, int, int, int]:
    """Enter the addresses into `key`; return (outcome, protocol, start and end of the transport header)."""
    if at < end and u8(data, at) >> 4 != 4:
        return MALFORMED, 0, at, end
    if at + 20 > end:
        return TRUNCATED, 0, at, end
    header, total = 4 * (u8(data, at) & 15), net16(data, at + 2)
    if header < 20 or 0 < total < header:  # 0: left to segmentation offload
        return MALFORMED, 0, at, end
    key[0], key[1] = np.uint64(u32(data, at + 12, True)) << np.uint64(32), 0
    key[2], key[3] = np.uint64(u32(data, at + 16, True)) << np.uint64(32), 0
    end = min(end, at + total) if total else end
    later = net16(data, at + 6) & 0x1FFF
    return FRAGMENT if later else WHOLE, u8(data, at + 9), at + header, end


@kernel
def _ipv6(data: Bytes, at: int, end: int, key: Any) -> tuple[int, int, int, int]:
    """As `_ipv4`, behind the extension headers; the protocol is the last one that could be read."""
    if at < end and u8(data, at) >> 4 != 6:
        return MALFORMED, 0, at, end
    if at + 40 > end:
        return TRUNCATED, 0, at, end
    for i in range(4):
        key[i] = net64(data, at + 8 + 8 * i)
    payload, protocol = net16(data, at + 4), u8(data, at + 6)
    at += 40
    end = min(end, at + payload) if payload else end  # 0: jumbo payload, or left to segmentation offload
    while protocol in (_HOP_BY_HOP, _ROUTING, _FRAGMENT_HEADER, _AUTHENTICATION, _DESTINATION):
        if at + 8 > end:
            return PORTLESS, protocol, at, end
        size = 8 * (u8(data, at + 1) + 1)
        if protocol == _FRAGMENT_HEADER:
            size = 8
            if net16(data, at + 2) >> 3:
                return FRAGMENT, u8(data, at), at, end
        elif protocol == _AUTHENTICATION:
            size = 4 * (u8(data, at + 1) + 2)
        protocol = u8(data, at)
        at += size
    return WHOLE, protocol, at, end


@kernel
def parse(data: Bytes, at: int, captured: int, wire: int, link: int, key: Any) -> tuple[int, int, int]:
    """Enter a packet's flow into `key`; return (what it is, low byte of its checksum, its link header).

    `key` uint64[5]: source, destination (two words each), and version, protocol and ports. The checksum is 0
    where it was not captured and for protocols other than TCP, UDP and SCTP.
    """
    end = at + captured
    kind, header = _link_header(data, at, end, link)
    kind, at = _strip_tags(data, at + header, end, kind)
    if kind == _IPV4:
        outcome, protocol, at, end = _ipv4(data, at, end, key)
    elif kind == _IPV6:
        outcome, protocol, at, end = _ipv6(data, at, end, key)
    else:
        return (TRUNCATED if kind == _CUT and captured < wire else NOT_IP), 0, header
    if outcome == TRUNCATED and captured == wire:
        outcome = MALFORMED
    ports, checksum = 0, 0
    if outcome == WHOLE and protocol in (_TCP, _UDP, _SCTP):
        if at + 4 > end:
            outcome = PORTLESS
        else:
            ports = net16(data, at) << 16 | net16(data, at + 2)
            low = at + (17 if protocol == _TCP else 7 if protocol == _UDP else 11)
            checksum = u8(data, low) if low < end else 0
    version = 4 if kind == _IPV4 else 6
    key[4] = np.uint64(version << 40 | protocol << 32 | ports)
    return outcome, checksum, header


@kernel
def parse_all(
    data: Bytes,
    rows: Any,
    keys: NDArray[np.uint64],
    table: Int32s,
    known: int,
    flow: Int32s,
    frame: Int32s,
    checksum: Bytes,
    tally: Int64s,
) -> int:
    """Parse the records `rows` of a window; return how many flows are known by then.

    Fills flow (-1: skipped), frame and checksum, and counts the outcomes in `tally`. A frame counts as its
    Ethernet equivalent: another link header is taken off and one of 14 bytes put on.
    """
    for i in range(len(rows)):
        row = rows[i]
        outcome, low, header = parse(data, row["at"], row["captured"], row["wire"], row["link"], keys[known])
        tally[outcome] += 1
        flow[i] = -1
        if outcome <= PORTLESS:
            flow[i] = find(keys, table, known)
            known += flow[i] == known
            frame[i] = row["wire"] - header + _ETHERNET_HEADER
            checksum[i] = low
    return known
