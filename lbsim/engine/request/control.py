"""The control plane of requests: SimPy processes that report loads, adapt weights, pause servers and sample.

Written once and used by both engines. Random choices come from streams of their own, in the order of control,
so they do not depend on requests or policy. Every process ends by itself: nothing new begins at or after the
end of the scenario, while what has begun goes on as requests drain.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import simpy

from lbsim.balancer.balancer import Balancer
from lbsim.engine.plane import Clock
from lbsim.engine.request.plane import CONTROL, Counters, Int64s, Plane
from lbsim.metrics.requests import RequestSamples
from lbsim.scenario.request_balancer import Signal
from lbsim.scenario.request_servers import Pauses
from lbsim.units import SECOND

Process = Generator[simpy.Event, Any, None]
Row = tuple[int, Counters]


def sample(env: Clock, plane: Plane, interval: int, until: int, rows: list[Row]) -> Process:
    """Append time and counters at 0, interval, 2 x interval ... up to and including `until`."""
    while True:
        plane.sync(env.now)
        rows.append((env.now, plane.counters(env.now)))
        if env.now + interval > until:
            return
        yield env.wait(interval, CONTROL)


def samples_of(rows: list[Row]) -> RequestSamples:
    """Return what the sampler read, a column for each counter."""
    times, counters = zip(*rows, strict=True)
    columns = ([getattr(c, name) for c in counters] for name in RequestSamples._fields[1:])
    return RequestSamples(np.array(times, np.int64), *(np.array(column, np.int64) for column in columns))


def adapt(env: Clock, plane: Plane, balancer: Balancer, period: int, until: int) -> Process:
    """Set the weights by the signal, every `period`."""
    while env.now + period < until:
        yield env.wait(period, CONTROL)
        plane.sync(env.now)
        balancer.reweigh(plane.signal, env.now)
        plane.refresh()


class Stops:
    """Servers that stop, or slow down, at Poisson times, each on its own; `begun` counts how often.

    While slow-downs of a server overlap it stays slow, at one and the same speed.
    """

    def __init__(
        self, env: Clock, plane: Plane, spec: Pauses, servers: int, until: int, rng: np.random.Generator
    ) -> None:
        self.env, self.plane, self.spec, self.until, self.rng = env, plane, spec, until, rng
        self.slow = np.zeros(servers, np.int64)  # slow-downs of each server under way
        self.begun = 0
        for server in range(servers):
            env.process(self.server(server))

    def server(self, server: int) -> Process:
        """Stop or slow one server now and then."""
        while True:
            gap = round(self.rng.standard_exponential() * SECOND / self.spec.rate)
            if self.env.now + gap >= self.until:
                return
            yield self.env.wait(gap, CONTROL)
            self.begun += 1
            self.plane.sync(self.env.now)
            if self.spec.speed == 0:
                self.plane.pause(server, self.env.now, self.spec.length)
            else:
                self.env.process(self.slowed(server))

    def slowed(self, server: int) -> Process:
        """Let a server be slow for a while."""
        self.slow[server] += 1
        self.plane.slow(server, self.env.now, self.spec.speed)
        yield self.env.wait(self.spec.length, CONTROL)
        self.slow[server] -= 1
        if not self.slow[server]:
            self.plane.sync(self.env.now)
            self.plane.slow(server, self.env.now, 1.0)


class Reports:
    """What reporters tell the balancer of the servers' load; `came` and `lost` count their reports.

    Reporter m measures servers m, m + machines, ... of `cores` each and sends one report. The time to the
    next one is drawn anew each time, and a report that is lost was measured all the same.
    """

    def __init__(
        self,
        env: Clock,
        plane: Plane,
        spec: Signal,
        servers: int,
        cores: int,
        until: int,
        rng: np.random.Generator,
    ) -> None:
        if spec.period is None:
            raise ValueError("signal.period is None: a live signal needs no reports")
        self.env, self.plane, self.spec, self.rng = env, plane, spec, rng
        self.period, self.cores, self.until = spec.period, cores, until
        self.before = np.zeros((2, servers), np.int64)  # of counters, at each server's last measurement
        self.came = self.lost = 0
        machines = spec.machines or servers
        phases = rng.integers(self.period, size=machines)
        for machine in range(machines):
            own = np.arange(machine, servers, machines)
            env.process(self.reporter(own, 0 if spec.synchronised else int(phases[machine])))

    def reporter(self, own: Int64s, phase: int) -> Process:
        """Report servers again and again, for the first time at `phase`."""
        gap = phase
        while self.env.now + gap < self.until:
            yield self.env.wait(gap, CONTROL)
            self.plane.sync(self.env.now)
            report = self.measure(own, self.plane.counters(self.env.now))
            late, lost = self.rng.random(2)
            if lost < self.spec.loss:
                self.lost += 1
            elif self.spec.delay:
                self.env.process(self.under_way(own, report))
            else:
                self.arrive(own, report, self.env.now)
            gap = self.period + round(late * self.spec.spread)

    def measure(self, own: Int64s, now: Counters) -> Int64s:
        """Return the load of servers at this instant, or since their last measurement."""
        match self.spec.metric:
            case "connections":
                return now.inside[own]
            case "latency":
                return now.latency[own]
            case "bytes":
                return self.gained(0, own, now.bytes[own])
        tick = self.spec.tick or 1
        idle = self.env.now * self.cores - now.busy[own]
        return percent(self.gained(0, own, now.busy[own] // tick), self.gained(1, own, idle // tick))

    def gained(self, row: int, own: Int64s, counted: Int64s) -> Int64s:
        """Return by how much counters have grown since they were last read."""
        grown: Int64s = counted - self.before[row, own]
        self.before[row, own] = counted
        return grown

    def under_way(self, own: Int64s, report: Int64s) -> Process:
        """Let a report arrive after the delay."""
        measured = self.env.now
        yield self.env.wait(self.spec.delay, CONTROL)
        self.plane.sync(self.env.now)
        self.arrive(own, report, measured)

    def arrive(self, own: Int64s, report: Int64s, measured: int) -> None:
        """Let the balancer know."""
        self.came += 1
        self.plane.signal[own] = report
        self.plane.measured[own] = measured
        self.plane.refresh()


def percent(busy: Int64s, idle: Int64s) -> Int64s:
    """Return the percentage of time that was busy, cut to whole numbers; 0 where there was no time.

    As Cheetah's reporters read Linux's /proc/stat (github.com/cheetahlb/experiments, includes/server.py):
    busy and idle time are cut to ticks each by itself, and short intervals have few or none of either.
    """
    pairs = zip(busy.tolist(), idle.tolist(), strict=True)  # whole numbers of any size
    return np.array([100 * b // max(1, b + i) for b, i in pairs], np.int64)
