"""The controller of traffic classes: loads and forecasts, halves of rules to cooler or to new cores."""

from __future__ import annotations

import numpy as np

from lbsim.engine.control.clockwork import Process
from lbsim.engine.control.tables import at_start
from lbsim.engine.plane import CONTROL, Clock, Int64s, Plane
from lbsim.nic import ClassParams, rearrange, relative_loads
from lbsim.scenario import TrafficClasses
from lbsim.units import SECOND

HOLD_SCALING, HOLD_BALANCING = 3 * SECOND, 1 * SECOND


class ClassController:
    """Metron's controller, as re-implemented for the measurements of RSS++ (metron.cc).

    A load is the busy time since the last tick over the time, without smoothing. Without scaling the loads
    are taken relative to the mean of all cores. A core that took part in a change is left alone for `hold`.
    Before `scaling.begin` rules move between the cores in use.
    """

    def __init__(self, env: Clock, plane: Plane, spec: TrafficClasses, until: int) -> None:
        self.env, self.plane, self.spec, self.until = env, plane, spec, until
        usual = HOLD_BALANCING if spec.scaling is None else HOLD_SCALING
        self.hold = usual if spec.hold is None else spec.hold
        busy = plane.counters(env.now).busy
        self.cores = np.arange(len(busy)) < at_start(spec.scaling, len(busy))  # which are in use
        self.past = np.zeros(len(busy))
        self.rested_at = np.zeros(len(busy), np.int64)  # ps from which a core may take part in a change
        self.ticks = self.moves = self.added = self.removed = 0
        env.process(self.watch(busy))

    def used(self) -> int:
        """Return the number of cores in use."""
        return int(self.cores.sum())

    @property
    def counted(self) -> dict[str, int]:
        """Ticks and moved rules; with scaling, cores added and removed."""
        counted = {"ticks": self.ticks, "moves": self.moves}
        if self.spec.scaling is not None:
            counted |= {"added": self.added, "removed": self.removed}
        return counted

    def watch(self, busy: Int64s) -> Process:
        """Rearrange rules once a tick."""
        period = self.spec.tick
        while self.env.now + period < self.until:
            yield self.env.wait(period, CONTROL)
            self.plane.sync(self.env.now)
            now_busy = self.plane.counters(self.env.now).busy
            self.tick((now_busy - busy) / period)
            busy = now_busy

    def tick(self, load: np.ndarray) -> None:
        """Act on the loads of all cores."""
        env, plane, spec, scaling = self.env, self.plane, self.spec, self.spec.scaling
        if scaling is None:
            load = relative_loads(load)
        params = ClassParams(
            overload=spec.overload,
            underload=spec.underload,
            scaling=scaling is not None and env.now >= scaling.begin,
            least=1 if scaling is None else scaling.least,
        )
        rested, held = self.rested_at <= env.now, plane.in_transit()
        after = rearrange(load, self.past, rested, self.cores, plane.table, params, held)
        moved = int(np.count_nonzero(after.table != plane.table))
        if moved:
            plane.table[:] = after.table
            plane.moved(env.now)
        self.cores, self.past = after.used, load
        self.rested_at[after.touched] = env.now + self.hold
        self.ticks += 1
        self.moves += moved
        self.added += after.added
        self.removed += after.removed
