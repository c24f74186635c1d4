"""A tournament over targets: the one of least rank at once, log2(n) matches after a change.

Matches are the inner nodes of a complete binary tree with the targets as leaves (Knuth, TAOCP 3, 5.4.1).
Node k meets the winners of nodes 2k and 2k + 1; leaf n + p is the target at position p and is not stored. So
`order[1].winner` is the overall winner, for any n. Among equal ranks the lowest position wins.

`rank` is a kernel rank(queue, weight). The steps are compiled into their callers: Numba would keep them on
disk for each rank anew, and in the next process know none of them again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import inlined

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]
Rank = Callable[[int, float], float]
Order = Any  # NODE[n + 1] as a record array; NODE[0] where no tournament is kept

NODE: Final = np.dtype([("rank", np.float64), ("winner", np.int64)])
"""Who won a match and with which rank: what the next match needs, in one place."""


def new_order(n: int) -> Order:
    """Return the matches of n targets, NODE[n + 1], not played yet; `order[0]` is unused.

    Raises ValueError for fewer than 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}: a tournament needs 1 target or more")
    return np.zeros(n + 1, NODE).view(np.recarray)


def no_order() -> Order:
    """Return what stands for a tournament where none is kept."""
    return np.empty(0, NODE).view(np.recarray)


@inlined
def play(order: Order, queue: Int64s, weight: Float64s, rank: Rank, position: int) -> None:
    """Play again what the target at a position takes part in, after its queue or weight changed."""
    n = len(order) - 1
    node, winner = n + position, position
    least = float(rank(queue[position], weight[position]))
    while node > 1:
        rival = node ^ 1
        if rival >= n:
            other, of_other = rival - n, float(rank(queue[rival - n], weight[rival - n]))
        else:
            other, of_other = order[rival].winner, order[rival].rank
        if of_other < least or (of_other == least and other < winner):
            winner, least = other, of_other
        node >>= 1
        match = order[node]
        if match.winner == winner and match.rank == least:
            node = 0  # nothing above is another either
        else:
            match.winner, match.rank = winner, least


@inlined
def play_all(order: Order, queue: Int64s, weight: Float64s, rank: Rank) -> None:
    """Play every match, after targets came or went."""
    n = len(order) - 1
    order[1].winner, order[1].rank = 0, rank(queue[0], weight[0])  # where there is one target alone
    for node in range(n - 1, 0, -1):
        least, winner = np.inf, -1
        for side in range(2 * node, 2 * node + 2):
            other = side - n if side >= n else order[side].winner
            of_other = float(rank(queue[other], weight[other]))
            if winner < 0 or of_other < least or (of_other == least and other < winner):
                winner, least = other, of_other
        order[node].winner, order[node].rank = winner, least
