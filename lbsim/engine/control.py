"""The control plane: SimPy processes that read the data plane now and then, and act on it.

Written once and used by both engines. Each process stops by itself at `until`, the end of arrivals, so the
run then only drains.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import simpy

from lbsim.engine.plane import CONTROL, Clock, Int64s, Plane
from lbsim.nic.rsspp import RssppParams, core_loads, next_tick, rebalance, rough_load
from lbsim.scenario import Rsspp, Stalls
from lbsim.units import SECOND

Process = Generator[simpy.Event, Any, None]


def sample(
    env: Clock, plane: Plane, interval: int, until: int, used: Callable[[], int], rows: list[tuple[Any, ...]]
) -> Process:
    """Append counters and cores in use at 0, interval, 2 x interval ... up to and including `until`."""
    while True:
        plane.sync(env.now)
        c = plane.counters(env.now)
        rows.append((env.now, c.processed, c.busy, c.dropped, c.occupancy, used()))
        if env.now + interval > until:
            return
        yield env.wait(interval, CONTROL)


def stalls(env: Clock, plane: Plane, core: int, law: Stalls, until: int, rng: np.random.Generator) -> Process:
    """Stop one core for `law.length` at Poisson times: the interruptions a real core suffers."""
    while True:
        gap = round(rng.standard_exponential() * SECOND / law.rate)
        if env.now + gap >= until:
            return
        yield env.wait(gap, CONTROL)
        plane.sync(env.now)
        plane.stall(core, env.now, law.length)


class RssppController:
    """RSS++: every tick, move RSS buckets from overloaded to underloaded cores (RSS++ section 4, rsspp.cc).

    Two timers as published: the rough load of each core is an exponential average updated every
    `load_period`; a tick takes each core's exact share of the work since the last tick and only its scale
    from the rough loads.
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
        self.rough = np.zeros(len(first.busy))
        self.moves = self.ticks = 0
        env.process(self.average(first.busy))
        env.process(self.balance(first.busy, first.polled))

    def average(self, busy: Int64s) -> Process:
        """Update the rough loads."""
        period = self.spec.load_period
        while self.env.now + period < self.until:
            yield self.env.wait(period, CONTROL)
            self.plane.sync(self.env.now)
            now_busy = self.plane.counters(self.env.now).busy
            self.rough = rough_load(self.rough, now_busy - busy, period)
            busy = now_busy

    def balance(self, busy: Int64s, polled: Int64s) -> Process:
        """Balance once a tick."""
        period = self.spec.tick
        received = np.zeros(len(busy), np.bool_)
        counts = np.zeros(len(polled), np.int64)
        while self.env.now + period < self.until:
            yield self.env.wait(period, CONTROL)
            self.plane.sync(self.env.now)
            c = self.plane.counters(self.env.now)
            fresh = c.polled - polled
            # As published, a bucket's count is reset by its next packet: a silent one shows its old count.
            counts = np.where(fresh > 0, fresh, counts) if self.spec.as_published else fresh
            load = core_loads(c.busy - busy, self.rough, c.occupancy, self.ring, self.params)
            moves = rebalance(load, counts, self.plane.table, received, self.params)
            self.plane.table[:] = moves.table
            received, busy, polled = moves.received, c.busy, c.polled
            self.ticks += 1
            self.moves += len(moves.buckets)
            period = next_tick(period, moves.residual, len(moves.buckets) > 0, self.params)
