"""The RSS++ controller: each tick, core scaling where it is on, then the balancing of buckets."""

from __future__ import annotations

import numpy as np

from lbsim.engine.control.clockwork import Process
from lbsim.engine.control.tables import at_start
from lbsim.engine.plane import CONTROL, Clock, Counters, Int64s, Plane
from lbsim.nic import (
    Moves,
    RssppParams,
    Wish,
    core_loads,
    next_tick,
    rebalance,
    redistribute,
    rough_load,
    wish,
)
from lbsim.scenario import Rsspp


class RssppController:
    """RSS++: every tick, move RSS buckets from overloaded to underloaded cores (RSS++ section 4, rsspp.cc).

    Two timers as published: the rough load of each core is an exponential average updated every
    `load_period`; a tick takes each core's exact share of the work since the last tick and only its scale
    from the rough loads. With `load = "cpu"`, as in a kernel, a load is the busy share of the time since the
    last tick, bucket counts are always fresh, and there is no queue term.

    Only the cores in use take part: those below `scaling.start` at first; a core that is added is the lowest
    out of use, one that leaves is the least loaded (the lowest of equals).
    """

    def __init__(self, env: Clock, plane: Plane, spec: Rsspp, ring: int, until: int) -> None:
        self.env, self.plane, self.spec, self.ring, self.until = env, plane, spec, ring, until
        self.params = RssppParams(
            threshold=spec.threshold,
            target_load=spec.target_load,
            min_tick=spec.tick,
            max_tick=spec.tick if spec.tick_max is None else spec.tick_max,
            queue_term=spec.queue_term,
            as_published=spec.as_published,
        )
        first = plane.counters(env.now)
        cores = len(first.busy)
        self.cores = np.arange(at_start(spec.scaling, cores))  # in use, ascending
        self.rough = np.zeros(cores)
        self.received = np.zeros(cores, np.bool_)
        self.moves = self.ticks = self.added = self.removed = 0
        if spec.load == "cycles":
            env.process(self.average(first.busy))
        env.process(self.balance(first))

    def used(self) -> int:
        """Return the number of cores in use."""
        return len(self.cores)

    @property
    def counted(self) -> dict[str, int]:
        """Ticks and moved buckets; with scaling, cores added and removed."""
        counted = {"ticks": self.ticks, "moves": self.moves}
        if self.spec.scaling is not None:
            counted |= {"added": self.added, "removed": self.removed}
        return counted

    def average(self, busy: Int64s) -> Process:
        """Update the rough loads."""
        period = self.spec.load_period
        while self.env.now + period < self.until:
            yield self.env.wait(period, CONTROL)
            self.plane.sync(self.env.now)
            now_busy = self.plane.counters(self.env.now).busy
            self.rough = rough_load(self.rough, now_busy - busy, period)
            busy = now_busy

    def balance(self, last: Counters) -> Process:
        """Balance once a tick, from `begin` on."""
        env, plane, spec, period = self.env, self.plane, self.spec, self.spec.tick
        if spec.begin:
            if env.now + spec.begin >= self.until:
                return
            yield env.wait(spec.begin, CONTROL)
            plane.sync(env.now)
            last = plane.counters(env.now)
        # As published, a bucket's count is reset by its next packet: a silent one shows its old count.
        stale = spec.as_published and spec.load == "cycles"
        counts = np.zeros(len(last.polled), np.int64)
        while env.now + period < self.until:
            yield env.wait(period, CONTROL)
            plane.sync(env.now)
            c = plane.counters(env.now)
            fresh = c.polled - last.polled
            counts = np.where(fresh > 0, fresh, counts) if stale else fresh
            moves = self.tick(self.loads(c.busy - last.busy, c.occupancy, period), counts)
            last = c
            if moves is not None:  # a tick that removed a core has no residual: the period stays
                period = next_tick(period, moves.residual, len(moves.buckets) > 0, self.params)

    def loads(self, useful: Int64s, occupancy: Int64s, elapsed: int) -> np.ndarray:
        """Return the load of each core in use; `useful` and `occupancy` are over all cores."""
        if self.spec.load == "cpu":
            return useful[self.cores] / elapsed
        chosen = useful[self.cores], self.rough[self.cores], occupancy[self.cores]
        return core_loads(*chosen, self.ring, self.params)

    def tick(self, load: np.ndarray, counts: Int64s) -> Moves | None:
        """Act on the loads of the cores in use and the packets of each bucket; None if a core left."""
        self.ticks += 1
        scaling, held = self.spec.scaling, self.plane.in_transit()
        if scaling is not None and self.env.now >= scaling.begin:
            asked = wish(load, self.params.target_load)
            if asked == Wish.REMOVE and len(self.cores) > scaling.least and self.remove(load, counts):
                return None
            if asked == Wish.ADD and len(self.cores) < len(self.received):
                load = self.add(load)
        cores = self.cores
        places = np.searchsorted(cores, self.plane.table)
        moves = rebalance(load, counts, places, self.received[cores], self.params, held)
        self.received[:] = False
        self.received[cores] = moves.received
        self.write(cores[moves.table])
        return moves

    def add(self, load: np.ndarray) -> np.ndarray:
        """Take the lowest core out of use into use; return the loads with its own, 0."""
        new = np.setdiff1d(np.arange(len(self.received)), self.cores)[0]
        place = int(np.searchsorted(self.cores, new))
        self.cores = np.insert(self.cores, place, new)
        self.added += 1
        return np.insert(load, place, 0.0)

    def remove(self, load: np.ndarray, counts: Int64s) -> bool:
        """Take the least loaded core out of use; not if one of its buckets is still on the way to it."""
        held, leaving = self.plane.in_transit(), int(np.argmin(load))
        places = np.searchsorted(self.cores, self.plane.table)
        if held is not None and held[places == leaving].any():
            return False
        self.write(self.cores[redistribute(load, counts, places, leaving, self.params.as_published)])
        self.cores = np.delete(self.cores, leaving)
        self.received[:] = False  # the next tick repairs what was spread evenly
        self.removed += 1
        return True

    def write(self, table: Int64s) -> None:
        """Write the indirection table, if any bucket moves."""
        moved = int(np.count_nonzero(table != self.plane.table))
        if moved:
            self.plane.table[:] = table
            self.plane.moved(self.env.now)
            self.moves += moved
