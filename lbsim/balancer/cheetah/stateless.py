"""Stateless Cheetah: what the balancer does to each packet, and how servers come and go.

A server keeps its number (its bucket) for life, so changing who receives new connections moves no old one.
`from_client` and `from_server` are the two directions; whoever calls them chooses a server for a SYN, by any
policy. Published code: cheetahlb/cheetah-fastclick (elements/cheetah) and cheetah-p4; what it does otherwise
than meant is behind `published=True`:

- the number is taken modulo the buckets and then AND (buckets - 1), right only for a power of two;
- a version bit of 1 is read as the index -1, so the upper half put back is the server's own address;
- a server's packet without the timestamp option is dropped, not passed on.

Servers need timestamps that all their connections share (Linux: tcp_timestamps=2).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.cheetah.cookie import (
    CARRIERS,
    MEMORY,
    MSB,
    QUIC,
    cookie_bits,
    read_cookie,
    remember,
    restore,
    server_in_tier,
    tier_cookie,
    tier_of,
    write_word,
)
from lbsim.balancer.hashing.flows import in_memory
from lbsim.jit import kernel, lean

Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

LB_FIX: Final = 0  # the balancer writes the cookie into the server's packets and takes it out of the client's
SERVER_ECHO: Final = 1  # the balancer writes it into the SYN; the server repeats it from then on
DIRECT_RETURN: Final = 2  # as SERVER_ECHO, and the server's packets do not cross the balancer
MODES: Final = {"lb-fix": LB_FIX, "server-echo": SERVER_ECHO, "direct-return": DIRECT_RETURN}

DATA: Final = 0  # any TCP segment that is neither; any QUIC packet but Initial
SYN: Final = 1  # the first packet: a SYN, a SYN-ACK from the server, an Initial of QUIC
RST: Final = 2

# Where a packet goes that goes to no server; all negative.
NO_CARRIER: Final = -1  # there is no word to carry a cookie; published: dropped. See `fallback_server`
FORGED: Final = -2  # the cookie names no bucket; dropped
UNUSED: Final = -3  # the cookie names a bucket without a server; nowhere
UNKNOWN: Final = -4  # from an address that is no server's; dropped

ABSENT: Final = 0
ACTIVE: Final = 1
DRAINING: Final = 2
CRASHED: Final = 3

BUCKET: Final = np.dtype([("address", np.uint32), *MEMORY, ("status", np.uint8), ("pad", np.uint16)])
"""One server as its balancer knows it: 12 bytes (16 in the published code)."""


class Cheetah(NamedTuple):
    """Settings of a stateless balancer as kernels take them; make one with `cheetah`."""

    carrier: int
    mode: int
    buckets: int
    hidden: bool  # the cookie is XORed with the connection's hash
    parity: bool  # versions follow the clock, see `cookie.remember`
    published: bool
    tier: int  # which second-tier balancer this is; 0 where there is one tier
    tier_bits: int  # top bits of the cookie that name it; 0 where there is one tier


class Packet(NamedTuple):
    """What the balancer reads of a packet; words are 32-bit ints."""

    kind: int  # SYN, DATA or RST
    digest: int  # hash of the connection, the same in both directions
    carrier: bool  # it has the timestamp option, or a connection id of 3 bytes or more
    value: int  # TSval; head of the source connection id
    echo: int  # TSecr; head of the destination connection id


class Sent(NamedTuple):
    """Where a packet goes, and its word as the balancer leaves it."""

    server: int  # number of the server, or a negative reason
    word: int  # from a client: the echo; from a server: the value


def cheetah(
    carrier: str = "msb",
    mode: str = "lb-fix",
    *,
    buckets: int = 256,
    hidden: bool = True,
    parity: bool = False,
    published: bool = False,
    tier: int = 0,
    tier_bits: int = 0,
) -> Cheetah:
    """Return the settings of a balancer.

    `buckets` is the most servers it can have (published: 256), at most 32768 in "msb" and 65536 in "lsb" and
    "quic". In QUIC servers write the cookie, so the mode is not "lb-fix". Second-tier balancer `tier` of
    2**tier_bits has as many times fewer cookies. Raises ValueError otherwise.
    """
    if carrier not in CARRIERS:
        raise ValueError(f"carrier {carrier!r} is unknown: choose {', '.join(CARRIERS)}")
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is unknown: choose {', '.join(MODES)}")
    if carrier == "lsb" and mode != "lb-fix":
        raise ValueError(
            f"mode {mode!r} with carrier 'lsb': the server repeats bits 16-30 only; choose lb-fix"
        )
    if carrier == "quic" and mode == "lb-fix":
        raise ValueError(
            "mode 'lb-fix' with carrier 'quic': QUIC servers write their cookie; use server-echo"
        )
    bits = cookie_bits(CARRIERS[carrier])
    if not 0 <= tier_bits < bits or not 0 <= tier < 1 << tier_bits:
        raise ValueError(
            f"tier is {tier} with tier_bits {tier_bits}: "
            f"tier_bits is 0 to {bits - 1}, and tier 0 to 2**tier_bits - 1"
        )
    if published and tier_bits:
        raise ValueError("published is true with two tiers: the published second tier hides the first's bits")
    most = 1 << (bits - tier_bits)
    if not 1 <= buckets <= most:
        raise ValueError(
            f"buckets is {buckets}: a cookie in carrier {carrier!r} tells 1 to {most} servers apart; "
            "beyond that use two tiers or stateful Cheetah"
        )
    return Cheetah(CARRIERS[carrier], MODES[mode], buckets, hidden, parity, published, tier, tier_bits)


# --- packets ------------------------------------------------------------------------------------------------


@lean
def from_client(settings: Cheetah, pool: Rows, packet: Packet, choice: int) -> Sent:
    """Return where a client's packet goes; `choice` is the server the policy picked, used for a SYN only.

    Nothing is remembered: the policy decides once, the cookie from then on.
    """
    if not packet.carrier:
        return Sent(NO_CARRIER, packet.echo)
    bits = cookie_bits(settings.carrier)
    digest = packet.digest if settings.hidden else 0
    if packet.kind == SYN:
        if settings.mode == LB_FIX or settings.carrier == QUIC:
            return Sent(choice, packet.echo)
        cookie = tier_cookie(settings.tier, choice, digest, bits, settings.tier_bits)
        return Sent(choice, write_word(settings.carrier, 0, cookie, 0))
    cookie = read_cookie(settings.carrier, packet.echo)
    number = server_in_tier(cookie, digest, bits, settings.tier_bits)
    if settings.published and settings.hidden and settings.carrier == MSB:
        number %= settings.buckets
    if number >= settings.buckets or tier_of(cookie, bits, settings.tier_bits) != settings.tier:
        return Sent(FORGED, packet.echo)
    word = packet.echo
    if settings.mode == LB_FIX:
        if settings.published and settings.carrier == MSB and word >> 31 & 1:
            word = (word & 0xFFFF) | in_memory(int(pool[number].address))
        else:
            word = restore(settings.carrier, pool[number], word)
    if settings.published and settings.carrier == MSB:
        number &= settings.buckets - 1
    return Sent(number if pool[number].status != ABSENT else UNUSED, word)


@lean
def from_server(settings: Cheetah, pool: Rows, packet: Packet, server: int) -> Sent:
    """Return a packet of `server` as it goes to the client; its source is then the service's address.

    `server` is found by the packet's source address, and is negative if that is unknown. Not to be called
    in direct return.
    """
    if server < 0 or server >= settings.buckets or pool[server].status == ABSENT:
        return Sent(UNKNOWN, packet.value)
    if settings.mode != LB_FIX or packet.kind == RST:
        return Sent(server, packet.value)
    if not packet.carrier:
        return Sent(NO_CARRIER if settings.published else server, packet.value)
    number = server
    if settings.published and settings.carrier == MSB:
        number &= settings.buckets - 1
    digest = packet.digest if settings.hidden else 0
    cookie = tier_cookie(settings.tier, number, digest, cookie_bits(settings.carrier), settings.tier_bits)
    version = remember(settings.carrier, pool[server], packet.value, settings.parity)
    return Sent(server, write_word(settings.carrier, packet.value, cookie, version))


@lean
def from_client_at_first_tier(settings: Cheetah, packet: Packet, choice: int) -> int:
    """Return the second-tier balancer a client's packet goes to; `choice` is the policy's, for a SYN only.

    `settings` are those of any of the second tier. Without a carrier the result is `NO_CARRIER`: spread such
    packets by `fallback_server`, the SYN too.
    """
    if not packet.carrier:
        return NO_CARRIER
    if packet.kind == SYN:
        return choice
    return tier_of(
        read_cookie(settings.carrier, packet.echo), cookie_bits(settings.carrier), settings.tier_bits
    )


@kernel
def echo_server(settings: Cheetah, row: Rows, tsval: int, syn_echo: int) -> int:
    """Return the TSval that a patched server sends: the cookie of the SYN's echo and its own clock.

    `row` is the connection's own memory at the server (published Linux patch, sysctl tcp_timestamp_cookie).
    """
    version = remember(settings.carrier, row, tsval, settings.parity)
    return write_word(settings.carrier, tsval, read_cookie(settings.carrier, syn_echo), version)


@kernel
def fallback_server(digest: int, active: NDArray[np.int64]) -> int:
    """Return a server for a connection that can carry no cookie: its folded hash modulo the active servers.

    As CheetahTierOne does for packets without timestamps. It has no memory, so churn breaks such
    connections; a table of exact entries (`cuckoo`) would not.
    """
    return int(active[((digest >> 16 & 0xFFFF) ^ (digest & 0xFFFF)) % len(active)])


# --- servers ------------------------------------------------------------------------------------------------


def new_pool(settings: Cheetah, servers: int = 0) -> Rows:
    """Return the buckets of a balancer, `BUCKET[settings.buckets]`, the first `servers` of them active.

    Several balancers behind ECMP need equal statuses and the same hash key, nothing else; each learns the
    clocks of servers from their packets. Raises ValueError for more servers than buckets.
    """
    if not 0 <= servers <= settings.buckets:
        raise ValueError(
            f"servers is {servers}: this balancer has {settings.buckets} buckets; "
            "raise buckets or remove servers"
        )
    pool: Rows = np.zeros(settings.buckets, BUCKET).view(np.recarray)
    pool.address[:servers] = 10 << 24 | np.arange(1, servers + 1)
    pool.status[:servers] = ACTIVE
    return pool


def active_servers(pool: Rows) -> NDArray[np.int64]:
    """Return the numbers of the servers that new connections may go to, rising, as int64[n]."""
    return np.flatnonzero(pool.status == ACTIVE).astype(np.int64)


def add_server(pool: Rows, server: int, address: int | None = None) -> None:
    """Let `server` receive new connections: a new one (10.0.0.0 + its number + 1), a drained or crashed one.

    Raises ValueError when it is active already, or the pool has no such bucket.
    """
    status = _status(pool, server)
    if status == ACTIVE:
        raise ValueError(f"server {server} is active already: add one that is not")
    if status == ABSENT:
        pool[server] = 0
        pool[server].address = 10 << 24 | server + 1 if address is None else address
    pool[server].status = ACTIVE


def drain_server(pool: Rows, server: int) -> None:
    """Give `server` no new connections; those it has stay.

    Raises ValueError when it is not active, or is the last one that is.
    """
    _leave(pool, server, DRAINING)


def crash_server(pool: Rows, server: int) -> None:
    """Give a dead `server` no new connections; those it had are lost, and only those.

    A draining one may crash too. Raises ValueError for any other, and for the last active one.
    """
    if _status(pool, server) == DRAINING:
        pool[server].status = CRASHED
    else:
        _leave(pool, server, CRASHED)


def forget_server(pool: Rows, server: int) -> None:
    """Free the bucket of a server that is drained or crashed; old cookies of it then lead nowhere.

    Raises ValueError for an active server, or a bucket that has none.
    """
    status = _status(pool, server)
    if status not in (DRAINING, CRASHED):
        state = "active" if status == ACTIVE else "not in the pool"
        raise ValueError(f"server {server} is {state}: forget a server that is drained or crashed")
    pool[server].status = ABSENT


def _leave(pool: Rows, server: int, status: int) -> None:
    if _status(pool, server) != ACTIVE:
        raise ValueError(f"server {server} is not active: it cannot leave")
    if np.count_nonzero(pool.status == ACTIVE) == 1:
        raise ValueError(f"server {server} is the last active one: add another before it leaves")
    pool[server].status = status


def _status(pool: Rows, server: int) -> int:
    if not 0 <= server < len(pool):
        raise ValueError(f"server is {server}: this balancer has buckets 0 to {len(pool) - 1}")
    return int(pool[server].status)
