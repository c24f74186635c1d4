"""Stateful Cheetah: the cookie is the index of the connection's entry, so a table needs no search.

A table is a number of independent blocks; some bits of the connection's hash choose the block (RSS sends
equal hashes to one core, so a block needs no lock), the cookie the entry in it. Each block keeps a stack of
its free indices: insert, lookup and delete take constant time (Barbette et al., NSDI 2020). State is two
record arrays, `entries` and `blocks`, so other kernels may call these functions. Three variants:

- "cheetah", as meant: entries hold 16 bits of the hash, so that forged and stale cookies are refused, and
  are freed when the connection ends. In a full block a connection is refused.
- "fastclick" (CheetahStateful): an entry is never freed, index 0 never handed out, an index never checked.
- "bmv2" (cheetah-stateful.p4): a circular list of free indices; the client's FIN frees, so what follows it
  is dropped. A full block is not noticed: the SYN passes with cookie 65535 and the list skips a place, which
  stays lost until it comes round again. (The program's second block reads past its registers once its list
  wraps; here it wraps like the first.)
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from lbsim.jit import kernel, lean

Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

CHEETAH: Final = 0
FASTCLICK: Final = 1
BMV2: Final = 2
VARIANTS: Final = {"cheetah": CHEETAH, "fastclick": FASTCLICK, "bmv2": BMV2}

BLOCK_SIZE: Final = 32_768
"""Entries of a block behind a cookie of 15 bits."""

NOTHING: Final = 0xFFFF  # in a place of the free list, and the cookie of a SYN that bmv2 had no index for

FULL: Final = -1
REFUSED: Final = -1

ENTRY: Final = np.dtype([("server", np.int32), ("check", np.uint16), ("free", np.uint16)])
"""One entry, 8 bytes: server (-1: none), 16 bits of the hash, and one place of the block's free list."""

BLOCK: Final = np.dtype([("free", np.int32), ("head", np.int32), ("tail", np.int32)])
"""One block: free indices; where bmv2's list is popped and pushed."""


class ConnTable(NamedTuple):
    """Shape of a table as kernels take it; make one with `conntable`."""

    variant: int
    size: int  # entries a block
    blocks: int  # a power of two


def conntable(connections: int, variant: str = "cheetah", *, size: int = BLOCK_SIZE) -> ConnTable:
    """Return the shape of a table for `connections`: the next power of two of blocks of `size` entries.

    As the published testbed does (10 million: 512 blocks, 16,777,216 entries). Hashes fall unevenly, so a
    block can be full before the table is. Raises ValueError for no connection, an unknown variant, a block
    of fewer than 2 or more than 65536 entries (65535 in "bmv2"), or a table beyond 2**31 entries.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown: choose {', '.join(VARIANTS)}")
    most = NOTHING if variant == "bmv2" else NOTHING + 1
    if not 2 <= size <= most:
        raise ValueError(f"size is {size}: a block of variant {variant!r} has 2 to {most} entries")
    if not 1 <= connections <= 2**31:
        raise ValueError(f"connections is {connections}: a table is for 1 to {2**31}")
    return ConnTable(VARIANTS[variant], size, 1 << (-(-connections // size) - 1).bit_length())


def new_conntable(table: ConnTable) -> tuple[Rows, Rows]:
    """Return an empty table: `ENTRY[blocks * size]` and `BLOCK[blocks]`."""
    entries: Rows = np.zeros(table.blocks * table.size, ENTRY).view(np.recarray)
    blocks: Rows = np.zeros(table.blocks, BLOCK).view(np.recarray)
    order = np.arange(table.size, dtype=np.uint16)
    # The top of a stack is its last place. FastClick hands out high indices first, we low ones.
    order = order[::-1] if table.variant == CHEETAH else order
    entries.free.reshape(table.blocks, table.size)[:] = order
    entries.server = -1
    blocks.free = table.size - 1 if table.variant == FASTCLICK else table.size
    return entries, blocks


@kernel
def block_of(table: ConnTable, digest: int) -> int:
    """Return the block of a connection: the low bits of its hash."""
    return digest & (table.blocks - 1)


@kernel
def check_of(table: ConnTable, digest: int) -> int:
    """Return the 16 bits of hash an entry keeps: as meant, those above the block's; in bmv2 the low ones."""
    return (digest if table.variant == BMV2 else digest >> 16) & 0xFFFF


@lean
def insert(table: ConnTable, entries: Rows, blocks: Rows, digest: int, server: int) -> int:
    """Take a free index for a connection and note its server there; return the index, or `FULL`."""
    b = block_of(table, digest)
    block, base = blocks[b], b * table.size
    if table.variant == BMV2:
        index = int(entries[base + block.head].free)
        entries[base + block.head].free = NOTHING
        block.head = block.head + 1 if block.head + 1 < table.size else 0
        if index == NOTHING:
            return NOTHING
    else:
        # FastClick's stack is never written, so place k holds k, and its last index is 1.
        if block.free == 0:
            return FULL
        index = int(entries[base + block.free - (table.variant == CHEETAH)].free)
    block.free -= 1
    entry = entries[base + index]
    entry.server = server
    entry.check = check_of(table, digest)
    return index


@lean
def lookup(table: ConnTable, entries: Rows, digest: int, index: int) -> int:
    """Return the server of the connection that brings cookie `index`, or `REFUSED`: forged, stale or unset.

    FastClick refuses only entries never written; any other index leads to the server written there.
    """
    if index < 0 or index >= table.size:
        return REFUSED
    entry = entries[block_of(table, digest) * table.size + index]
    if table.variant != FASTCLICK and entry.check != check_of(table, digest):
        return REFUSED
    return int(entry.server)


@lean
def delete(table: ConnTable, entries: Rows, blocks: Rows, digest: int, index: int) -> bool:
    """Free the entry of a connection; return whether it was freed. FastClick frees none."""
    if table.variant == FASTCLICK or lookup(table, entries, digest, index) == REFUSED:
        return False
    b = block_of(table, digest)
    block, base = blocks[b], b * table.size
    entries[base + index].server = -1
    if table.variant == BMV2:
        entries[base + index].check = NOTHING
        entries[base + block.tail].free = index
        block.tail = block.tail + 1 if block.tail + 1 < table.size else 0
    else:
        entries[base + block.free].free = index
    block.free += 1
    return True


@lean
def delete_server(table: ConnTable, entries: Rows, blocks: Rows, server: int) -> int:
    """Free every entry of a dead server, one pass over the table; return how many.

    Its connections end without a close, so their entries are otherwise lost. Not in the published code,
    nor for its variants: there nothing is freed.
    """
    freed = 0
    if table.variant == CHEETAH:
        for row in range(len(entries)):
            if entries[row].server == server:
                block = blocks[row // table.size]
                entries[row].server = -1
                entries[row - row % table.size + block.free].free = row % table.size
                block.free += 1
                freed += 1
    return freed


@lean
def client_fin(table: ConnTable, entries: Rows, blocks: Rows, digest: int, index: int) -> int:
    """Return where a client's FIN goes, a server or `REFUSED`.

    bmv2 frees the entry, so the client cannot acknowledge what the server still sends. As meant, the entry
    stays until both sides have closed: that is for the caller, by `delete`.
    """
    server = lookup(table, entries, digest, index)
    if table.variant == BMV2:
        delete(table, entries, blocks, digest, index)
    return server


def bytes_per_connection(flow_header: int = 32, flow_state: int = 32) -> dict[str, int]:
    """Return the bytes of one entry in each published layout, and in this module.

    FastClick precedes every flow's state (`flow_state` bytes, 32 in the experiments) by a header: at least 32
    bytes (use count, last seen, flags, parent), up to 24 more by build options; pass `flow_header`. All
    tables are allocated for their capacity: multiply by entries, divide by connections. Stateless Cheetah
    has none of it: 16 bytes a server.
    """
    flow = flow_header + flow_state
    return {
        "fastclick": flow + 12 + 4,  # two upper halves and a version; the int on the stack
        "bmv2": 2 + 2 + 2,  # hash, server, free index
        "cheetah": ENTRY.itemsize,
        # DPDK 20.02, 8 entries a bucket: a 64-byte line for 8 (signature, index, flag); pointer and 13-byte
        # key, aligned to 16; the index in the ring of free slots.
        "cuckoo": flow + 64 // 8 + 32 + 4,
    }
