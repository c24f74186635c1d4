"""How the cores of a server share its work: the disciplines of the reference engine, one small class each.

A discipline only decides who runs where, and for how long at most; time and progress are the server's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from lbsim.engine.request.plane import FCFS, FOREVER, JBSQ, PRIORITY, SHARING, STEALING, Servers
from lbsim.engine.request.service import RECORD, is_urgent, worker_of


@dataclass(slots=True, eq=False)
class Attempt:
    """An attempt of a client to have its request served."""

    index: int  # of the request
    number: int  # 1: the first attempt
    user: int
    hash: int
    work: int  # ps
    pause: int  # ps that its user thinks afterwards
    due: int  # ps
    sent: int  # ps, first attempt
    current: bool = True  # its client waits for it; a server may work on one for nothing
    server: int = -1
    picked: int = -1  # ps
    found: int = 0  # attempts in its server when it entered
    record: Any = field(default_factory=lambda: np.zeros(1, RECORD))  # what `service` knows of it

    def again(self) -> Attempt:
        """Return the client's next attempt at the same request."""
        return replace(self, number=self.number + 1, current=True, server=-1, record=np.zeros(1, RECORD))


class Work(NamedTuple):
    """What a core is to do next."""

    attempt: Attempt
    length: int = FOREVER  # ps that it may run at most
    switch: int = 0  # ps before it runs


class Fcfs:
    """One queue of the server; the lowest-numbered idle core takes its head and runs it to the end."""

    def __init__(self, spec: Servers, seed: int) -> None:
        self.spec, self.seed = spec, seed
        self.queue: deque[Attempt] = deque()

    def join(self, attempt: Attempt, idle: list[int]) -> int | None:
        """Queue an attempt; return which of the idle cores (rising) is to take work at once, if any."""
        self.queue.append(attempt)
        return idle[0] if idle else None

    def take(self, core: int, now: int) -> Work | None:
        """Return the next work of a core that has none, which it can begin at `now`."""
        return Work(self.queue.popleft()) if self.queue else None

    def interrupted(self, core: int, attempt: Attempt) -> None:
        """Take back an attempt whose turn on a core is over, and which is not finished."""
        raise AssertionError("every turn lasts until its attempt is finished")

    def departed(self, core: int) -> None:
        """Note that a core has finished its attempt."""

    def frozen(self, core: int, length: int) -> None:
        """Note that a core's work under way is put off by `length` ps."""


@dataclass(slots=True, eq=False)
class Worker:
    """A thread of a server, with the requests that it has accepted."""

    accepted: deque[Attempt] = field(default_factory=deque)
    awake: bool = False  # in the run queue, or running


class Sharing(Fcfs):
    """Cores share a run queue of workers, each for a slice; within it, its requests take turns.

    Without workers each request is one of its own, as a thread per request is; with a short slice and a cost
    of switching this is the preemptive central queue of Shinjuku (Kaffes et al., NSDI 2019).
    """

    def __init__(self, spec: Servers, seed: int) -> None:
        super().__init__(spec, seed)
        self.workers = [Worker() for _ in range(spec.workers)]
        self.ready: deque[Worker] = deque()
        self.on: list[Worker | None] = [None] * spec.cores  # who has the core
        self.last: list[Worker | None] = [None] * spec.cores  # who had it last
        self.slice_end = [0] * spec.cores

    def join(self, attempt: Attempt, idle: list[int]) -> int | None:
        """Give an attempt to its worker, and wake that up."""
        if self.workers:
            worker = self.workers[worker_of(self.seed, attempt.index, attempt.number, len(self.workers))]
        else:
            worker = Worker()
        worker.accepted.append(attempt)
        if worker.awake:
            return None
        worker.awake = True
        self.ready.append(worker)
        return idle[0] if idle else None

    def take(self, core: int, now: int) -> Work | None:
        """Go on with the core's worker while its slice lasts, then with the head of the run queue."""
        spec, worker = self.spec, self.on[core]
        turn = spec.turn if self.workers else spec.slice
        if worker is not None:
            if worker.accepted and now < self.slice_end[core]:
                return Work(worker.accepted.popleft(), min(turn, self.slice_end[core] - now))
            worker.awake = bool(worker.accepted)
            if worker.awake:
                self.ready.append(worker)
            self.on[core] = None
        if not self.ready:
            return None
        worker = self.ready.popleft()
        switch = spec.switch if self.last[core] not in (None, worker) else 0
        self.on[core] = self.last[core] = worker
        self.slice_end[core] = now + switch + spec.slice
        return Work(worker.accepted.popleft(), min(turn, spec.slice), switch)

    def interrupted(self, core: int, attempt: Attempt) -> None:
        """Put an attempt behind the others of its worker."""
        worker = self.on[core]
        assert worker is not None
        worker.accepted.append(attempt)

    def frozen(self, core: int, length: int) -> None:
        """Put off the end of the slice."""
        self.slice_end[core] += length


class Stealing(Fcfs):
    """A queue each core, chosen by hash; one that runs out steals the head of the next that is not empty.

    As in ZygOS (Prekas et al., SOSP 2017): `steal` ps of work are added to what is stolen.
    """

    def __init__(self, spec: Servers, seed: int) -> None:
        super().__init__(spec, seed)
        self.queues: list[deque[Attempt]] = [deque() for _ in range(spec.cores)]

    def join(self, attempt: Attempt, idle: list[int]) -> int | None:
        """Queue an attempt at its home core; if that is busy the next idle one steals it."""
        home = attempt.hash % self.spec.cores
        self.queues[home].append(attempt)
        return min(idle, key=lambda core: (core - home) % self.spec.cores, default=None)

    def take(self, core: int, now: int) -> Work | None:
        """Return the head of the core's own queue, or of the next one that has any."""
        for k in range(self.spec.cores):
            queue = self.queues[(core + k) % self.spec.cores]
            if queue:
                attempt = queue.popleft()
                if k > 0:
                    attempt.record["left"] += self.spec.steal
                return Work(attempt)
        return None


class Jbsq(Fcfs):
    """JBSQ(depth): a core holds up to `depth` attempts; others wait centrally until one has room.

    The core with the fewest, the lowest number at a tie, gets the head (Kogias et al., R2P2, ATC 2019).
    """

    def __init__(self, spec: Servers, seed: int) -> None:
        super().__init__(spec, seed)
        self.waiting: list[deque[Attempt]] = [deque() for _ in range(spec.cores)]
        self.held = [0] * spec.cores  # the running one included

    def join(self, attempt: Attempt, idle: list[int]) -> int | None:
        """Queue an attempt centrally, and give it to a core if one has room."""
        self.queue.append(attempt)
        core = self.hand_out()
        return core if core in idle else None

    def hand_out(self) -> int | None:
        """Give the head of the central queue to the core with the fewest, if that has room; return it."""
        core = min(range(self.spec.cores), key=lambda c: (self.held[c], c))
        if not self.queue or self.held[core] >= self.spec.depth:
            return None
        self.held[core] += 1
        self.waiting[core].append(self.queue.popleft())
        return core

    def take(self, core: int, now: int) -> Work | None:
        """Return the next of those that the core holds."""
        return Work(self.waiting[core].popleft()) if self.waiting[core] else None

    def departed(self, core: int) -> None:
        """Make room for the head of the central queue."""
        self.held[core] -= 1
        self.hand_out()


class Priority(Fcfs):
    """Two queues of the server: cores take from the second when the first is empty; nobody is stopped."""

    def __init__(self, spec: Servers, seed: int) -> None:
        super().__init__(spec, seed)
        self.urgent: deque[Attempt] = deque()

    def join(self, attempt: Attempt, idle: list[int]) -> int | None:
        """Queue an attempt among its like."""
        urgent = is_urgent(self.seed, attempt.index, attempt.number, self.spec.urgent)
        (self.urgent if urgent else self.queue).append(attempt)
        return idle[0] if idle else None

    def take(self, core: int, now: int) -> Work | None:
        """Return the head of the urgent queue, or else of the other."""
        return Work(self.urgent.popleft()) if self.urgent else super().take(core, now)


DISCIPLINES: dict[int, type[Fcfs]] = {
    FCFS: Fcfs,
    SHARING: Sharing,
    STEALING: Stealing,
    JBSQ: Jbsq,
    PRIORITY: Priority,
}
