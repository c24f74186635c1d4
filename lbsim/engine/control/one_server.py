"""One server of a cluster as its own controllers see it: the whole data plane, cut to its part."""

from __future__ import annotations

from typing import NoReturn

from lbsim.engine.plane import Counters, Flags, Plane


class OneServer:
    """A data plane of one server; see `lbsim.engine.plane.Plane`.

    Cores and buckets count from 0. `table` is a copy: `moved` writes it to the server's part of the whole.
    """

    def __init__(self, whole: Plane, server: int, cores: int, buckets: int) -> None:
        self.name = whole.name
        self._whole, self._first = whole, server * cores
        self._cores = slice(self._first, self._first + cores)
        self._buckets = slice(server * buckets, (server + 1) * buckets)
        self.table = whole.table[self._buckets] - self._first

    def sync(self, now: int) -> None:
        """Run everything before `now`, and departures at `now`."""
        self._whole.sync(now)

    def counters(self, now: int) -> Counters:
        """Return the counters of the server at `now`."""
        c, cores = self._whole.counters(now), self._cores
        return Counters(
            c.processed[cores], c.busy[cores], c.dropped[cores], c.occupancy[cores], c.polled[self._buckets]
        )

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core for `length` ps."""
        self._whole.stall(self._first + core, now, length)

    def moved(self, now: int) -> None:
        """Say that the table has been rewritten at `now`."""
        self._whole.table[self._buckets] = self.table + self._first
        self._whole.moved(now)

    def in_transit(self) -> Flags | None:
        """Return which buckets are still on their way to the core that the table names; None for none."""
        flags = self._whole.in_transit()
        return None if flags is None else flags[self._buckets]

    def finish(self) -> NoReturn:
        """Raise RuntimeError: a run finishes as a whole."""
        raise RuntimeError("one server of a cluster cannot finish alone; finish the whole plane")
