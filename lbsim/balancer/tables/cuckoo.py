"""A bucketised cuckoo hash table like DPDK's rte_hash: what a stateful balancer uses without cookies.

Each key has two buckets of eight entries: one by the low bits of its hash, the other by XOR with the hash's
high 16 bits, its signature (which is kept, so an entry can move without its key). A key that finds no
place in the first displaces others along the shortest path to a free entry, found breadth first and searched
from either bucket over at most 1000 nodes; without one the table is full (DPDK 20.02, rte_cuckoo_hash.c,
no extendable buckets; Pagh and Rodler 2004). State is two record arrays, `entries` and `queue`, so other
kernels may call these functions.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from lbsim.jit import kernel, lean

Rows = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

WIDTH: Final = 8
"""Entries of a bucket."""

QUEUE: Final = 1000
"""Nodes of a search for a free entry."""

NEW: Final = 1
UPDATED: Final = 0
FULL: Final = -1
MISSING: Final = -1

ENTRY: Final = np.dtype(
    [("key", np.int64), ("value", np.int32), ("signature", np.uint16), ("pad", np.uint16)]
)
"""One entry, 16 bytes; `value` -1 marks a free one."""

NODE: Final = np.dtype([("bucket", np.int32), ("parent", np.int32), ("slot", np.int32)])
"""A bucket that a search reached: from which node, by moving which of its entries."""


def new_cuckoo(entries: int) -> tuple[Rows, Rows]:
    """Return an empty table of the next power of two of `entries`, at least 8, and its search queue.

    Raises ValueError outside 1 to 2**31 entries.
    """
    if not 1 <= entries <= 2**31:
        raise ValueError(f"entries is {entries}: a table has 1 to {2**31}")
    size = max(WIDTH, 1 << (entries - 1).bit_length())
    table: Rows = np.zeros(size, ENTRY).view(np.recarray)
    table.value = -1
    return table, np.zeros(QUEUE, NODE).view(np.recarray)


@kernel
def signature_of(digest: int) -> int:
    """Return the 16 bits of a 32-bit hash that an entry keeps."""
    return digest >> 16 & 0xFFFF


@kernel
def other_bucket(bucket: int, signature: int, mask: int) -> int:
    """Return the other of the two buckets of an entry."""
    return (bucket ^ signature) & mask


@lean
def find(entries: Rows, key: int, digest: int) -> int:
    """Return the position of `key`, or `MISSING`."""
    mask = len(entries) // WIDTH - 1
    signature = signature_of(digest)
    bucket = digest & mask
    for _ in range(2):
        for k in range(bucket * WIDTH, bucket * WIDTH + WIDTH):
            entry = entries[k]
            if entry.signature == signature and entry.key == key and entry.value >= 0:
                return k
        bucket = other_bucket(bucket, signature, mask)
    return MISSING


@lean
def lookup(entries: Rows, key: int, digest: int) -> int:
    """Return the value of `key`, whose 32-bit hash is `digest`, or `MISSING`."""
    k = find(entries, key, digest)
    return int(entries[k].value) if k >= 0 else MISSING


@lean
def delete(entries: Rows, key: int, digest: int) -> bool:
    """Remove `key`; return whether it was there."""
    k = find(entries, key, digest)
    if k >= 0:
        entries[k].value = -1
    return k >= 0


@lean
def insert(entries: Rows, queue: Rows, key: int, digest: int, value: int) -> int:
    """Put `key` with a value of 0 or more; return `NEW`, `UPDATED` (it was there) or `FULL`.

    `digest` is the key's 32-bit hash; different keys may share it. A full table is left as it was.
    """
    k = find(entries, key, digest)
    if k >= 0:
        entries[k].value = value
        return UPDATED
    mask = len(entries) // WIDTH - 1
    signature = signature_of(digest)
    first = digest & mask
    k = make_room(entries, queue, first)
    if k < 0:
        k = make_room(entries, queue, other_bucket(first, signature, mask))
    if k < 0:
        return FULL
    entry = entries[k]
    entry.key, entry.value, entry.signature = key, value, signature
    return NEW


@lean
def make_room(entries: Rows, queue: Rows, bucket: int) -> int:
    """Free an entry of `bucket`, moving others to their other bucket; return its position, or `FULL`."""
    mask = len(entries) // WIDTH - 1
    queue[0].bucket, queue[0].parent = bucket, -1
    head, tail = 0, 1
    while head < tail < len(queue) - WIDTH:
        here = int(queue[head].bucket)
        for slot in range(WIDTH):
            entry = entries[here * WIDTH + slot]
            if entry.value < 0:
                return move_along(entries, queue, head, here * WIDTH + slot)
            node = queue[tail]
            node.bucket, node.parent, node.slot = other_bucket(here, entry.signature, mask), head, slot
            tail += 1
        head += 1
    return FULL


@lean
def move_along(entries: Rows, queue: Rows, node: int, free: int) -> int:
    """Move one entry per node of the path back to the start, each into the place its child freed.

    A shortest path holds no bucket twice, so each entry moves at most once.
    """
    while queue[node].parent >= 0:
        parent = queue[node].parent
        source = int(queue[parent].bucket) * WIDTH + int(queue[node].slot)
        into, out = entries[free], entries[source]
        into.key, into.value, into.signature = out.key, out.value, out.signature
        free, node = source, parent
    return free
