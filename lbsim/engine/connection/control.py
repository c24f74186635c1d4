"""The control plane of connections: SimPy processes that sample, adapt weights, and let servers come and go.

Written once and used by both engines. Random choices come from one stream, in the order of control, so they
do not depend on connections or policy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

import numpy as np
import simpy

from lbsim.balancer.balancer import Balancer
from lbsim.balancer.pool import Pool
from lbsim.engine.connection.plane import CONTROL, Plane
from lbsim.engine.plane import Clock
from lbsim.engine.source import service_law
from lbsim.scenario import AnyChurn, Change, Flaps, Schedule, Updates
from lbsim.units import SECOND

Process = Generator[simpy.Event, Any, None]


def sample(env: Clock, plane: Plane, interval: int, until: int, rows: list[tuple[int, ...]]) -> Process:
    """Append time and counters at 0, interval, 2 x interval ... before `until`.

    A scheduled change of that very instant comes after the sample.
    """
    while True:
        plane.sync(env.now)
        rows.append((env.now, *plane.counters()))
        if env.now + interval >= until:
            return
        yield env.wait(interval, CONTROL)


def adapt(env: Clock, plane: Plane, balancer: Balancer, period: int, until: int) -> Process:
    """Set the weights by the connections of servers, every `period`."""
    while env.now + period < until:
        yield env.wait(period, CONTROL)
        plane.sync(env.now)
        balancer.reweigh(plane.loads(), env.now)
        plane.refresh()


class Changing(Protocol):
    """A data plane whose pool of servers changes."""

    def change(self, now: int, apply: Callable[[], None]) -> None:
        """Sync, and let `apply` change the pool."""


class Servers(Protocol):
    """A balancer's servers; see `lbsim.balancer.balancer.Balancer`."""

    @property
    def pool(self) -> Pool:
        """Which are on the list, which wait, which are down."""

    def join(self, server: int | None, place: int | None, now: int) -> int:
        """Let a spare take connections; return its number."""

    def leave(self, server: int, now: int) -> None:
        """Take a server off the list."""

    def crash(self, server: int, now: int) -> None:
        """Let a server die."""


class Churn:
    """Servers that come and go; `undone` counts what could not be: no spare to add, or the last one to take.

    `delay` is how much later the balancer's list follows (SilkRoad); that a server is dead needs no balancer.
    No server is picked at random times from `until` on, where that is given.
    """

    def __init__(
        self,
        env: Clock,
        plane: Changing,
        balancer: Servers,
        spec: AnyChurn,
        delay: int,
        rng: np.random.Generator,
        *,
        until: int | None = None,
    ) -> None:
        self.env, self.plane, self.balancer, self.delay, self.rng = env, plane, balancer, delay, rng
        self.until = until
        self.pool = balancer.pool
        self.elders = list(self.pool.active)  # on the list, the longest there first
        self.ups = np.zeros(self.pool.configured, np.int64)  # how often each has come back
        self.undone = 0
        match spec:
            case Schedule(changes=changes):
                env.process(self.schedule(changes))
            case Updates():
                env.process(self.updates(spec))
            case Flaps(servers=servers):
                for server in range(servers):
                    env.process(self.flaps(spec, server))

    # --- when -----------------------------------------------------------------------------------------------

    def schedule(self, changes: tuple[Change, ...]) -> Process:
        """Make the changes at their times; a slow balancer may be at several at once."""
        for change in changes:
            yield self.env.wait(change.at - self.env.now, CONTROL)
            if change.do == "add":
                self.env.process(self.come(change.place, change.server, change.servers))
            else:
                leave = self.go(change.do, change.detect, change.server, change.servers, change.pick)
                self.env.process(leave)

    def updates(self, spec: Updates) -> Process:
        """Let random servers go at Poisson times."""
        down = service_law(spec.down, None)
        while True:
            gap = round(self.rng.standard_exponential() * 60 * SECOND / spec.per_minute)
            if self.over(gap):
                return
            yield self.env.wait(gap, CONTROL)
            self.env.process(self.update(spec, int(down.draw(self.rng, 1)[0])))

    def update(self, spec: Updates, down: int) -> Process:
        """Let a random server go, and come back."""
        for server in (yield from self.go(spec.do, spec.detect)):
            yield self.env.wait(down, CONTROL)
            yield from self.come(spec.place, server)

    def flaps(self, spec: Flaps, server: int) -> Process:
        """Let one server go and come back again and again."""
        up, down = service_law(spec.up, None), service_law(spec.down, None)
        while True:
            gap = int(up.draw(self.rng, 1)[0])
            if self.over(gap):
                return
            yield self.env.wait(gap, CONTROL)
            gone = yield from self.go(spec.do, spec.detect, server)
            yield self.env.wait(int(down.draw(self.rng, 1)[0]), CONTROL)
            if gone:
                yield from self.come(spec.place, server)

    def over(self, gap: int) -> bool:
        """Return whether what is `gap` from now is too late."""
        return self.until is not None and self.env.now + gap >= self.until

    # --- what -----------------------------------------------------------------------------------------------

    def come(self, place: str, server: int | None = None, count: int = 1) -> Process:
        """Let servers join: the one named, or the first `count` spares."""
        if self.delay:
            yield self.env.wait(self.delay, CONTROL)

        def apply() -> None:
            for _ in range(count):
                self.join(server, place)

        self.plane.change(self.env.now, apply)

    def join(self, server: int | None, place: str) -> None:
        """Let one server join."""
        pool, now = self.pool, self.env.now
        at = int(self.rng.integers(len(pool.active) + 1)) if place == "random" else len(pool.active)
        if server is None and not pool.spares:
            self.undone += 1
            return
        if server is not None and server in pool.active:
            if not pool.down[server]:
                self.undone += 1
                return
            at = pool.active.index(server)  # its crash was not noticed: it is back where it was
            self.leave(server)
        server = self.balancer.join(server, at, now)
        self.elders.append(server)
        self.ups[server] += 1

    def go(
        self, do: str, detect: int = 0, server: int | None = None, count: int = 1, pick: str = "random"
    ) -> Generator[simpy.Event, Any, list[int]]:
        """Let servers go: the one named, or `count` picked; return those that went.

        A crash is at once; the list follows it when it is detected.
        """
        gone: list[int] = []
        crash, late = do == "crash", detect + self.delay
        if self.delay and not crash:
            yield self.env.wait(self.delay, CONTROL)

        def apply() -> None:
            for _ in range(count):
                chosen = self.picked(server, pick)
                if chosen is None:
                    self.undone += 1
                    return
                gone.append(chosen)
                if do != "drain":
                    self.balancer.crash(chosen, self.env.now)
                if not (crash and late):
                    self.leave(chosen)

        self.plane.change(self.env.now, apply)
        if crash and late:
            self.env.process(self.detected(gone, self.env.wait(late, CONTROL)))
        return gone

    def detected(self, crashed: list[int], noticed: simpy.Event) -> Process:
        """Take servers that crashed off the list, but for those that have come back meanwhile."""
        ups = self.ups.copy()
        yield noticed
        dead = [server for server in crashed if self.ups[server] == ups[server]]

        def apply() -> None:
            for server in dead:
                self.leave(server)

        if dead:
            self.plane.change(self.env.now, apply)

    def leave(self, server: int) -> None:
        """Take a server off the list."""
        self.balancer.leave(server, self.env.now)
        self.elders.remove(server)

    def picked(self, server: int | None, pick: str) -> int | None:
        """Return the server that is to go, None where it cannot: it is not up, or the last one that is."""
        pool = self.pool
        up = [s for s in (pool.active if pick == "random" else self.elders) if not pool.down[s]]
        if len(up) < 2 or (server is not None and server not in up):
            return None
        if server is not None:
            return server
        return up[int(self.rng.integers(len(up)))] if pick == "random" else up[0]
