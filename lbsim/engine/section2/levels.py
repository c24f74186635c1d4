"""Which servers carry how many connections: for every load, their number and a bit each.

The most and the least loaded server are found in a few words, however many servers there are: loads change by
little at a time, so the highest and lowest load that occur are followed with a step or two per change.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba.cpython.unsafe import numbers
from numpy.typing import NDArray

from lbsim.jit import lean

Int64s = NDArray[np.int64]
Levels = NDArray[np.uint64]
"""uint64[loads, 1 + words]: the number of servers with that load, then a bit for each of them."""

COUNT: Final = np.uintp(0)
LOWEST, HIGHEST = 0, 1  # of the loads that occur, in an int64[2]
leading_zeros: Any = numbers.leading_zeros
trailing_zeros: Any = numbers.trailing_zeros
_ONE: Final = np.uint64(1)


def levels(servers: int, most: int) -> Levels:
    """Return the levels of idle servers, with room for loads up to `most`."""
    made = np.zeros((most + 1, 1 + -(-servers // 64)), np.uint64)
    for server in range(servers):
        put(made, 0, server)
    return made


@lean
def put(levels: Levels, load: int, server: int) -> None:
    """Note that the server has this load."""
    level = levels[np.uintp(load)]
    level[COUNT] += _ONE
    level[np.uintp(1 + (server >> 6))] |= _ONE << np.uint64(server & 63)


@lean
def take(levels: Levels, load: int, server: int) -> None:
    """Note that the server no longer has this load."""
    level = levels[np.uintp(load)]
    level[COUNT] -= _ONE
    level[np.uintp(1 + (server >> 6))] ^= _ONE << np.uint64(server & 63)


@lean
def is_empty(levels: Levels, load: int) -> bool:
    """Return whether no server has this load."""
    return levels[np.uintp(load), COUNT] == 0  # type: ignore[no-any-return]


@lean
def change(levels: Levels, loads: Int64s, server: int, load: int, by: int) -> None:
    """A server's load changes; `loads`, the lowest and the highest load that occur, follows."""
    take(levels, load, server)
    join(levels, loads, server, load + by)


@lean
def join(levels: Levels, loads: Int64s, server: int, load: int) -> None:
    """A server joins, with this load."""
    put(levels, load, server)
    low, high = min(loads[LOWEST], load), max(loads[HIGHEST], load)
    while is_empty(levels, low):
        low += 1
    while is_empty(levels, high):
        high -= 1
    loads[LOWEST], loads[HIGHEST] = low, high


@lean
def withdraw(levels: Levels, loads: Int64s, server: int, load: int) -> None:
    """A server withdraws; where it was the last one, `loads` means nothing until another joins."""
    take(levels, load, server)
    while loads[LOWEST] < loads[HIGHEST] and is_empty(levels, loads[LOWEST]):
        loads[LOWEST] += 1
    while loads[LOWEST] < loads[HIGHEST] and is_empty(levels, loads[HIGHEST]):
        loads[HIGHEST] -= 1


@lean
def lowest(levels: Levels, load: int) -> int:
    """Return the first server with this load; there must be one."""
    word = np.uintp(1)
    while levels[load, word] == 0:
        word += np.uintp(1)
    return np.int64(word - np.uintp(1)) * 64 + np.int64(trailing_zeros(levels[load, word]))  # type: ignore[return-value]


@lean
def highest(levels: Levels, load: int) -> int:
    """Return the last server with this load; there must be one."""
    word = np.uintp(levels.shape[1] - 1)
    while levels[load, word] == 0:
        word -= np.uintp(1)
    return np.int64(word) * 64 - 1 - np.int64(leading_zeros(levels[load, word]))  # type: ignore[return-value]
