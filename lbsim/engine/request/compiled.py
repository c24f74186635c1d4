"""The compiled data plane of requests: kernels advanced lazily, only as far as the control plane looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numba.core.errors import NumbaError, UnsupportedBytecodeError

from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import View, fewest
from lbsim.balancer.tournament import new_order, no_order
from lbsim.engine.connection import kernels as replaying
from lbsim.engine.connection.compiled import compiled_here
from lbsim.engine.plane import Progress
from lbsim.engine.policy import PolicyError, compile_policy
from lbsim.engine.request import cores, kernels, life, plane, state
from lbsim.engine.request.heap import new_heap, new_line
from lbsim.engine.request.plane import (
    KIND,
    NEVER,
    PRIORITY,
    SHARING,
    TIMEOUT,
    Cohort,
    Columns,
    Counters,
    Int64s,
    Log,
    Servers,
    Source,
    Tally,
)
from lbsim.engine.request.state import COHORT, State, wide
from lbsim.metrics.histogram import BINS, Histogram

PAUSE: Final = 1 << 20
"""Events a kernel call runs at most: progress is told in between, and Ctrl-C is heard."""

LATEST: Final = np.iinfo(np.int64).max

NO_COLUMNS: Final = Columns(*[np.empty(0, np.int64)] * 4)


class CompiledPlane:
    """Attempts as records, events in a heap; see `lbsim.engine.request.plane.Plane` for the interface.

    `live`: the policy sees the servers as they are; otherwise `signal` is control's. `log`: keep a row a
    request. `progress` is told the time reached and the requests so far. Raises PolicyError where the policy,
    or what it does about answers, cannot be compiled.
    """

    def __init__(
        self,
        balancer: Balancer,
        source: Source,
        servers: Servers,
        *,
        live: bool = True,
        log: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.name = "compiled: heap of events"
        policy = balancer.policy
        self._balancer, self._servers, self._progress = balancer, servers, progress
        self._columns: Iterator[Columns] = source.columns()
        self._chunk, self._last = NO_COLUMNS, False
        self._policy = compile_policy(policy.choose)
        self._rank = fewest if policy.rank is None else policy.rank
        self._done = kernels.not_asked if policy.done is None else compile_policy(policy.done)
        self._habits = state.habits_of(source, live, policy.done is not None, plane.MOST_AT_ONCE)
        self._state = _start(source, servers, log)
        life.launch_first(self._state, self._habits)
        self.signal: Int64s = self._state.inside if live else np.zeros(servers.number, np.int64)
        self.measured: Int64s = np.zeros(servers.number, np.int64)
        self._age = np.zeros(servers.number, np.int64)
        self.refresh()

    def refresh(self) -> None:
        """Take over what changed of the signal, and of the balancer's weights and table."""
        balancer, front, n = self._balancer, self._balancer.front, self._servers.number
        ranked = balancer.policy.rank is not None
        self._view = View(
            n, 0, self.signal, balancer.state, balancer.seed, int(self.signal.sum()),
            front.weight, front.table, new_order(n) if ranked else no_order(), front.active,
            balancer.choices, self._state.latency, self._state.inside, self._age,
        )  # fmt: skip
        if ranked:
            self._call(compiled_here(replaying.replay), self._view, self._rank)

    # --- running --------------------------------------------------------------------------------------------

    def sync(self, now: int) -> None:
        """Run everything before `now`, and at `now` the ends of turns and the answers."""
        self._run(now, TIMEOUT << KIND)

    def _run(self, until: int, bound: int) -> None:
        """Run what is before (until, bound)."""
        why = kernels.PAUSE
        while why != kernels.DONE:
            why = self._call(
                compiled_here(kernels.run), self._state, self._habits, self._servers, self._view,
                self.measured, self._policy, self._rank, self._done, self._chunk, self._last,
                until, bound, PAUSE,
            )  # fmt: skip
            counts = self._state.counts
            if why == kernels.MORE:
                self._fetch()
            elif why == kernels.FULL:
                self._state = state.roomy(self._state)
            elif why == kernels.ASTRAY:
                raise ValueError(
                    f"the policy sent request {counts[state.ASKED]} to no server: it must return 0 .. "
                    f"{self._servers.number - 1}, not {counts[state.TOLD]}"
                )
            elif why == kernels.STUCK:
                raise RuntimeError(
                    f"no progress: {counts[state.AT_ONCE]} events at {counts[state.NOW]} ps, where attempts "
                    "fail and come back at once; raise clients.retry.backoff, clients.think or "
                    "servers.backlog"
                )
            if self._progress is not None and why in (kernels.MORE, kernels.PAUSE):
                self._progress(int(counts[state.NOW]), int(counts[state.LAUNCHED]))

    def _fetch(self) -> None:
        """Take the next chunk of the source's columns."""
        if self._last:
            raise ValueError("the source has fewer columns than its users launch requests")
        chunk = next(self._columns, None)
        self._last = chunk is None
        columns = NO_COLUMNS if chunk is None else chunk
        self._chunk = Columns(*(np.ascontiguousarray(column, np.int64) for column in columns))
        self._state.counts[state.NEXT] = 0

    def _call(self, kernel: Callable[..., Any], *arguments: Any) -> Any:
        """Call a kernel in which a policy runs. PolicyError if the policy cannot be compiled."""
        try:
            return kernel(*arguments)
        except (NumbaError, UnsupportedBytecodeError) as error:
            raise PolicyError.of(error) from error

    # --- control --------------------------------------------------------------------------------------------

    def pause(self, server: int, now: int, length: int) -> None:
        """Freeze a server's cores for `length` ps, or until an earlier pause ends if that is later."""
        row = self._state.servers[server]
        thawed = max(int(row.thawed), now + length)
        later = thawed - max(int(row.thawed), now)
        row.thawed = thawed
        self._plan_anew(server, now, later, float(row.speed))

    def slow(self, server: int, now: int, factor: float) -> None:
        """Let a server run at `factor` times its own speed from `now` on; 1 restores it."""
        self._plan_anew(server, now, 0, float(self._servers.speeds[server]) * factor)

    def _plan_anew(self, server: int, now: int, later: int, speed: float) -> None:
        self._state = state.roomy(self._state, self._servers.cores + state.MOST)
        cores.plan_anew(self._state, self._servers, server, now, later, speed)

    def counters(self, now: int) -> Counters:
        """Return the counters at `now`; call `sync(now)` first."""
        servers, counts = self._state.servers, self._state.counts
        under_way = np.where(self._state.cores.running >= 0, np.maximum(0, now - self._state.cores.since), 0)
        busy = servers.busy + under_way.reshape(self._servers.number, -1).sum(axis=1)
        columns = (
            self._state.inside.copy(),
            np.array(servers.placed),
            servers.answered * self._servers.response,
            busy,
            self._state.latency.copy(),
        )
        return Counters(*Cohort(*counts[:COHORT].tolist()), *columns)

    def finish(self) -> Tally:
        """Launch on until the end, drain, and return what was counted."""
        self._run(LATEST, 0)
        s, counts = self._state, self._state.counts
        low, high = int(counts[state.LOW]), int(counts[state.HIGH])
        latency = Histogram(s.bins.copy(), wide(counts, state.LATENCY), low if high >= 0 else 0, max(0, high))
        rows = s.log[: counts[state.LOGGED]]
        return Tally(
            self.counters(int(counts[state.LAST])),
            Cohort(*counts[COHORT : 2 * COHORT].tolist()),
            latency,
            wide(counts, state.AREA),
            wide(counts, state.SOJOURN),
            int(counts[state.PEAK]),
            int(counts[state.LAST]),
            Log(*(rows[name].copy() for name in Log._fields)) if len(s.log) else None,
        )


def _start(source: Source, spec: Servers, log: bool) -> State:
    """Return the state before the first event: nobody is anywhere."""
    users = np.zeros(source.users, state.USER).view(np.recarray)
    users.home = state.NONE
    servers = np.zeros(spec.number, state.SERVER).view(np.recarray)
    servers.speed, servers.idle, servers.head, servers.tail = spec.speeds, spec.cores, -1, -1
    rows = np.zeros(spec.number * spec.cores, state.CORE).view(np.recarray)
    rows.running = rows.last = rows.worker = rows.head = rows.tail = state.NONE
    each = {SHARING: spec.workers, PRIORITY: 1}.get(spec.discipline, 0)
    workers = np.zeros(spec.number * each, state.WORKER).view(np.recarray)
    workers.head = workers.tail = state.NONE
    counts = np.zeros(state.COUNTS, np.int64)
    counts[[state.SPARE, state.NOW, state.HIGH]] = NEVER
    counts[state.LOW] = LATEST
    return State(
        new_heap(source.users + len(rows) + 64),
        new_line(),
        np.zeros(64, state.ATTEMPT).view(np.recarray),
        users,
        servers,
        rows,
        workers,
        np.zeros(spec.number, np.int64),
        np.zeros(spec.number, np.int64),
        np.zeros(source.lanes, np.int64),
        counts,
        np.zeros(BINS, np.int64),
        np.zeros(1024 if log else 0, state.ROW).view(np.recarray),
    )
