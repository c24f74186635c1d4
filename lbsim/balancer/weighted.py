"""Weighted round robin: a shuffled list in which a server stands as often as its weight says.

As in Cheetah's balancer (cheetahlb/cheetah-fastclick, include/click/loadbalancer.hh). There a timer also
recomputes the weights from reported loads (AWRR); the list is then made and shuffled anew, and the pointer
into it stays where it is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lbsim import rng
from lbsim.balancer.policies import Unit, View, policy
from lbsim.jit import kernel, lean

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]

LONGEST: Final = 1 << 24
"""Entries a list may have."""


def weighted_list(active: Int64s, weights: Float64s, size: int, seed: int) -> Int64s:
    """Return the list: each active server as often as its weight says, shuffled; `size` plays no part.

    Weights, by server number, are rounded to whole numbers (halves to even ones). Raises ValueError for a
    weight below 0 or not finite, and for a list that would be empty or longer than `LONGEST`.
    """
    for server in active.tolist():
        if not 0 <= weights[server] <= LONGEST:
            raise ValueError(
                f"the weight of server {server} is {weights[server]}: give a number from 0 to {LONGEST}"
            )
    times = np.rint(weights[active]).astype(np.int64)
    if not 0 < times.sum() <= LONGEST:
        raise ValueError(
            f"the active servers' weights, rounded, add up to {times.sum()}: scale them so that they "
            f"add up to 1 to {LONGEST}"
        )
    made = np.repeat(active, times)
    _shuffle(made, seed)
    return made


@lean
def _shuffle(made: Int64s, seed: int) -> None:
    """Put a list in one of its orders, each as likely (Fisher and Yates)."""
    for k in range(len(made) - 1, 0, -1):
        other = rng.coin(seed, k, 0) % (k + 1)
        made[k], made[other] = made[other], made[k]


@kernel
def awrr_weights(
    load: Int64s, averaged: Int64s, gain: float, alpha: float, least: int, most: int
) -> Int64s:  # fmt: skip
    """Return the weights of adaptive WRR, int64 by server number, from the loads by server number.

    gain x mean / ((1 - alpha) x load + alpha x mean), kept within `least` to `most` and cut to a whole
    number; a server without load gets `most`. The mean is over the servers `averaged`, cut to a whole number.
    As published: gain 10, alpha 0, 2 to 30, and all configured servers averaged, those not in use too.
    """
    total = 0
    for server in averaged:
        total += load[server]
    mean = total // len(averaged)
    weights = np.empty(len(load), np.int64)
    for server in range(len(load)):
        scale = (1.0 - alpha) * load[server] + alpha * mean
        if load[server] == 0 or scale == 0.0:
            weights[server] = most
        else:
            weights[server] = int(min(max(gain * mean / scale, float(least)), float(most)))
    return weights


@policy(state=1, table=weighted_list, samples=1, reads="weights")
def weighted_round_robin(view: View, unit: Unit) -> int:
    """WRR: targets in turn from a shuffled list that names each as often as its weight says."""
    return _next(view)


@policy(state=1, table=weighted_list, samples=1, reads="weights")
def adaptive_weighted_round_robin(view: View, unit: Unit) -> int:
    """AWRR: WRR whose weights follow the loads (Barbette et al., NSDI 2020); equal until they are adapted."""
    return _next(view)


@kernel
def _next(view: View) -> int:
    """Take the next of the list, which may have got shorter."""
    slot = view.state[0] % len(view.table)
    view.state[0] = (slot + 1) % len(view.table)
    return view.table[slot]  # type: ignore[no-any-return]
