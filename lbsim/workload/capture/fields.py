"""Read the integers of a header from captured bytes, in either byte order, as int64.

A position is never negative; said with `np.uintp`, this lets the compiler fuse bytes into one load.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lbsim.jit import kernel
from lbsim.workload.packets import Bytes


@kernel
def u8(data: Bytes, at: int) -> int:
    """Return one byte."""
    return int(data[np.uintp(at)]) + 0  # Numba's int() alone keeps uint8, whose shifts are unsigned


@kernel
def u16(data: Bytes, at: int, big: bool) -> int:
    """Return two bytes, `big` or little endian."""
    a, b = u8(data, at), u8(data, at + 1)
    return a << 8 | b if big else b << 8 | a


@kernel
def u32(data: Bytes, at: int, big: bool) -> int:
    """Return four bytes, `big` or little endian."""
    a, b = u16(data, at, big), u16(data, at + 2, big)
    return a << 16 | b if big else b << 16 | a


@kernel
def net16(data: Bytes, at: int) -> int:
    """Return two bytes in network order."""
    return u16(data, at, True)


@kernel
def net64(data: Bytes, at: int) -> Any:
    """Return eight bytes in network order, unsigned."""
    return np.uint64(u32(data, at, True)) << np.uint64(32) | np.uint64(u32(data, at + 4, True))
