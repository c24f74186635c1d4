"""The cookie of Cheetah: a server's number that travels in a header field both ends send back.

The balancer writes `server XOR hash` into a 32-bit word that the client returns unchanged, and needs no
memory of the connection (Barbette et al., NSDI 2020; bit layouts from the published FastClick and P4 code).
All functions are pure, on plain ints, and callable from other kernels. Three words carry a cookie:

| carrier | word | cookie | what becomes of the rest |
|---|---|---|---|
| "msb" | TCP timestamp | bits 16-30 | bit 31 is a version; the last two upper halves are remembered |
| "lsb" | TCP timestamp | bits 0-15 | the lower half moves up; an upper half and a bit are remembered |
| "quic" | first 4 bytes of the connection id | bytes 1 and 2 | the server's own, untouched |

A server's clock ticks each millisecond, so its upper half lives one `GENERATION` of 65.536 s.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from lbsim import units
from lbsim.jit import inlined, kernel

GENERATION: Final = 65_536 * units.MS
"""Life of one upper half of a 1-kHz TCP timestamp, in ps."""

MSB: Final = 0
LSB: Final = 1
QUIC: Final = 2
CARRIERS: Final = {"msb": MSB, "lsb": LSB, "quic": QUIC}

PLAIN: Final = 0  # CRC-16 over the fields, as meant
BMV2: Final = 1  # the software switch: reduced modulo 65535
TOFINO: Final = 2  # the hardware switch: the service's port twice, the client's not at all

MEMORY: Final = [("upper0", np.uint16), ("upper1", np.uint16), ("version", np.uint8)]
"""Fields of a row that remembers upper halves: of a server at a balancer, of a connection at a server."""


@inlined
def cookie_bits(carrier: int) -> int:
    """Return how many bits of cookie a carrier holds: 15 beside a version bit, 16 without one."""
    return 15 if carrier == MSB else 16


@kernel
def obfuscate(number: int, digest: int, bits: int) -> int:
    """Return number XOR the low `bits` of a connection's hash; doing it twice gives the number back.

    With `digest` 0 the cookie is the number itself (the "plain" encoding of QUIC-LB). XOR hides the number
    from those without the hash key; it is not encryption.
    """
    return (number ^ digest) & ((1 << bits) - 1)


# --- the word: write, read ----------------------------------------------------------------------------------


@kernel
def write_word(carrier: int, word: int, cookie: int, version: int) -> int:
    """Return the 32-bit `word` (TSval, or the head of a connection id) with the cookie put in.

    `version` matters to the MSB layout only.
    """
    if carrier == MSB:
        return (word & 0xFFFF) | (cookie & 0x7FFF) << 16 | (version & 1) << 31
    if carrier == LSB:
        return (word & 0xFFFF) << 16 | (cookie & 0xFFFF)
    return (word & 0xFF0000FF) | (cookie & 0xFFFF) << 8


@kernel
def read_cookie(carrier: int, word: int) -> int:
    """Return the cookie of a 32-bit word as a client sends it (TSecr, or the head of a connection id)."""
    if carrier == MSB:
        return word >> 16 & 0x7FFF
    if carrier == LSB:
        return word & 0xFFFF
    return word >> 8 & 0xFFFF


# --- the upper half that the cookie displaced ---------------------------------------------------------------


@kernel
def remember(carrier: int, row: Any, tsval: int, parity: bool) -> int:
    """Note the upper half of a server's timestamp in `row` (fields of `MEMORY`); return its version.

    MSB: a changed upper half goes to the other of two places and flips the version. Balancers that first see
    a server at different times then disagree on versions; with `parity` the version is the lowest bit of the
    upper half, on which all agree (ours, not published). LSB: one upper half is kept, and as "version"
    whether the lower half had passed 32768. A word of QUIC displaces nothing.
    """
    upper = tsval >> 16 & 0xFFFF
    if carrier == LSB:
        row.upper0 = upper
        row.version = tsval >> 15 & 1
    elif carrier == MSB:
        version = int(row.version)
        if int(row.upper1 if version else row.upper0) != upper:
            version = upper & 1 if parity else 1 - version
            if version:
                row.upper1 = upper
            else:
                row.upper0 = upper
            row.version = version
    return int(row.version)


@kernel
def restore(carrier: int, row: Any, echo: int) -> int:
    """Return the timestamp that the server had sent, from the word the client echoes.

    MSB is right for the last two upper halves seen; LSB for the last 32.768 s, and beyond that up to 65.536 s
    where the bits allow. What is older comes back wrong by a multiple of 65.536 s: a measure of delay is
    spoilt at the server, the way to it is not.
    """
    if carrier == MSB:
        return int(row.upper1 if echo >> 31 & 1 else row.upper0) << 16 | (echo & 0xFFFF)
    if carrier == LSB:
        lower, upper = echo >> 16 & 0xFFFF, int(row.upper0)
        if lower >= 0x8000 and not row.version:
            upper = (upper - 1) & 0xFFFF
        return upper << 16 | lower
    return echo


@kernel
def client_accepts(recent: int, tsval: int) -> bool:
    """Return whether a client keeps a segment of timestamp `tsval` after one of `recent`.

    RFC 7323, section 5.3 (PAWS): not if it is older in 32-bit serial arithmetic. A cookie shortens the
    clock a client sees: MSB passes after any silence of at most 65,535 ms, LSB of at most 32,767 ms; after
    longer ones segments may be refused until the clock has moved on.
    """
    return (tsval - recent) & 0xFFFFFFFF < 0x80000000


# --- two tiers ----------------------------------------------------------------------------------------------


@kernel
def tier_cookie(tier: int, server: int, digest: int, bits: int, tier_bits: int) -> int:
    """Return a cookie whose top bits name, in clear, the second-tier balancer that knows the server.

    The first tier has no hash to undo, so the hash may cover only the other bits.
    """
    below = bits - tier_bits
    return tier << below | obfuscate(server, digest, below)


@kernel
def tier_of(cookie: int, bits: int, tier_bits: int) -> int:
    """Return the second-tier balancer a cookie names (published element CheetahTierOne; 2 bits there)."""
    return cookie >> (bits - tier_bits)


@kernel
def server_in_tier(cookie: int, digest: int, bits: int, tier_bits: int) -> int:
    """Return the server, numbered within its tier, of a cookie made by `tier_cookie`."""
    return obfuscate(cookie, digest, bits - tier_bits)


# --- QUIC ---------------------------------------------------------------------------------------------------


def cid_with_cookie(cid: bytes, cookie: int) -> bytes:
    """Return a QUIC connection id whose bytes 1 and 2 hold the cookie.

    Raises ValueError for fewer than 3 bytes (no room) or more than 20 (RFC 9000).
    """
    head = int.from_bytes(_checked(cid)[:4].ljust(4, b"\0"))
    return (write_word(QUIC, head, cookie, 0).to_bytes(4) + cid[4:])[: len(cid)]


def cid_cookie(cid: bytes) -> int:
    """Return the cookie in a QUIC connection id; ValueError unless it has 3 to 20 bytes."""
    return int.from_bytes(_checked(cid)[1:3])


def _checked(cid: bytes) -> bytes:
    if not 3 <= len(cid) <= 20:
        raise ValueError(f"the connection id has {len(cid)} bytes: with a cookie it has 3 to 20")
    return cid


# --- the hash of the P4 programs ----------------------------------------------------------------------------


@kernel
def crc16(value: int, octets: int, crc: int) -> int:
    """Return the CRC-16/ARC (polynomial 0x8005, reflected) of a field, going on from `crc` (0 at first).

    The field is the low `octets` bytes of `value` in network order.
    """
    for k in range(octets - 1, -1, -1):
        crc ^= value >> (8 * k) & 0xFF
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


@kernel
def tcp_digest(client: int, client_port: int, service_port: int, protocol: int, target: int) -> int:
    """Return the 16-bit hash by which P4 Cheetah hides a server: client address, both ports, protocol.

    `client` is an IPv4 address as an int. `target` is `PLAIN`, `BMV2` (never 65535) or `TOFINO`, where all
    connections of a client have one hash, so that a client who knows one of its servers knows them all.
    """
    second = service_port if target == TOFINO else client_port
    crc = crc16(protocol, 1, crc16(second, 2, crc16(service_port, 2, crc16(client, 4, 0))))
    return crc % 65535 if target == BMV2 else crc


@kernel
def quic_digest(client: int, client_port: int, target: int) -> int:
    """Return the 16-bit hash of the P4 programs for QUIC: the client's port, then its IPv4 address."""
    crc = crc16(client, 4, crc16(client_port, 2, 0))
    return crc % 65535 if target == BMV2 else crc
