"""RSS++: at every tick, move a few buckets of the indirection table from overloaded to underloaded cores.

Barbette, Katsikas, Maguire and Kostic, "RSS++: load and state-aware receive side scaling" (CoNEXT 2019),
as its published code does it (rsspp/fastclick). Pure functions over arrays, one for each step of a tick:
`core_loads` (`lbsim.nic.load`) -> scaling, where it is on (`lbsim.nic.scaling`) -> `rebalance` ->
`next_tick`. Cores in use are 0..N-1 here; loads and imbalances are in units of one core. Ties fall to the
lowest core and the lowest bucket.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import kernel
from lbsim.units import MS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SETTLED: Final = 0.01  # a destination with no more deficit takes no more; also the score that ends a search
OVERLOADED: Final = -1
UNDERLOADED: Final = 1
GROW: Final = 0
LOWER: Final = 1
RAISE: Final = 2


class RssppParams(NamedTuple):
    """What can be set about RSS++; the defaults are those of the paper's DPDK experiments."""

    threshold: float = 0.02  # imbalance, in cores, that is left alone
    alpha: float = 1.0  # share of a core's imbalance that is acted upon
    target_load: float = 0.8  # load per core that core scaling aims at; balancing aims at the mean
    min_tick: int = 100 * MS  # ps
    max_tick: int = 100 * MS  # ps
    queue_term: bool = True  # let ring occupancy tell saturated cores apart
    as_published: bool = True  # keep the quirks of the published code
    passes: int = 10  # greedy passes of one tick, at most


class Moves(NamedTuple):
    """What one tick decided.

    `score` is the sum of squared residuals over the overloaded and underloaded cores; 0 without any pass.
    """

    table: Ints  # int64[B], the new table; equal to the old one when nothing moves
    buckets: Ints  # indices of the moved buckets, ascending
    residual: Floats  # float64[N], imbalance after the moves; 0 for cores that sat this tick out
    received: Flags  # bool[N], cores that got a bucket: they sit out the next tick
    passes: int
    score: float


class Offer(NamedTuple):
    """What the solver of one tick works on: every core's imbalance, and the buckets that may move."""

    imbalance: Floats  # float64[N]
    role: Ints  # int64[N]: OVERLOADED, UNDERLOADED, or 0 for a core that stays out of it
    start: Ints  # int64[N + 1], core c offers the buckets from start[c] to before start[c + 1]
    weight: Floats  # load of each bucket on offer, heaviest first within a core


def rebalance(
    load: Floats,
    bucket_counts: Ints,
    table: Ints,
    received: Flags,
    params: RssppParams,
    held: Flags | None = None,
) -> Moves:
    """Return the moves of one tick.

    `load` is float64[N]; `bucket_counts` (packets of each bucket since the last tick) and `table` (core of
    each bucket) are int64[B]; `received` is bool[N], as the previous tick returned it; `held`, bool[B], marks
    buckets that must stay where they are, as their last move is still under way. No argument changes.

    A core's imbalance is the mean load less its own. Above `threshold` it is underloaded; below -`threshold`
    it is overloaded, given at least two buckets with packets. Cores that received at the previous tick sit
    this one out. The load of a bucket is its share of its core's packets, times that core's load. Raises
    ValueError when the columns do not fit together or the table names a core that is not in use.
    """
    cores, buckets = load.size, table.size
    if received.size != cores or bucket_counts.size != buckets:
        raise ValueError(
            f"{cores} loads with {received.size} received flags, {buckets} table entries with "
            f"{bucket_counts.size} bucket counts: lengths must be equal in each pair"
        )
    if held is None:
        held = np.zeros(buckets, np.bool_)
    if held.size != buckets:
        raise ValueError(f"{held.size} held flags for {buckets} table entries: lengths must be equal")
    if buckets and (table.min() < 0 or table.max() >= cores):
        raise ValueError(
            f"table names cores {table.min()} to {table.max()}: "
            f"with {cores} cores in use every entry is between 0 and {cores - 1}"
        )
    new_table, residual, passes, score = _rebalance(
        load,
        bucket_counts,
        table,
        received,
        held,
        params.threshold,
        params.alpha,
        params.passes,
        params.as_published,
    )
    moved = np.flatnonzero(new_table != table)
    got = np.zeros(cores, np.bool_)
    got[new_table[moved]] = True
    return Moves(new_table, moved, residual, got, passes, score)


def next_tick(period: int, residual: Floats, moved: bool, params: RssppParams) -> int:
    """Return the period (ps) until the next tick.

    With S the sum of absolute residuals: the minimum where S > 0.4, half of `period` where S > 0.2, else
    twice `period` where nothing moved; all within [min_tick, max_tick]. The published code takes S only after
    a move, so an imbalance that no move can mend slows the ticks down instead of speeding them up.
    """
    imbalance = float(np.abs(residual).sum()) if moved or not params.as_published else 0.0
    if imbalance > 0.4:
        period = params.min_tick
    elif imbalance > 0.2:
        period //= 2
    elif not moved:
        period *= 2
    return max(params.min_tick, min(period, params.max_tick))


@kernel
def _rebalance(
    load: Floats,
    counts: Ints,
    table: Ints,
    received: Flags,
    held: Flags,
    threshold: float,
    alpha: float,
    passes: int,
    as_published: bool,
) -> tuple[Ints, Floats, int, float]:
    """Classify the cores, then solve if there are both overloaded and underloaded ones."""
    cores, buckets = load.size, table.size
    packets, active, offers = np.zeros(cores, np.int64), np.zeros(cores, np.int64), np.zeros(cores, np.int64)
    for b in range(buckets):
        packets[table[b]] += counts[b]
        active[table[b]] += counts[b] > 0
        offers[table[b]] += counts[b] > 0 and not held[b]
    total = 0.0
    for c in range(cores):
        total += load[c]
    imbalance, role = np.zeros(cores), np.zeros(cores, np.int64)
    for c in range(cores):
        if not received[c]:
            imbalance[c] = alpha * (total / cores - load[c])
            if imbalance[c] > threshold:
                role[c] = UNDERLOADED
            elif imbalance[c] < -threshold and active[c] >= 2 and offers[c] > 0:
                role[c] = OVERLOADED
    if role.min() != OVERLOADED or role.max() != UNDERLOADED:
        return table.copy(), imbalance, 0, 0.0

    # Group the buckets of overloaded cores, heaviest first; equal counts stay in order of index.
    start = np.zeros(cores + 1, np.int64)
    for c in range(cores):
        start[c + 1] = start[c] + (offers[c] if role[c] == OVERLOADED else 0)
    place, bucket, weight = start.copy(), np.zeros(start[cores], np.int64), np.zeros(start[cores])
    for b in np.argsort(-counts, kind="mergesort"):
        c = table[b]
        if role[c] == OVERLOADED and counts[b] > 0 and not held[b]:
            bucket[place[c]] = b
            weight[place[c]] = counts[b] / packets[c] * load[c]
            place[c] += 1
    destination, residual = np.zeros(bucket.size, np.int64), np.zeros(cores)
    number, score = _search(
        Offer(imbalance, role, start, weight), passes, as_published, destination, residual
    )
    new_table = table.copy()
    for k in range(bucket.size):
        if destination[k] >= 0:
            new_table[bucket[k]] = destination[k]
    return new_table, residual, number, score


@kernel
def _search(
    offer: Offer, passes: int, as_published: bool, destination: Ints, residual: Floats
) -> tuple[int, float]:
    """Run greedy passes under varying tolerances, leave the last in `destination` and `residual`.

    `drain` is how far a source may be drained and `fill` how far a destination may be overfilled. They grow
    from what the first pass left over until the score worsens, then are bisected. The last pass repeats the
    chosen tolerances: the best; as published, where the lowest score is never stored, the latest.
    """
    drain, fill = -SETTLED, -SETTLED
    bottom_drain, bottom_fill, top_drain, top_fill = drain, fill, drain, fill
    chosen_drain, chosen_fill = drain, fill
    phase, m, last = GROW, 0.5, False
    lowest, previous, score, number = np.inf, np.inf, np.inf, 0
    while True:
        number += 1
        last = last or number >= passes
        if last:
            drain, fill = chosen_drain, chosen_fill
        score = _greedy_pass(offer, drain, fill, destination, residual)
        if last or score < SETTLED:
            return number, score
        if score < lowest:
            chosen_drain, chosen_fill = drain, fill
            if not as_published:
                lowest = score
        if number == 1:
            drain, fill = 0.0, 0.0
            for c in range(residual.size):
                if offer.role[c] == OVERLOADED:
                    drain += abs(residual[c])
                elif offer.role[c] == UNDERLOADED:
                    fill += abs(residual[c])
        elif phase == GROW and score <= previous:
            drain *= 1.5
            fill *= 1.5
        elif phase == GROW:
            top_drain, top_fill = drain, fill
            drain /= 2
            fill /= 2
            phase = LOWER
        else:
            if score <= previous:
                m = m / 2 if phase == LOWER else (1 + m) / 2
                last = m < 0.01 or m > 0.99
            elif phase == LOWER:
                bottom_drain, bottom_fill, phase, m = drain, fill, RAISE, 0.5
            else:
                top_drain, top_fill, phase, m = drain, fill, LOWER, 0.5
            drain = bottom_drain + (top_drain - bottom_drain) * m
            fill = bottom_fill + (top_fill - bottom_fill) * m
        previous = score


@kernel
def _greedy_pass(offer: Offer, drain: float, fill: float, destination: Ints, residual: Floats) -> float:
    """Offer the heaviest bucket of the most overloaded core to the most underloaded one, again and again.

    A bucket is offered once and moves if it is below the deficit + `fill`; where the neediest core refuses
    it, every other would. A destination leaves once its deficit is down to 0.01, a source once its excess is
    down to -`drain` or all is offered.
    """
    weight, start = offer.weight, offer.start
    residual[:] = offer.imbalance
    destination[:] = -1
    offered, open_role = start.copy(), offer.role.copy()
    source, sink = _extreme(residual, open_role, OVERLOADED), _extreme(residual, open_role, UNDERLOADED)
    while source >= 0 and sink >= 0:
        k = offered[source]
        offered[source] += 1
        moves = weight[k] < residual[sink] + fill
        if moves:
            destination[k] = sink
            residual[sink] -= weight[k]
            residual[source] += weight[k]
            if residual[sink] <= SETTLED:
                open_role[sink] = 0
            sink = _extreme(residual, open_role, UNDERLOADED)
        leaves = -residual[source] <= -drain or offered[source] == start[source + 1]
        if leaves:
            open_role[source] = 0
        if moves or leaves:
            source = _extreme(residual, open_role, OVERLOADED)
    score = 0.0
    for c in range(residual.size):
        if offer.role[c] != 0:
            score += residual[c] * residual[c]
    return score


@kernel
def _extreme(residual: Floats, role: Ints, side: int) -> int:
    """Return the core on `side` with the largest imbalance, the lowest of equals; -1 if none is left."""
    best = -1
    for c in range(role.size):
        if role[c] == side and (best < 0 or side * residual[c] > side * residual[best]):
            best = c
    return best
