"""Consistent hashing as the Python package uhashring does it by default.

A server has points on a ring, the MD5 of "<server>-<v>" for v = 0, 1 ..., as 128-bit numbers; a key belongs
to the first point after its own MD5 (Karger et al., STOC 1997). The upper 64 bits decide: no two points share
them in any ring that fits in memory.

All servers that ever exist are on the ring, up or not: a key has a fixed cell, the arc that ends at its
successor among all points, and belongs to the first point from there on whose server is up.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import lean

Uint64s = NDArray[np.uint64]
Int32s = NDArray[np.int32]

_GUIDE_BITS: Final = 16


class Ring(NamedTuple):
    """The points of every server, in order."""

    points: Uint64s  # [n]
    server: Int32s  # [n]
    of_server: Int32s  # [servers, vnodes]: positions of its points
    guide: Int32s  # [2**16 + 1]: how many points are below each 16-bit prefix


def ring(servers: int, vnodes: int) -> Ring:
    """Return the ring of servers 0, 1 ..., each with `vnodes` points."""
    for name, value in (("servers", servers), ("vnodes", vnodes)):
        if value < 1:
            raise ValueError(f"{name} = {value} is too small: a ring needs at least 1")
    names = (f"{server}-{v}" for server in range(servers) for v in range(vnodes))
    unsorted = np.array([_md5_top(name) for name in names], np.uint64)
    order = np.argsort(unsorted, kind="stable")
    points = unsorted[order]
    of_server = np.empty(len(order), np.int32)
    of_server[order] = np.arange(len(order))
    borders = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - _GUIDE_BITS)
    guide = np.append(np.searchsorted(points, borders), len(points)).astype(np.int32)
    server = (order // vnodes).astype(np.int32)
    return Ring(points, server, of_server.reshape(servers, vnodes), guide)


@lean
def md5_top(a: np.uint32, b: np.uint32) -> Any:
    """Return the upper 64 bits of an MD5 read as a 128-bit number, from its first two words."""
    return (np.uint64(_swapped(a)) << np.uint64(32)) | np.uint64(_swapped(b))


@lean
def _swapped(word: np.uint32) -> np.uint32:
    halves = np.uint32((word << np.uint32(16)) | (word >> np.uint32(16)))
    return np.uint32(
        ((halves & np.uint32(0x00FF00FF)) << np.uint32(8))
        | ((halves >> np.uint32(8)) & np.uint32(0x00FF00FF))
    )


@lean
def cell_of(points: Uint64s, guide: Int32s, top: Any) -> int:
    """Return the cell of a key: the position of the first point above the upper 64 bits of its MD5."""
    cell: Any = guide[np.uintp(top >> np.uint64(64 - _GUIDE_BITS))]
    while cell < len(points) and points[cell] <= top:
        cell += 1
    return cell if cell < len(points) else 0


@lean
def owner(server: Int32s, up: NDArray[np.bool_], cell: int) -> int:
    """Return the server that a cell belongs to, the first that is up from there on; one must be."""
    while not up[server[cell]]:
        cell = next_cell(server, cell)
    return server[cell]  # type: ignore[no-any-return]


@lean
def next_cell(server: Int32s, cell: int) -> int:
    """Return the cell after, around the ring."""
    return cell + 1 if cell + 1 < len(server) else 0


@lean
def cell_before(server: Int32s, cell: int) -> int:
    """Return the cell before, around the ring."""
    return cell - 1 if cell else len(server) - 1


@lean
def starts_arc(server: Int32s, up: NDArray[np.bool_], cell: int, of: int) -> bool:
    """Return whether an arc of server `of` starts with this cell: the point before is up, or its own."""
    before = server[cell_before(server, cell)]
    return up[before] or before == of  # type: ignore[no-any-return]


def _md5_top(text: str) -> int:
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:8], "big")
