"""A data plane without packets, for controllers: buckets that flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lbsim.engine.plane import Counters


class Fluid:
    """A plane in which bucket b always keeps `demand(now)[b]` of a core busy, as far as its core can.

    Buckets count one packet for each ns of work. What happens is noted at every look at the counters; a
    bucket that has moved is in transit for `delay` ps.
    """

    name = "fluid"

    def __init__(self, table: Any, cores: int, demand: Callable[[int], Any], delay: int = 0) -> None:
        self.table = np.array(table, np.int64)
        self.demand, self.delay = demand, delay
        self.busy = np.zeros(cores, np.int64)
        self.polled = np.zeros(len(self.table), np.int64)
        self.arrives = np.zeros(len(self.table), np.int64)
        self.now, self.before, self.rewritten = 0, self.table.copy(), 0
        self.history: list[tuple[int, list[int]]] = []

    def sync(self, now: int) -> None:
        share = np.array(self.demand(self.now)) * (now - self.now)
        asked = np.bincount(self.table, share, len(self.busy))
        done = np.minimum(asked, now - self.now)
        self.busy += np.rint(done).astype(np.int64)
        scale = np.divide(done, asked, out=np.zeros_like(done), where=asked > 0)
        self.polled += np.rint(share * scale[self.table] / 1000).astype(np.int64)
        self.now = now

    def counters(self, now: int) -> Counters:
        zero = np.zeros_like(self.busy)
        return Counters(zero, self.busy.copy(), zero, zero, self.polled.copy())

    def moved(self, now: int) -> None:
        """Check what every control must respect, and note the table."""
        assert now == self.now
        changed = np.flatnonzero(self.table != self.before)
        assert changed.size
        assert (self.arrives[changed] <= now).all()  # none of them was in transit
        self.arrives[changed] = now + self.delay
        self.before = self.table.copy()
        self.history.append((now, self.table.tolist()))

    def in_transit(self) -> Any:
        return self.arrives > self.now if self.delay else None
