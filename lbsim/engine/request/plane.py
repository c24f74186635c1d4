"""The data plane of requests as the control plane sees it: one interface, several implementations.

Clients send requests through a balancer to servers, which serve them and answer. Every pending event has a
key of its own, and events run in order of (time, key): that order is what makes engines equal to the last
bit. At one instant turns of cores end first, then answers reach clients, then control, timeouts, picks of
the balancer, launches, retries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lbsim.metrics.histogram import Histogram

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]

CORE, ANSWER, TIMEOUT, PICK, LAUNCH, RETRY = range(6)
"""Kinds of events; ids are server * cores + core, request, request, request, user (0 if open), request."""

KIND: Final = 40
"""Bits of an event's id below its kind."""

CONTROL: Final = (TIMEOUT << KIND) - 1
"""SimPy priority of control: after the answers of its instant, before all else."""

INDEPENDENT, USERS, PACED = range(3)
"""Kinds of clients: at given times; each some time after its last answer; each at its own steady pace."""

FCFS, SHARING, STEALING, JBSQ, PRIORITY = range(5)
"""Disciplines of servers; see `lbsim.engine.request.disciplines`."""

FOREVER: Final = 2**62
"""The length of a turn that nothing but its request's end ends (ps)."""

NEVER: Final = -1

MOST_AT_ONCE: Final = 10**7
"""Events of one instant after which a run is given up as going in circles."""


def key(kind: int, number: int) -> int:
    """Return the key of an event: its place among the events of its instant, and its SimPy priority."""
    return kind << KIND | number


class Columns(NamedTuple):
    """What requests bring along, by request in order of first attempts; rows of the same length."""

    hash: Int64s  # 32 bits
    work: Int64s  # ps of CPU, or of wall clock where servers spin, at least 1
    pause: Int64s  # ps that the user thinks after it; empty unless USERS
    time: Int64s  # ps of arrival, rising; empty unless INDEPENDENT


class Retry(NamedTuple):
    """What clients do about attempts that fail."""

    timeout: int = NEVER  # ps from sending an attempt until it fails
    attempts: int = 1  # of a request, the first included
    backoff: int = 0  # ps from the first failure to the second attempt
    factor: float = 1.0  # by which each backoff exceeds the one before
    most: int = 0  # ps, limit of the backoff before jitter
    jitter: float = 0.0  # greatest share added at random


class Source(NamedTuple):
    """The clients of a run, and the way to the servers; the same whatever the policy."""

    kind: int  # INDEPENDENT, USERS or PACED
    users: int  # 0 where INDEPENDENT
    first: Int64s  # [users] ps at which each is to send its first request
    period: int  # PACED: ps from one request of a user to the next
    catch: int  # PACED: the same while catching up
    session: float  # USERS: mean requests of a connection, which stays on its server
    overhead: int  # ps added to every recorded latency
    delay: int  # ps from a server's answer until it reaches the client
    lanes: int  # cores of the balancer; 0: it costs nothing
    cost: int  # ps that a request takes on its core of the balancer, at least 1
    retry: Retry
    seed: int  # of the clients' coins
    end: int  # ps from which nothing is launched
    warmup: int  # ps
    cohort_done: bool  # the cohort is what is over in [warmup, end), else what was due then
    columns: Callable[[], Iterator[Columns]]  # anew from request 0 at each call; never too few


class Servers(NamedTuple):
    """The servers of a run."""

    number: int
    cores: int  # of each
    speeds: Float64s  # [number]
    response: int  # bytes of an answer
    backlog: int = NEVER  # most requests in a server, those in service included; NEVER: no limit
    discipline: int = FCFS
    slice: int = FOREVER  # SHARING: ps
    turn: int = FOREVER  # SHARING with workers: ps, at most `slice`
    switch: int = 0  # SHARING: ps lost when a core takes another request, or another worker
    workers: int = 0  # SHARING: 0: each request is a worker of its own
    steal: int = 0  # STEALING: ps of work added to a stolen request
    depth: int = 1  # JBSQ: requests a core holds, the running one included
    urgent: float = 0.0  # PRIORITY: share of requests that go before the others
    spins: bool = False  # the work is wall-clock time between `setup` and `finish`
    setup: int = 0  # ps of CPU
    finish: int = 0  # ps of CPU
    by_second: Int64s = np.empty((0, 0), np.int64)  # [number, seconds] work by the pick's second; or empty


class Counters(NamedTuple):
    """Cumulative counters at an instant; copies, safe to keep."""

    launched: int  # requests
    completed: int  # requests answered in time
    given_up: int  # requests whose every attempt failed
    refused: int  # attempts that found their server full
    timed_out: int  # attempts
    retried: int  # attempts after the first
    inside: Int64s  # [servers] attempts in each server, which is what the balancer waits for
    placed: Int64s  # [servers] attempts sent to each
    bytes: Int64s  # [servers] answered
    busy: Int64s  # [servers] ps of cores with a turn under way, not frozen
    latency: Int64s  # [servers] ps, smoothed time from pick to departure

    @property
    def under_way(self) -> int:
        """Return the requests that are neither completed nor given up."""
        return self.launched - self.completed - self.given_up


class Log(NamedTuple):
    """One row a request, in the order in which they were over; whole run."""

    index: Int64s  # type: ignore[assignment]
    user: Int64s  # its index where clients are INDEPENDENT
    server: Int64s  # of its last attempt
    due: Int64s  # ps
    sent: Int64s  # ps, first attempt
    done: Int64s  # ps
    latency: Int64s  # ps, overhead included; NEVER: given up
    attempts: Int64s


class Cohort(NamedTuple):
    """Of the counters, those of the cohort: of requests due, or of events, in [warmup, end)."""

    launched: int
    completed: int
    given_up: int
    refused: int
    timed_out: int
    retried: int


class Tally(NamedTuple):
    """What a finished run counted."""

    counters: Counters  # whole run, after draining
    cohort: Cohort
    latency: Histogram  # of requests of the cohort that were completed
    area: int  # integral of the attempts in servers over time, whole run (ps, exact)
    sojourn: int  # sum over attempts of their time in a server, whole run (ps, exact)
    peak: int  # most attempts in servers at once, whole run
    end: int  # ps of the last event that changed anything
    log: Log | None


class Plane(Protocol):
    """A data plane of requests."""

    name: str
    signal: Int64s
    """[servers] what the policy sees as queues; control may write it, then calls `refresh`, unless live."""
    measured: Int64s
    """[servers] ps at which each entry of `signal` was measured; written along with it."""

    def sync(self, now: int) -> None:
        """Run everything before `now`, and at `now` the ends of turns and the answers."""

    def counters(self, now: int) -> Counters:
        """Return the counters at `now`; call `sync(now)` first."""

    def refresh(self) -> None:
        """Take over what changed of the signal, and of the balancer's weights and table."""

    def pause(self, server: int, now: int, length: int) -> None:
        """Freeze a server's cores for `length` ps, or until an earlier pause ends if that is later."""

    def slow(self, server: int, now: int, factor: float) -> None:
        """Let a server run at `factor` times its own speed from `now` on; 1 restores it."""

    def finish(self) -> Tally:
        """Launch on until the end, drain, and return what was counted."""
