"""Prequal: random servers are probed at each request, and answers are kept in a small pool for later ones.

Wydrowski, Kleinberg, Rumble and Archer, NSDI 2024. A probe reads how many requests its server has in flight
(RIF) and what latency it expects with as many; the answer is usable a round trip later. A choice is by hot
and cold, lexicographically (HCL): among the pool's cold servers that of least latency, or if all are hot that
of least RIF. A server is hot if its RIF is above the quantile QUANTILE of the last probes' RIFs.

In the paper servers keep latencies by the RIF that requests met. Here each has one figure, the smoothed
latency per request met, the own one counted; times RIF + 1 it is what to expect (an assumption).

All is kept in one array of int64: the counters below, the RIFs of the last probes, the pool and the probes
under way, the latter two with the fields below and in order of time, and last the servers' own figures.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.policies import Answer, Unit, View, coin, policy
from lbsim.jit import kernel
from lbsim.units import SECOND, US

Int64s = NDArray[np.int64]

PROBES: Final = 3
"""Probes sent at each request, to different servers."""

POOL: Final = 16
"""Answers kept at most, one a server; a newer one takes the oldest one's place."""

LEAST: Final = 2
"""Answers needed for a choice; with fewer it is random."""

QUANTILE: Final = 0.84
"""Of RIFs, above which a server is hot."""

LONGEST: Final = SECOND
"""Age at which an answer is dropped, ps."""

SPARE: Final = 1.0
"""By how much answers may be used more often than they come in (delta of the paper's reuse budget)."""

REMOVED: Final = 1
"""Answers removed at each request, the oldest and the worst by turns, while more than LEAST are left."""

ROUND_TRIP: Final = 100 * US
"""From a probe to its answer, ps: the paper says well below a millisecond; this is an assumption."""

RECENT: Final = 128
"""RIFs remembered for the quantile; an assumption."""

HELD, FIRST, FLYING, SEEN, TURN, COUNTERS = range(6)
"""Answers in the pool; first probe under way and their number; RIFs ever seen; whose turn removal is."""

SERVER, PLACE, RIF, LATENCY, SENT, USES, FIELDS = range(7)
"""Of a probe: server and its position, what it read, when it was sent, and how often it may be used."""

POOL_AT: Final = COUNTERS + RECENT
FLIGHT_AT: Final = POOL_AT + POOL * FIELDS


def prequal_memory(n: int) -> int:
    """Return the int64 needed for n servers; there is room for 64 + 16 n probes under way."""
    return FLIGHT_AT + (64 + 16 * n) * FIELDS + n


@kernel
def parts(state: Int64s) -> tuple[Int64s, Int64s]:
    """Return the probes under way, [room, FIELDS], and ps a request met by server, [n]."""
    n = (len(state) - FLIGHT_AT - 64 * FIELDS) // (16 * FIELDS + 1)
    end = len(state) - n
    return state[FLIGHT_AT:end].reshape(64 + 16 * n, FIELDS), state[end:]


@kernel
def reuses(n: int) -> float:
    """Return how often an answer may be used, on average (the paper's b_reuse), at least 1.

    Where the formula has no answer, as probes of few servers bring little that is new, it is once.
    """
    gained = (1.0 - POOL / n) * PROBES - REMOVED
    return max(1.0, (1.0 + SPARE) / gained) if gained > 0.0 else 1.0


@kernel
def drop(state: Int64s, k: int) -> None:
    """Drop answer k of the pool."""
    state[HELD] -= 1
    at, end = POOL_AT + k * FIELDS, POOL_AT + state[HELD] * FIELDS
    for i in range(at, end):
        state[i] = state[i + FIELDS]


@kernel
def refresh(state: Int64s, active: Int64s, now: int) -> None:
    """Take in the answers that have come by now; drop those too old, and of servers that moved or left."""
    flight, pool = parts(state)[0], state[POOL_AT:FLIGHT_AT].reshape(POOL, FIELDS)
    room = len(flight)
    while state[FLYING] > 0 and flight[state[FIRST], SENT] + ROUND_TRIP <= now:
        probe = flight[state[FIRST]]
        state[FIRST] = (state[FIRST] + 1) % room
        state[FLYING] -= 1
        state[COUNTERS + state[SEEN] % RECENT] = probe[RIF]
        state[SEEN] += 1
        for k in range(state[HELD] - 1, -1, -1):
            if pool[k, SERVER] == probe[SERVER]:
                drop(state, k)
        if state[HELD] == POOL:
            drop(state, 0)
        pool[state[HELD]] = probe
        state[HELD] += 1
    for k in range(state[HELD] - 1, -1, -1):
        place = pool[k, PLACE]
        if now - pool[k, SENT] > LONGEST or place >= len(active) or active[place] != pool[k, SERVER]:
            drop(state, k)


@kernel
def threshold(state: Int64s) -> int:
    """Return the highest RIF that is still cold."""
    seen = min(state[SEEN], RECENT)
    rifs = np.sort(state[COUNTERS : COUNTERS + seen])
    return rifs[math.ceil(QUANTILE * seen) - 1]  # type: ignore[no-any-return]


@kernel
def best(state: Int64s, limit: int) -> int:
    """Return the answer to choose by: HCL, then the lesser of the other figure, then the older."""
    pool, chosen = state[POOL_AT:FLIGHT_AT].reshape(POOL, FIELDS), 0
    for k in range(1, state[HELD]):
        one, two = pool[chosen], pool[k]
        hot, also = one[RIF] > limit, two[RIF] > limit
        if hot != also:
            better = hot
        elif hot:
            better = two[RIF] < one[RIF] or (two[RIF] == one[RIF] and two[LATENCY] < one[LATENCY])
        else:
            better = two[LATENCY] < one[LATENCY] or (
                two[LATENCY] == one[LATENCY] and two[RIF] < one[RIF]
            )  # fmt: skip
        chosen = k if better else chosen
    return chosen


@kernel
def worst(state: Int64s, limit: int) -> int:
    """Return the hot answer of highest RIF, or if none is hot that of highest latency; the older at a tie."""
    pool, chosen = state[POOL_AT:FLIGHT_AT].reshape(POOL, FIELDS), 0
    for k in range(1, state[HELD]):
        one, two = pool[chosen], pool[k]
        hot, also = one[RIF] > limit, two[RIF] > limit
        worse = two[RIF] > one[RIF] if hot or also else two[LATENCY] > one[LATENCY]
        chosen = k if worse else chosen
    return chosen


@kernel
def choose_by_pool(state: Int64s) -> int:
    """Return the position that the pool's best answer is of, used once more; -1 where it holds too few.

    An answer's RIF counts what was sent by it. Then removals.
    """
    pool, place = state[POOL_AT:FLIGHT_AT].reshape(POOL, FIELDS), -1
    if state[HELD] >= LEAST:
        limit = threshold(state)
        k = best(state, limit)
        place = pool[k, PLACE]
        pool[k, RIF] += 1
        pool[k, USES] -= 1
        if pool[k, USES] == 0:
            drop(state, k)
        for _ in range(REMOVED):
            if state[HELD] > LEAST:
                drop(state, worst(state, limit) if state[TURN] else 0)
                state[TURN] = 1 - state[TURN]
    return place


@kernel
def probe(state: Int64s, place: int, server: int, rif: int, latency: int, now: int, uses: int) -> None:
    """Send a probe, whose answer is on its way; where too many are under way, none."""
    flight = parts(state)[0]
    room = len(flight)
    if state[FLYING] < room:
        row = flight[(state[FIRST] + state[FLYING]) % room]
        row[SERVER], row[PLACE], row[RIF], row[LATENCY] = server, place, rif, latency
        row[SENT], row[USES] = now, uses
        state[FLYING] += 1


def prequal_done(view: View, answer: Answer) -> None:
    """Take an answer's latency into what its server expects."""
    each = parts(view.state)[1]
    seen, known = answer.latency // (answer.found + 1), each[answer.target]
    each[answer.target] = seen if known == 0 else known + (seen - known >> 3)


@policy(state=prequal_memory, done=prequal_done, reads="probes")
def prequal(view: View, unit: Unit) -> int:
    """Prequal: of a pool of probed servers, the cold one of least latency (Wydrowski et al., NSDI 2024).

    If all are hot, the one of fewest requests in flight; a random server while the pool has fewer than two.
    Reads `inside` and the latency to expect through probes, of three random servers at each request, a round
    trip old at least and a second at most. A probe is used `reuses` times, rounded at random.
    """
    met = parts(view.state)[1]
    refresh(view.state, view.active, view.now)
    place = choose_by_pool(view.state)
    first = second = -1
    each = reuses(view.n)
    for k in range(min(PROBES, view.n)):
        last = view.n - min(PROBES, view.n) + k  # Floyd's sampling: three different ones, all sets alike
        target = coin(view, unit, 1 + k) % (last + 1)
        if target in (first, second):
            target = last
        first, second = second, target
        more = (coin(view, unit, 1 + PROBES + k) >> 10) / 2.0**53 < each - math.floor(each)
        uses = math.floor(each) + more
        server, rif = view.active[target], view.inside[target]
        probe(view.state, target, server, rif, met[server] * (rif + 1), view.now, uses)
    return place if place >= 0 else coin(view, unit, 0) % view.n
