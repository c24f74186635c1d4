"""Policies for when the load a balancer knows is old: random picks tempered, and scores from answers.

`one_plus_beta` reads `view.queue`, as old as `view.age` says. `peak_ewma` and `c3` remember what each
server's answers told: exact, but as old as its last answer. What is outstanding at a server they know live,
from `view.inside`: a balancer alone has all that is inside from itself.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.policies import Answer, Unit, View, coin, policy
from lbsim.jit import kernel
from lbsim.units import SECOND

Int64s = NDArray[np.int64]

BETA: Final = 0.5
"""Share of choices that compare two targets."""

DECAY: Final = 10 * SECOND
"""Mean lifetime of a latency in Peak EWMA, Finagle's default (ps)."""

PENALTY: Final = ((2**63 - 1) >> 16) * 1000.0
"""Rank of a server that has work but never answered (Finagle's, in ps): after all that did."""

ALPHA: Final = 0.9
"""Weight of the newest value in C3's moving averages, as in its authors' code."""

FRACTION: Final = 1 << 20
"""C3 remembers queues in units of 1 / FRACTION."""

COST, STAMP, PEAK_FIELDS = range(3)
WAITED, SERVED, QUEUED, C3_FIELDS = range(4)
"""What is remembered of each server, side by side: `state[server * fields + field]`."""


def peak_memory(n: int) -> int:
    """Return the int64 that Peak EWMA needs for n servers."""
    return PEAK_FIELDS * n


def c3_memory(n: int) -> int:
    """Return the int64 that C3 needs for n servers."""
    return C3_FIELDS * n


# --- (1 + beta) choices -------------------------------------------------------------------------------------


@policy(samples=2)
def one_plus_beta(view: View, unit: Unit) -> int:
    """(1 + beta) choices: the shorter of two random queues, or by a coin one random target; beta 0.5.

    Peres, Talwar and Wieder, Random Structures & Algorithms 2015. Reads `queue`, however old: what is picked
    blindly does not herd to where the last report was short (Mitzenmacher, IEEE TPDS 2000, "How Useful Is
    Old Information?"). The first of the two at a tie.
    """
    a, b = coin(view, unit, 0) % view.n, coin(view, unit, 1) % view.n
    both = (coin(view, unit, 2) >> 10) / 2.0**53 < BETA
    return b if both and view.queue[b] < view.queue[a] else a


# --- Peak EWMA ----------------------------------------------------------------------------------------------


@kernel
def observe(state: Int64s, server: int, now: int, latency: int) -> float:
    """Let a server's cost follow a latency, at once if that is higher; return its cost, ps."""
    at = server * PEAK_FIELDS
    cost = float(state[at + COST])
    share = math.exp((state[at + STAMP] - now) / DECAY)
    cost = float(latency) if latency > cost else cost * share + latency * (1.0 - share)
    state[at + COST], state[at + STAMP] = int(cost), now
    return float(state[at + COST])


@kernel
def peak_rank(state: Int64s, server: int, now: int, pending: int) -> float:
    """Return a server's cost x (pending + 1); that of one that has work but never answered comes last."""
    cost = observe(state, server, now, 0)
    return PENALTY + pending if cost == 0.0 and pending > 0 else cost * (pending + 1)


def peak_done(view: View, answer: Answer) -> None:
    """Let the server's cost follow the answer's latency."""
    observe(view.state, answer.target, view.now, answer.latency)


@policy(state=peak_memory, done=peak_done, reads="answers")
def peak_ewma(view: View, unit: Unit) -> int:
    """Peak EWMA: of two random servers, that of least latency x (outstanding + 1) (Twitter's Finagle).

    The latency is a moving average that jumps to each peak and decays with a mean life of 10 s. Reads the
    latency of answers, as old as the server's last one, and `inside`, live. The second at a tie, as in
    Finagle (PeakEwma.scala, P2CPick.scala).
    """
    if view.n == 1:
        return 0
    a = coin(view, unit, 0) % view.n
    b = coin(view, unit, 1) % (view.n - 1)
    b = b + 1 if b >= a else b
    of_a = peak_rank(view.state, view.active[a], view.now, view.inside[a])
    of_b = peak_rank(view.state, view.active[b], view.now, view.inside[b])
    return a if of_a < of_b else b


# --- C3 -----------------------------------------------------------------------------------------------------


@kernel
def _follow(state: Int64s, at: int, value: int) -> None:
    """Let a moving average, 0 at first, follow a value."""
    state[at] = int(ALPHA * value + (1.0 - ALPHA) * state[at])


@kernel
def c3_follow(state: Int64s, server: int, latency: int, service: int, queue: int) -> None:
    """Let a server's averages follow an answer."""
    at = server * C3_FIELDS
    _follow(state, at + WAITED, latency - service)
    _follow(state, at + SERVED, service)
    _follow(state, at + QUEUED, queue * FRACTION)


@kernel
def c3_least(state: Int64s, active: Int64s, inside: Int64s, start: int) -> int:
    """Return the position of least score, then of fewest outstanding, then the next from `start` on."""
    n, best, least, fewest = len(active), -1, np.inf, 0
    for k in range(n):
        position = (start + k) % n
        at, outstanding = active[position] * C3_FIELDS, inside[position]
        queue = 1.0 + outstanding + state[at + QUEUED] / FRACTION
        score = state[at + WAITED] + queue * queue * queue * state[at + SERVED]
        if best < 0 or score < least or (score == least and outstanding < fewest):
            best, least, fewest = position, score, outstanding
    return best


def c3_done(view: View, answer: Answer) -> None:
    """Let the server's averages follow the answer."""
    c3_follow(view.state, answer.target, answer.latency, answer.service, answer.queue)


@policy(state=c3_memory, done=c3_done, reads="answers")
def c3(view: View, unit: Unit) -> int:
    """C3: the server of least R - S + q^3 S, from what its answers told (Suresh et al., NSDI 2015).

    R is the latency, S the service time, q = 1 + outstanding + the queue an answer left behind: moving
    averages with weight 0.9 on the newest, from 0, as in the authors' code, so that a server not heard of
    comes first. Reads answers, as old as the server's last one, and `inside`, live. All servers are replicas,
    so that a choice costs time by their number. With one balancer its number of clients is 1. Its rate
    control is left out: nothing here holds a request back.
    """
    return c3_least(view.state, view.active, view.inside, coin(view, unit, 0) % view.n)
