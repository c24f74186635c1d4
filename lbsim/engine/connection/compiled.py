"""The compiled data plane of connections: kernels advanced lazily, only as far as the control plane looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, cast

import numba
import numpy as np
from numba.core.errors import NumbaError, UnsupportedBytecodeError

from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import View, fewest
from lbsim.balancer.tournament import new_order, no_order
from lbsim.engine.connection import agenda, changes, kernels, state
from lbsim.engine.connection.plane import Attempts, Breaks, Clients, Counters, Int64s, Tally, Urls
from lbsim.engine.connection.state import Habits, State
from lbsim.engine.plane import Progress
from lbsim.engine.policy import PolicyError, compile_policy

PAUSE: Final = 1 << 20
"""Events a kernel call runs at most: progress is told in between, and Ctrl-C is heard."""

NO_ATTEMPTS: Final = Attempts(*[np.empty(0, np.int64)] * 6)


class CompiledPlane:
    """Connections as records in a calendar; see `lbsim.engine.connection.plane.Plane` for the interface.

    `rate_hint` is the number of events per second (begins and ends), `live_hint` of connections under way:
    they set the calendar's shape, not the results. `progress` is told the time reached and the events run.
    """

    def __init__(
        self,
        balancer: Balancer,
        attempts: Iterator[Attempts],
        clients: Clients,
        rate_hint: float,
        live_hint: int,
        progress: Progress | None = None,
    ) -> None:
        self.name = "compiled: calendar of connections"
        self._balancer = balancer
        self._attempts = attempts
        self._chunk = NO_ATTEMPTS
        self._last = False  # no chunk follows this one
        self._rate = rate_hint
        self._progress = progress
        self._told = 0  # events when progress was last told
        self._before: Int64s | None = None  # the counters at the warm-up
        self._policy = compile_policy(balancer.policy.choose)
        rank = balancer.policy.rank
        self._rank = fewest if rank is None else rank
        self._clients = clients
        urls = clients.urls or Urls(0, NO_ATTEMPTS.time, NO_ATTEMPTS.time, False)
        self._habits = Habits(
            clients.seed, clients.warmup, clients.retry, clients.notice, urls.again, urls.length, urls.gap
        )
        room = live_hint + 8 * math.isqrt(live_hint) + 64
        self._agenda = agenda.new_agenda(room, rate_hint)
        self._state = State(
            np.zeros(len(balancer.front.place), state.SERVER).view(np.recarray),
            np.empty(0, np.int64),
            np.zeros(1024, np.int64),
            np.zeros(state.COUNTS, np.int64),
            np.zeros(2),
            np.empty(1024, state.BROKEN).view(np.recarray),
            np.tile(np.arange(len(urls.length), dtype=np.int32), (urls.processes, 1)),
            np.full(urls.processes, len(urls.length), np.int64),
            np.zeros(state.SOON if balancer.policy.by_hash else 0, np.int64),
        )
        self._take_over()

    def _take_over(self) -> None:
        """Read the balancer's front, and arrange loads by position."""
        balancer, servers, count = self._balancer, self._state.servers, self._state.counts
        front = balancer.front
        servers.place, servers.down = front.place, front.down
        queue = servers.load[front.active]
        levels = np.bincount(queue, minlength=len(self._state.levels))
        self._state = self._state._replace(queue=queue, levels=levels.astype(np.int64))
        count[state.ACTIVE], count[state.TOTAL] = len(queue), queue.sum()
        count[state.HIGHEST] = queue.max()
        ranked = balancer.policy.rank is not None
        order = new_order(len(queue)) if ranked else no_order()
        zeros = np.zeros(len(queue), np.int64)
        self._view = View(
            len(queue), 0, queue, balancer.state, balancer.seed, 0, front.weight, front.table, order,
            front.active, balancer.choices, zeros, queue, zeros,
        )  # fmt: skip
        if ranked:
            self._compiled(compiled_here(kernels.replay), self._view, self._rank)

    # --- running ---------------------------------------------------------------------------------------

    def sync(self, now: int) -> None:
        """Run everything before `now`, and the ends at `now`."""
        self._run(now, agenda.key_of(kernels.BREAK, 0))

    def _run(self, until: int, key: int) -> None:
        """Run what is before (until, key); note the counters on the way, at the warm-up."""
        if self._before is None and until >= self._habits.warmup:
            self._advance(self._habits.warmup, agenda.key_of(kernels.END, 0))
            self._before = self._state.counts.copy()
        self._advance(until, key)

    def _advance(self, until: int, key: int) -> None:
        why = kernels.PAUSE
        while why != kernels.DONE:
            why = self._compiled(
                compiled_here(kernels.run), self._agenda, self._state, self._balancer.keeper, self._habits,
                self._view, self._policy, self._rank, self._chunk, self._last, until, key, PAUSE,
            )  # fmt: skip
            if why == kernels.MORE:
                self._fetch()
            elif why == kernels.FULL:
                self._agenda = agenda.grown(self._agenda, self._rate)
            elif why == kernels.HIGH:
                levels = self._state.levels
                self._state = self._state._replace(levels=np.append(levels, np.zeros_like(levels)))
            elif why == kernels.LONG:
                log = np.empty(2 * len(self._state.log), state.BROKEN).view(np.recarray)
                log[: len(self._state.log)] = self._state.log
                self._state = self._state._replace(log=log)
            elif why == kernels.ASTRAY:
                self._astray(int(self._state.counts[state.BEGUN]))
            events = int(self._state.counts[state.EVENTS])
            if self._progress is not None and (why == kernels.PAUSE or events >= self._told + PAUSE):
                self._told = events
                self._progress(agenda.reached(self._agenda), events)

    def _fetch(self) -> None:
        """Take the source's next chunk."""
        chunk = next(self._attempts, None)
        self._last = chunk is None
        columns = NO_ATTEMPTS if chunk is None else chunk
        self._chunk = Attempts(*(np.ascontiguousarray(column, np.int64) for column in columns))
        self._state.counts[state.NEXT] = 0

    def _astray(self, index: int) -> None:
        n = self._view.n
        raise ValueError(f"the policy sent connection {index} to no server: it must return 0 .. {n - 1}")

    def _compiled(self, kernel: Callable[..., Any], *arguments: Any) -> Any:
        """Call a kernel in which a policy runs. PolicyError if the policy cannot be compiled."""
        try:
            return kernel(*arguments)
        except (NumbaError, UnsupportedBytecodeError) as error:
            raise PolicyError.of(error) from error

    # --- control ---------------------------------------------------------------------------------------

    def counters(self) -> Counters:
        """Return the counters; call `sync` first."""
        return self._counters(self._state.counts)

    def _counters(self, count: Int64s) -> Counters:
        values = [int(value) for value in count[: len(Counters._fields)]]
        return Counters(*values)._replace(lowest=int(self._state.queue.min()))

    def loads(self) -> Int64s:
        """Return the connections of each configured server; call `sync` first."""
        return self._state.servers.load.copy()  # type: ignore[no-any-return]

    def refresh(self) -> None:
        """Take over a table of the balancer that changed without its pool (weights)."""
        self._take_over()

    def change(self, now: int, apply: Callable[[], None]) -> None:
        """Sync, let `apply` change the balancer's pool, and plan every break anew."""
        self.sync(now)
        apply()
        self._take_over()
        records = self._agenda
        where = np.empty(int(records.mark[agenda.USED]), np.int32)
        if changes.reached(records, self._balancer.keeper, where):
            view = self._view._replace(now=now, total=int(self._state.counts[state.TOTAL]))
            lost = self._compiled(compiled_here(changes.ask), records, view, self._policy, where)
            if lost >= 0:
                self._astray(lost)
        if changes.plan(records, self._state.servers, where, now):
            agenda.rebuild(records)

    def finish(self, end: int) -> Tally:
        """Run everything before `end` and return what was counted."""
        self._run(end, agenda.key_of(kernels.END, 0))
        count, ratio = self._state.counts, self._state.ratio
        before = count if self._before is None else self._before
        cohort = count.copy()
        cohort[: state.LIVE] -= before[: state.LIVE]
        log = self._state.log[: count[state.LOGGED]]
        breaks = Breaks(*(log[name].copy() for name in Breaks._fields))
        servers = self._state.servers
        return Tally(
            self._counters(count), self._counters(cohort),
            float(ratio[0]), float(ratio[1]), int(count[state.RATIOS]),
            int(count[state.PEAK]), int(count[state.PEAK_PROTECTED]),
            servers.load.copy(), servers.placed.copy(), breaks,
        )  # fmt: skip


@cache
def compiled_here(kernel: Any) -> Callable[..., int]:
    """Return a kernel in which policies run, compiled for this process only.

    On disk, Numba would keep each policy it was specialised for beside the machine code, and find none again.
    """
    options: Any = {"nogil": True, "_nrt": False}
    return cast(Callable[..., int], numba.njit(kernel.py_func, **options))
