"""Controllers that follow the clock alone: a table that turns, and cores that come into use in turn."""

from __future__ import annotations

import numpy as np

from lbsim.engine.control.clockwork import Process
from lbsim.engine.plane import CONTROL, Clock, Int64s, Plane
from lbsim.nic import round_robin_table
from lbsim.scenario import Grow


class Turning:
    """Every tick, each entry of the table goes on to the next core ("rssrr" of RSS++'s code).

    A bucket that is still on its way to its core waits for the next tick.
    """

    def __init__(self, env: Clock, plane: Plane, tick: int, cores: int, until: int) -> None:
        self.env, self.plane, self.period, self.cores, self.until = env, plane, tick, cores, until
        self.ticks = self.moves = 0
        env.process(self.turn())

    def used(self) -> int:
        """Return the number of cores in use: all."""
        return self.cores

    @property
    def counted(self) -> dict[str, int]:
        """Ticks and moved buckets."""
        return {"ticks": self.ticks, "moves": self.moves}

    def turn(self) -> Process:
        """Turn the table once a tick."""
        while self.env.now + self.period < self.until:
            yield self.env.wait(self.period, CONTROL)
            self.plane.sync(self.env.now)
            self.ticks += 1
            self.moves += rewrite(self.env, self.plane, (self.plane.table + 1) % self.cores)


class Growth:
    """At whole multiples of a period one core more comes into use, and entry i holds core i mod n.

    A bucket that is still on its way to its core stays there until the next core comes.
    """

    def __init__(self, env: Clock, plane: Plane, spec: Grow, cores: int, until: int) -> None:
        self.env, self.plane, self.spec, self.cores, self.until = env, plane, spec, cores, until
        self.now_used = spec.start
        self.moves = 0
        env.process(self.grow())

    def used(self) -> int:
        """Return the number of cores in use."""
        return self.now_used

    @property
    def counted(self) -> dict[str, int]:
        """Cores added and moved buckets."""
        return {"added": self.now_used - self.spec.start, "moves": self.moves}

    def grow(self) -> Process:
        """Add a core a period, until all are in use."""
        while self.now_used < self.cores and self.env.now + self.spec.every < self.until:
            yield self.env.wait(self.spec.every, CONTROL)
            self.plane.sync(self.env.now)
            self.now_used += 1
            wanted = round_robin_table(len(self.plane.table), self.now_used)
            self.moves += rewrite(self.env, self.plane, wanted)


def rewrite(env: Clock, plane: Plane, wanted: Int64s) -> int:
    """Write a table, apart from buckets in transit; return how many buckets moved."""
    held = plane.in_transit()
    table = wanted if held is None else np.where(held, plane.table, wanted)
    moved = int(np.count_nonzero(table != plane.table))
    if moved:
        plane.table[:] = table
        plane.moved(env.now)
    return moved
