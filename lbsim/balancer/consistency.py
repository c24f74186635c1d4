"""Per-connection consistency: how the packets after the first find the server of their connection.

The policy picks a server for a connection's first packet. A scheme is asked when a connection begins
(`admit`), when it is over (`release`), and where its packets go once the pool has changed (`reach`). What a
scheme knows of a connection is a handle: its cookie's index, or that there is an entry.

| kind | remembers | its packets reach |
|---|---|---|
| REHASH | nothing | what the policy says now |
| COOKIE | nothing; the client does | the server named by the cookie |
| CONNTABLE | an entry, the cookie is its index | the server in the entry |
| FLOW_TABLE | an entry of a cuckoo table | the server in the entry |
| DAISY_CHAIN | two servers a bucket | the bucket's current one, if it knows them, or the previous one |
| JET | the connections a change could move | the server, where remembered |
| SILKROAD | a digest and a version, where a cell is free | the server, where learned |

JET decides at `admit` alone: its wide table is of all configured servers and never changes, so a packet that
still reaches the server of an unremembered connection is found as safe as the first one was.

Both engines call the same kernels. A `Keeper` has the arrays of every kind, those of others of length 1, so
that all kinds are one type and an engine is compiled once.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.cheetah import conntable, cookie, stateless
from lbsim.balancer.pool import Pool
from lbsim.balancer.tables import beamer, cuckoo, silkroad
from lbsim.balancer.tables.jet import jet
from lbsim.jit import lean
from lbsim.scenario.consistency import (
    AnyConsistency,
    ConnTable,
    Cookie,
    FlowTable,
    SilkRoad,
)

Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot
Int64s = NDArray[np.int64]

REHASH, COOKIE, CONNTABLE, FLOW_TABLE, DAISY_CHAIN, JET, SILKROAD = range(7)
KINDS: Final = {
    "rehash": REHASH,
    "cookie": COOKIE,
    "conntable": CONNTABLE,
    "flow_table": FLOW_TABLE,
    "daisy_chain": DAISY_CHAIN,
    "jet": JET,
    "silkroad": SILKROAD,
}

UNTRACKED: Final = -1
"""Handle of a connection of which nothing is remembered."""

REFUSED: Final = -2
"""Instead of a handle: the table is full, the connection does not begin."""

ASK: Final = -9
"""Instead of a server: whatever the policy says now. Other negative numbers: the packet is dropped."""

PAIR: Final = np.dtype([("current", np.int64), ("previous", np.int64)])
"""One bucket of a daisy chain: the server that has it, and the one before."""


class Keeper(NamedTuple):
    """What a scheme knows; make one with `new_keeper`."""

    kind: int
    cheetah: stateless.Cheetah  # COOKIE
    rows: Rows  # COOKIE: stateless.BUCKET[numbers]
    conntable: conntable.ConnTable  # CONNTABLE
    entries: Rows  # CONNTABLE: conntable.ENTRY
    blocks: Rows  # CONNTABLE: conntable.BLOCK
    flows: Rows  # FLOW_TABLE: cuckoo.ENTRY
    search: Rows  # FLOW_TABLE: cuckoo.NODE
    chain: Rows  # DAISY_CHAIN: PAIR[buckets]
    table: Int64s  # JET: server by slot
    wide: Int64s  # JET: server by slot if all spares had joined
    cells: Rows  # SILKROAD: silkroad.CELL


def needs_admission(kind: int) -> bool:
    """Return whether `admit` and `release` do anything; otherwise every handle is `UNTRACKED`."""
    return kind in (CONNTABLE, FLOW_TABLE, JET, SILKROAD)


# --- connections --------------------------------------------------------------------------------------------


@lean
def admit(keeper: Keeper, index: int, hash: int, server: int) -> int:  # noqa: A002
    """Let a connection begin, the policy having picked `server`; return its handle, or `REFUSED`.

    A handle of 0 or more: it is remembered. `UNTRACKED`: it goes on unremembered; SilkRoad has no free cell,
    JET sees no danger, the other kinds never remember. SilkRoad's cells have here the server that the
    version and the hash stand for: versions are never short.
    """
    if keeper.kind == CONNTABLE:
        row = conntable.insert(keeper.conntable, keeper.entries, keeper.blocks, hash, server)
        return row if row != conntable.FULL else REFUSED
    if keeper.kind == FLOW_TABLE:
        done = cuckoo.insert(keeper.flows, keeper.search, index, hash, server)
        return server if done != cuckoo.FULL else REFUSED
    if keeper.kind == JET:
        return server if jet(keeper.table, keeper.wide, hash).tracked != UNTRACKED else UNTRACKED
    if keeper.kind == SILKROAD:
        return server if silkroad.learn(keeper.cells, silkroad_key(index, hash), server) else UNTRACKED
    return UNTRACKED


@lean
def release(keeper: Keeper, index: int, hash: int, server: int, handle: int) -> None:  # noqa: A002
    """Forget a connection that is over, ended or broken."""
    if keeper.kind == CONNTABLE:
        conntable.delete(keeper.conntable, keeper.entries, keeper.blocks, hash, handle)
    elif keeper.kind == FLOW_TABLE:
        cuckoo.delete(keeper.flows, index, hash)
    elif keeper.kind == SILKROAD and handle != UNTRACKED:
        silkroad.forget(keeper.cells, silkroad_key(index, hash))


@lean
def reach(keeper: Keeper, index: int, hash: int, server: int, handle: int) -> int:  # noqa: A002
    """Return the server that a packet of a connection of `server` reaches now, `ASK`, or why it is dropped.

    The server may be down. A reason is negative and the scheme's own (`stateless.FORGED` and the like).
    """
    if keeper.kind == COOKIE:
        return by_cookie(keeper.cheetah, keeper.rows, hash, server)
    if keeper.kind == CONNTABLE:
        return conntable.lookup(keeper.conntable, keeper.entries, hash, handle)
    if keeper.kind == FLOW_TABLE:
        return cuckoo.lookup(keeper.flows, index, hash)
    if keeper.kind == DAISY_CHAIN:
        return beamer.receiver(keeper.chain[hash % len(keeper.chain)], server)
    if keeper.kind == JET:
        return handle if handle != UNTRACKED else ASK
    if keeper.kind == SILKROAD and handle != UNTRACKED:
        cell = silkroad.match(keeper.cells, silkroad_key(index, hash))
        return keeper.cells[cell].version if cell != silkroad.EMPTY else ASK
    return ASK


@lean
def by_cookie(settings: stateless.Cheetah, rows: Rows, hash: int, server: int) -> int:  # noqa: A002
    """Return where the cookie of a connection of `server` leads: written, sent back by the client, read.

    The balancer writes it into the server's timestamps; in QUIC the server into its connection id. The rest
    of the word, here the connection's hash, does not matter.
    """
    word = hash
    if settings.mode == stateless.LB_FIX:
        sent = stateless.from_server(
            settings, rows, stateless.Packet(stateless.DATA, hash, True, word, 0), server
        )
        if sent.server < 0:
            return sent.server
        word = sent.word
    else:
        digest = hash if settings.hidden else 0
        number = cookie.obfuscate(server, digest, cookie.cookie_bits(settings.carrier))
        word = cookie.write_word(settings.carrier, word, number, 0)
    back = stateless.Packet(stateless.DATA, hash, True, 0, word)
    return stateless.from_client(settings, rows, back, stateless.UNKNOWN).server


@lean
def silkroad_key(index: int, hash: int) -> Any:  # noqa: A002
    """Return the 64 bits that stand for a connection's addresses and ports: no two live ones share them."""
    return np.uint64(hash) << np.uint64(32) | np.uint64(index) & np.uint64(0xFFFFFFFF)


# --- servers ------------------------------------------------------------------------------------------------


def new_keeper(spec: AnyConsistency, pool: Pool) -> Keeper:
    """Return an empty keeper for the scheme of a scenario.

    What follows the policy's table is set by `follow`. Raises ValueError for more servers than cookies, and
    for tables that cannot be.
    """
    settings, active = stateless.cheetah(buckets=1), 0
    shape, flows, cells = conntable.conntable(1, size=2), 1, 1
    if isinstance(spec, Cookie):
        mode = "server-echo" if spec.carrier == "quic" else "lb-fix"
        buckets = pool.configured if spec.buckets is None else spec.buckets
        if buckets < pool.configured:
            raise ValueError(f"buckets is {buckets} for {pool.configured} servers: give one to each, or more")
        settings = stateless.cheetah(spec.carrier, mode, buckets=buckets, hidden=spec.hidden)
        active = len(pool.active)
    elif isinstance(spec, ConnTable):
        shape = conntable.conntable(spec.capacity, spec.variant, size=spec.block)
    elif isinstance(spec, FlowTable):
        flows = spec.capacity
    elif isinstance(spec, SilkRoad):
        cells = spec.cells
    none = np.zeros(1, np.int64)
    return Keeper(
        KINDS[spec.kind],
        settings,
        stateless.new_pool(settings, active),
        shape,
        *conntable.new_conntable(shape),
        *cuckoo.new_cuckoo(flows),
        np.zeros(1, PAIR).view(np.recarray),
        none,
        none,
        silkroad.digest_table(cells),
    )


def joined(keeper: Keeper, server: int) -> None:
    """Note that a server is on the list, new or back; call it after `Pool.join`."""
    if keeper.kind == COOKIE:
        stateless.add_server(keeper.rows, server)


def left(keeper: Keeper, server: int) -> None:
    """Note that a server is off the list; its connections go on, unless it is down."""
    if keeper.kind == COOKIE and keeper.rows.status[server] == stateless.ACTIVE:
        keeper.rows.status[server] = stateless.DRAINING


def went_down(keeper: Keeper, server: int) -> None:
    """Note that a server is dead, on the list or not; its cookies lead to it still."""
    if keeper.kind == COOKIE:
        keeper.rows.status[server] = stateless.CRASHED


def follow_table(keeper: Keeper, table: Int64s, wide: Int64s) -> Keeper:
    """Return the JET keeper with the policy's table of the moment, and that with all spares; both by slot.

    The policy must look them up by hash modulo size, as JET does. Raises ValueError for unequal sizes.
    """
    if len(table) != len(wide) or len(table) == 0:
        raise ValueError(
            f"the table has {len(table)} slots, {len(wide)} with all spares: JET needs a policy whose table "
            "has as many slots whatever the servers, such as a ring"
        )
    return keeper._replace(table=table, wide=wide)


def follow_buckets(keeper: Keeper, rows: Rows) -> Keeper:
    """Return the DAISY_CHAIN keeper with the policy's buckets of the moment, any rows with both fields."""
    chain: Rows = np.zeros(len(rows), PAIR).view(np.recarray)
    chain.current, chain.previous = rows["current"], rows["previous"]
    return keeper._replace(chain=chain)
