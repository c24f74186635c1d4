"""A tournament over targets: the one of least rank at once, log2(n) matches after a change.

Matches are the inner nodes of a complete binary tree with the targets as leaves (Knuth, TAOCP 3, 5.4.1).
Node k meets the winners of nodes 2k and 2k + 1; leaf n + p is the target at position p and is not stored. So
`order[1]` is the overall winner, for any n. Among equal ranks the lowest position wins.

`rank` is a kernel rank(queue, weight). The steps are compiled into their callers: Numba would keep them on
disk for each rank anew, and in the next process know none of them again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import inlined

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]
Rank = Callable[[int, float], float]


def new_order(n: int) -> Int64s:
    """Return the winners of the matches of n targets, int64[n + 1], not played yet; `order[0]` is unused.

    Raises ValueError for fewer than 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}: a tournament needs 1 target or more")
    return np.zeros(n + 1, np.int64)


@inlined
def play(order: Int64s, queue: Int64s, weight: Float64s, rank: Rank, position: int) -> None:
    """Play again what the target at a position takes part in, after its queue or weight changed."""
    n = len(order) - 1
    match = (n + position) >> 1
    while match >= 1:
        before, left, right = order[match], 2 * match, 2 * match + 1
        a = left - n if left >= n else order[left]
        b = right - n if right >= n else order[right]
        of_a, of_b = rank(queue[a], weight[a]), rank(queue[b], weight[b])
        order[match] = a if of_a < of_b or (of_a == of_b and a < b) else b
        # The same winner as before, and not the one that changed: nothing above is another either.
        match = 0 if order[match] == before != position else match >> 1


@inlined
def play_all(order: Int64s, queue: Int64s, weight: Float64s, rank: Rank) -> None:
    """Play every match, after targets came or went."""
    n = len(order) - 1
    for match in range(n - 1, 0, -1):
        left, right = 2 * match, 2 * match + 1
        a = left - n if left >= n else order[left]
        b = right - n if right >= n else order[right]
        of_a, of_b = rank(queue[a], weight[a]), rank(queue[b], weight[b])
        order[match] = a if of_a < of_b or (of_a == of_b and a < b) else b
