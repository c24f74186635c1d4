"""The fast data plane of requests: for servers of one core, first come, first served, whom nothing disturbs.

Then a departure is final at admission, see `fast_kernels`. It is advanced lazily, only as far as the control
plane looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numba.core.errors import NumbaError, UnsupportedBytecodeError

from lbsim.balancer import Policy
from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import View, fewest
from lbsim.balancer.tournament import new_order, no_order
from lbsim.engine.connection import kernels as replaying
from lbsim.engine.connection.compiled import compiled_here
from lbsim.engine.plane import Progress
from lbsim.engine.policy import PolicyError, compile_policy
from lbsim.engine.request import fast_kernels as kernels
from lbsim.engine.request.fast_state import (
    AT,
    COHORT_COMPLETED,
    COHORT_LAUNCHED,
    ENTRY,
    HIGH,
    LATENCY,
    LATENCY_HIGH,
    LATEST,
    LAUNCHED,
    LOW,
    NEVER,
    PART,
    PEAK,
    STAY,
    STAY_HIGH,
    SUMS,
    Habits,
    Rows,
    grown,
    new_state,
)
from lbsim.engine.request.plane import (
    FCFS,
    INDEPENDENT,
    Cohort,
    Columns,
    Counters,
    Log,
    Servers,
    Source,
    Tally,
)
from lbsim.engine.request.plane import NEVER as NO
from lbsim.metrics.histogram import Histogram

SLICE: Final = 1 << 15
"""Requests a kernel call takes at most: progress is told in between, and Ctrl-C is heard."""

TIRESOME: Final = 16
"""Lists, for each request of a slice, that are worth bringing up to date to learn the peak."""

PATIENCE: Final = 8
"""Slices that run exactly after one in which there were more."""

MOST_SAMPLES: Final = 16
"""Queues that are brought up to date one by one, for each request; beyond, all are kept so."""

BLIND: Final = ("nothing", "hash", "weights")
"""What policies read that look at no queue."""

NOTHING: Final = Columns(*[np.empty(0, np.int64)] * 4)


def looks_at(policy: Policy, choices: int) -> int:
    """Return of how many samples a policy looks at the queues; 0: at none, -1: maybe at any."""
    if policy.by_hash or (policy.samples and policy.reads in BLIND):
        return 0
    samples = choices if policy.samples == -1 else policy.samples
    return samples if 0 < samples <= MOST_SAMPLES else -1


def suits(balancer: Balancer, source: Source, servers: Servers, live: bool) -> bool:
    """Return whether the fast plane is exact: nothing can change what has been admitted.

    Where the policy may look at any queue, and queues are reported, the age of every report would have to be
    told for each request: that is left to the general plane.
    """
    plain = servers.discipline == FCFS and servers.cores == 1 and servers.backlog == NO
    plain = plain and not servers.spins and not servers.by_second.size
    simple = source.retry.timeout == NO and source.session == 1 and source.delay == 0 and source.lanes == 0
    policy = balancer.policy
    return plain and simple and policy.done is None and (live or looks_at(policy, balancer.choices) >= 0)


class FastPlane:
    """Requests whose departure is final; see `lbsim.engine.request.plane.Plane` for the interface.

    `live`, `log`, `progress`: as in the general plane. Raises ValueError where departures are not final, see
    `suits`, and PolicyError where the policy does not compile.
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
        if not suits(balancer, source, servers, live):
            raise ValueError("departures are not final at admission here; take the general plane")
        n = servers.number
        self._balancer, self._source, self._servers = balancer, source, servers
        self._progress = progress
        looks = looks_at(balancer.policy, balancer.choices)
        self._samples = tuple(range(max(0, looks)))
        self._any = looks < 0  # the policy may look at any server
        how = "any queue" if self._any else "sampled queues" if looks else "no queue"
        self.name = f"compiled: departures at admission, {how}"
        self._policy = compile_policy(balancer.policy.choose)
        self._rank = fewest if balancer.policy.rank is None else balancer.policy.rank
        self._columns: Iterator[Columns] = source.columns()
        self._chunk, self._last = NOTHING, False
        self._habits = Habits(
            source.kind, source.period, source.catch, source.overhead, source.warmup, source.end,
            source.cohort_done, servers.response, live,
        )  # fmt: skip
        self._state = new_state(source, servers)
        self.signal = self._state.inside if live else np.zeros(n, np.int64)
        self.measured = np.zeros(n, np.int64)
        self._age = np.zeros(n, np.int64)
        self._exactly = 0  # slices that are still to run exactly
        self._sums = [0] * len(SUMS)
        self._log: list[Rows] | None = [] if log else None
        self._page: Rows = np.empty(SLICE if log else 0, ENTRY).view(np.recarray)
        self._take_over()

    def _take_over(self) -> None:
        """Read the balancer's front, and what is reported."""
        balancer, state, signal = self._balancer, self._state, self.signal
        front, ranked = balancer.front, self._any and balancer.policy.rank is not None
        self._view = View(
            len(signal), 0, signal, balancer.state, balancer.seed, 0, front.weight, front.table,
            new_order(len(signal)) if ranked else no_order(), front.active, balancer.choices,
            state.latency, state.inside, self._age,
        )  # fmt: skip
        if ranked:
            self._compiled(replaying.replay, self._view, self._rank)

    # --- running --------------------------------------------------------------------------------------------

    def sync(self, now: int) -> None:
        """Launch what is before `now`, and let depart what does at or before `now`."""
        self._launch(min(now, self._source.end))
        if self._exact:
            self._compiled(kernels.settle_in_order, self._state, self._view, self._rank, now)
        else:
            kernels.settle_all(self._state, now)

    @property
    def _exact(self) -> bool:
        """Whether the tournaments are kept."""
        return self._any or self._exactly > 0

    def _launch(self, until: int) -> None:
        """Launch every request before `until`."""
        scans = 1 + TIRESOME * SLICE // self._servers.number
        why = kernels.MORE
        while why != kernels.DONE:
            counts = self._state.counts
            before = int(counts[LAUNCHED])
            stop = min(len(self._chunk.work), int(counts[AT]) + SLICE)
            why = self._compiled(
                kernels.run, self._state, self._habits, self._view, self.measured, self._policy, self._rank,
                self._samples, self._exact, self._chunk, self._page, stop, scans, until,
            )  # fmt: skip
            launched = int(counts[LAUNCHED]) - before
            self._sums = [a + int(b) for a, b in zip(self._sums, counts[SUMS[0] :], strict=True)]
            if self._log is not None and launched:
                self._log.append(self._page[:launched].copy())
            if counts[LATEST] >= NEVER:
                raise ValueError("a server has work for more than 53 days of simulated time: lower the load")
            if self._exactly:
                self._exactly -= 1
            if why == kernels.MORE and counts[AT] == len(self._chunk.work):
                why = kernels.DONE if self._last else self._fetch()
            elif why == kernels.FULL:
                self._state = grown(self._state)
            elif why == kernels.TIRED:
                self._exactly = PATIENCE
                kernels.arrange(self._state)
            elif why == kernels.ASTRAY:
                raise ValueError(
                    f"the policy sent request {counts[LAUNCHED]} to no server: it must return "
                    f"0 .. {self._view.n - 1}"
                )
            if self._progress is not None and launched:
                self._progress(int(self._now()), int(counts[LAUNCHED]))

    def _now(self) -> int:
        """Return about what time it is, ps: when the next request is launched."""
        if self._source.kind == INDEPENDENT:
            at = min(int(self._state.counts[AT]), len(self._chunk.time) - 1)
            return int(self._chunk.time[at]) if at >= 0 else 0
        return min(int(self._state.users[1].time), self._source.end)

    def _fetch(self) -> int:
        """Take the source's next columns."""
        chunk = next(self._columns, None)
        self._last = chunk is None
        columns = NOTHING if chunk is None else chunk
        self._chunk = Columns(*(np.ascontiguousarray(column, np.int64) for column in columns))
        self._state.counts[AT] = 0
        return kernels.MORE

    def _compiled(self, kernel: Callable[..., Any], *arguments: Any) -> Any:
        """Call a kernel in which a policy's functions run. PolicyError if they cannot be compiled."""
        try:
            return compiled_here(kernel)(*arguments)
        except (NumbaError, UnsupportedBytecodeError) as error:
            raise PolicyError.of(error) from error

    # --- control --------------------------------------------------------------------------------------------

    def counters(self, now: int) -> Counters:
        """Return the counters at `now`; call `sync(now)` first."""
        rows, inside, response = self._state.rows, self._state.inside, self._servers.response
        launched = int(self._state.counts[LAUNCHED])
        return Counters(
            launched, launched - int(inside.sum()), 0, 0, 0, 0,
            inside.copy(), rows.placed.copy(), (rows.placed - inside) * response,
            rows.busy - np.maximum(0, rows.free - now), self._state.latency.copy(),
        )  # fmt: skip

    def refresh(self) -> None:
        """Take over what changed of the signal, and of the balancer's weights and table."""
        self._take_over()

    def pause(self, server: int, now: int, length: int) -> None:
        """Raise RuntimeError: what has been admitted can no longer be held up."""
        raise RuntimeError("departures at admission know no pauses; take the general plane")

    def slow(self, server: int, now: int, factor: float) -> None:
        """Raise RuntimeError, as `pause`."""
        self.pause(server, now, 0)

    def finish(self) -> Tally:
        """Launch on until the end, drain, and return what was counted."""
        self.sync(NEVER - 1)
        state, counts = self._state, self._state.counts
        sums = dict(zip(SUMS, self._sums, strict=True))
        bins = state.bins.copy()
        latency = Histogram(
            bins,
            sums[LATENCY] + (sums[LATENCY_HIGH] << PART),
            int(counts[LOW]) if bins.any() else 0,
            int(counts[HIGH]),
        )
        stay = sums[STAY] + (sums[STAY_HIGH] << PART)
        last = int(counts[LATEST])
        return Tally(
            self.counters(last), Cohort(sums[COHORT_LAUNCHED], sums[COHORT_COMPLETED], 0, 0, 0, 0), latency,
            stay, stay, int(counts[PEAK]), last, self._logged(),
        )  # fmt: skip

    def _logged(self) -> Log | None:
        """Return the log, in the order in which requests were over."""
        if self._log is None:
            return None
        rows = np.concatenate([np.empty(0, ENTRY), *self._log])
        order = np.lexsort((rows["server"], rows["done"]))
        user, server, due, sent, done = (rows[name][order] for name in ENTRY.names or ())
        latency = done - due + self._source.overhead
        return Log(order, user, server, due, sent, done, latency, np.ones(len(rows), np.int64))
