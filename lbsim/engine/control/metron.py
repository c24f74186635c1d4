"""Metron's controllers: loads ten times a second, decisions at their pace, rules that take time to change."""

from __future__ import annotations

import numpy as np

from lbsim.engine.control.clockwork import Process
from lbsim.engine.control.tables import at_start
from lbsim.engine.plane import CONTROL, Clock, Int64s, Plane
from lbsim.nic.classes import Rearranged, dealt
from lbsim.nic.metron import (
    LOAD_PERIOD,
    AgentParams,
    AgentState,
    MetronParams,
    agent_step,
    by_halves,
    changed,
    first_watch,
    in_order,
    jiffies_share,
    sample,
    useful_share,
)
from lbsim.nic.scaling import Wish
from lbsim.scenario import Metron, Scaling
from lbsim.units import US

AGAIN = 1 * US  # until the next sample after a change: at once, but not in no time


class MetronController:
    """Metron on the cores of one server: the network's controller, or the server's own agent.

    The load of a core is its share of the last 0.1 s, renewed every 0.1 s. The controller samples once a
    period, and again at once after a change, when its rules have taken effect; the agent keeps to its clock.
    No decision is taken while rules are changing, so what was decided is what happens. Cores that receive
    classes stall for `migration`. In a cluster `server` is the number of this one, whose classes are dealt
    in an order of its own.
    """

    def __init__(self, env: Clock, plane: Plane, spec: Metron, until: int, server: int = 0) -> None:
        self.env, self.plane, self.spec, self.until = env, plane, spec, until
        self.deal = spec.deal + server
        self.scaling = Scaling() if spec.scaling is None else spec.scaling
        self.busy = plane.counters(env.now).busy
        cores = len(self.busy)
        self.read_at = env.now
        self.load = np.zeros(cores)
        self.cores = np.arange(cores) < at_start(spec.scaling, cores)  # which are in use
        self.params = MetronParams(spec.up, spec.down, spec.hold, spec.memory)
        self.watch = first_watch(cores)
        self.agent = AgentState()
        self.ticks = self.moves = self.added = self.removed = 0
        env.process(self.read_loads())
        env.process(self.decide())

    def used(self) -> int:
        """Return the number of cores in use."""
        return int(self.cores.sum())

    @property
    def counted(self) -> dict[str, int]:
        """Samples, moved rules, cores added and removed."""
        return {"ticks": self.ticks, "moves": self.moves, "added": self.added, "removed": self.removed}

    def read_loads(self) -> Process:
        """Renew the loads."""
        while self.env.now + LOAD_PERIOD < self.until:
            yield self.env.wait(LOAD_PERIOD, CONTROL)
            self.plane.sync(self.env.now)
            self.renew()

    def renew(self) -> None:
        """Renew the loads where that is due: by whom at an instant who comes first."""
        elapsed = self.env.now - self.read_at
        if elapsed < LOAD_PERIOD:
            return
        busy = self.plane.counters(self.env.now).busy
        share = useful_share if self.spec.load == "cycles" else jiffies_share
        self.load, self.busy, self.read_at = share(self.busy, busy, elapsed), busy, self.env.now

    def decide(self) -> Process:
        """Sample, decide, and let the rules change, again and again."""
        env, spec = self.env, self.spec
        period = spec.period if spec.controller == "global" else spec.agent_period
        pause = period
        while env.now + pause < self.until:
            yield env.wait(pause, CONTROL)
            self.plane.sync(env.now)
            self.renew()
            self.ticks += 1
            after = self.by_controller() if spec.controller == "global" else self.by_agent()
            if after is None or not after.touched.any():
                pause = period
                continue
            delay = spec.rule_latency + self.changes(after.table) * spec.per_rule
            if env.now + delay >= self.until:
                return  # too late for any packet
            if delay:
                yield env.wait(delay, CONTROL)
                self.plane.sync(env.now)
            self.enforce(after)
            pause = AGAIN if spec.controller == "global" else period - delay % period

    def by_controller(self) -> Rearranged | None:
        """Return what the network's controller wants after this sample; None for nothing."""
        seen = sample(self.load, self.cores, self.watch, self.env.now, self.params)
        self.watch = seen.watch
        if self.env.now < self.scaling.begin:
            return None
        rearrange = in_order if self.spec.scope == "rss" else by_halves
        after = rearrange(
            self.plane.table, self.cores, seen.over, seen.under, self.scaling.least, self.plane.in_transit()
        )
        self.watch = changed(self.watch, after.touched)
        return after

    def by_agent(self) -> Rearranged | None:
        """Return what the server's agent wants: a core more or less, and all classes dealt anew."""
        spec, plane, cores = self.spec, self.plane, self.cores
        params = AgentParams(spec.agent_up, spec.agent_down, spec.agent_rest)
        highest = float(self.load[cores].max())
        self.agent, wish = agent_step(highest, self.agent, self.env.now, params)
        number = self.used() + wish
        if wish == Wish.KEEP or not self.scaling.least <= number <= len(cores):
            return None
        table = dealt(len(plane.table), number, self.deal)
        held = plane.in_transit()
        if held is not None and held.any():
            table[held] = plane.table[held]
        used = np.arange(len(cores)) < max(number, int(table.max(initial=0)) + 1)
        if used.sum() == cores.sum():
            return None
        return Rearranged(table, used, used | cores, int(wish == Wish.ADD), int(wish == Wish.REMOVE))

    def changes(self, table: Int64s) -> int:
        """Return the number of rules that differ from those in force."""
        return int(np.count_nonzero(table != self.plane.table))

    def enforce(self, after: Rearranged) -> None:
        """Let new rules take effect: now."""
        now, moved = self.env.now, np.flatnonzero(after.table != self.plane.table)
        receiving = np.unique(after.table[moved]).tolist()
        if len(moved):
            self.plane.table[:] = after.table
            self.plane.moved(now)
        if self.spec.migration:
            for core in receiving:
                self.plane.stall(core, now, self.spec.migration)
        self.cores = after.used
        self.moves += len(moved)
        self.added += after.added
        self.removed += after.removed
