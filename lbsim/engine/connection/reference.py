"""The reference data plane of connections: a SimPy process each. The executable specification; read it first.

It runs any plain-Python policy and is the oracle of the kernels: equal connections and equal control give
equal servers, breaks and counters, to the last bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import simpy

from lbsim.balancer.balancer import Balancer
from lbsim.balancer.consistency import ASK, REFUSED, UNTRACKED, admit, reach, release
from lbsim.balancer.policies import Unit, View
from lbsim.balancer.tournament import no_order
from lbsim.engine.connection.kernels import new_hash, notice
from lbsim.engine.connection.plane import (
    BEGIN,
    BREAK,
    CAUSES,
    END,
    LOST,
    REMAPPED,
    RETRY,
    Attempts,
    Breaks,
    Clients,
    Counters,
    Int64s,
    Tally,
)
from lbsim.engine.plane import Clock, Progress

EVENTS = ("begun", "completed", "remapped", "lost", "refused", "skipped", "retried")
"""What of `Counters` counts events."""

Process = Generator[simpy.Event, Any, None]


class Attempt(NamedTuple):
    """What a client wants to begin."""

    hash: int
    length: int
    gap: int
    process: int = -1  # whose URL it asks for; -1: nobody's
    url: int = -1


@dataclass(slots=True)
class Connection:
    """A connection under way."""

    index: int
    begin: int
    attempt: Attempt
    server: int
    handle: int  # what the consistency scheme gave it

    @property
    def end(self) -> int:
        """Return when it ends if nothing breaks it."""
        return self.begin + self.attempt.length

    def crossing(self, now: int) -> int | None:
        """Return when its next packet after the first crosses the balancer, from `now` on; None: never."""
        gap = self.attempt.gap
        time = now if gap == 0 else self.begin + max(1, -((self.begin - now) // gap)) * gap
        return time if time < self.end else None  # its last packet cannot break it


class ReferencePlane:
    """See `lbsim.engine.connection.plane.Plane` for the interface; `sync` has nothing to do here."""

    def __init__(
        self,
        env: Clock,
        balancer: Balancer,
        attempts: Iterator[Attempts],
        clients: Clients,
        progress: Progress | None = None,
    ) -> None:
        self.name = "reference: a SimPy process per connection"
        self.env, self.balancer, self.clients, self.progress = env, balancer, clients, progress
        self.live: dict[int, Connection] = {}  # by index, and in its order
        self.load = np.zeros(balancer.pool.configured, np.int64)
        self.placed = np.zeros(balancer.pool.configured, np.int64)
        self.whole: Counter[str] = Counter()  # of events, by their name in `Counters`
        self.cohort: Counter[str] = Counter()
        self.breaks: list[tuple[int, int, int, int, int]] = []  # rows of `Breaks`
        self.ratios: list[float] = []  # of highest to mean load
        self.protected = self.peak = self.peak_protected = 0
        self.changes = 0  # of the pool
        urls = clients.urls
        self.free = [list(range(len(urls.length))) for _ in range(urls.processes)] if urls else []
        env.process(self.arrivals(attempts))

    # --- clients --------------------------------------------------------------------------------------------

    def arrivals(self, attempts: Iterator[Attempts]) -> Process:
        """Start each connection, when all else that is due at that instant has happened."""
        for chunk in attempts:
            for k, time in enumerate(chunk.time.tolist()):
                yield self.env.wait(time - self.env.now, BEGIN)
                attempt = self.attempt(chunk, k)
                if attempt is not None:
                    self.env.process(self.connection(attempt))
            if self.progress is not None:
                self.progress(self.env.now, self.whole["begun"])

    def attempt(self, chunk: Attempts, k: int) -> Attempt | None:
        """Return what is wanted in a row, None where all URLs of the client are under way."""
        digest, urls = int(chunk.hash[k]), self.clients.urls
        if urls is None:
            return Attempt(digest, int(chunk.length[k]), int(chunk.gap[k]))
        process = int(chunk.process[k])
        free = self.free[process]
        if not free:
            self.count("skipped")
            return None
        p = int(chunk.coin[k]) % len(free)
        url, free[p] = free[p], free[-1]
        free.pop()
        return Attempt(digest, int(urls.length[url]), int(urls.gap[url]), process, url)

    def put_back(self, attempt: Attempt) -> None:
        """Let its URL, if it asked for one, be asked for again."""
        if attempt.url >= 0:
            self.free[attempt.process].append(attempt.url)

    def again(self, broken: Connection) -> Process:
        """A client connects again from another port, for what was left."""
        left = broken.end - self.env.now
        digest = int(new_hash(self.clients.seed, broken.index))
        yield self.env.wait(self.clients.retry, RETRY)
        self.count("retried")
        self.env.process(self.connection(Attempt(digest, left, broken.attempt.gap)))

    # --- the life of a connection ---------------------------------------------------------------------------

    def connection(self, attempt: Attempt) -> Process:
        """A connection's life: the balancer picks a server, it lasts, it ends, unless it breaks before."""
        self.note_imbalance()
        index = self.whole["begun"]
        server = self.choose(index, attempt.hash)
        c = Connection(index, self.env.now, attempt, server, UNTRACKED)
        if self.balancer.front.down[server]:  # which the balancer does not know yet
            self.count_begin(c)
            self.lose(c)
            return
        c.handle = int(admit(self.balancer.keeper, index, attempt.hash, server))
        if c.handle == REFUSED:
            self.count("refused")
            self.put_back(attempt)
            return
        self.count_begin(c)
        self.enter(c)
        yield self.env.wait(attempt.length, END)
        if index in self.live:
            self.leave(c)
            self.count("completed")
            self.put_back(attempt)

    def astray(self, c: Connection, time: int, change: int) -> Process:
        """The break that a change of the pool made inevitable, unless another change comes before it."""
        yield self.env.wait(time - self.env.now, BREAK)
        if change == self.changes:
            self.leave(c)
            self.lose(c)

    def enter(self, c: Connection) -> None:
        """Put it on its server."""
        self.live[c.index] = c
        self.load[c.server] += 1
        self.protected += c.handle >= 0
        self.peak = max(self.peak, len(self.live))
        self.peak_protected = max(self.peak_protected, self.protected)

    def leave(self, c: Connection) -> None:
        """Take it off its server."""
        del self.live[c.index]
        self.load[c.server] -= 1
        self.protected -= c.handle >= 0
        release(self.balancer.keeper, c.index, c.attempt.hash, c.server, c.handle)

    def lose(self, c: Connection) -> None:
        """Note the break; its client reports it some time later, and may connect again."""
        now = self.env.now
        cause = LOST if self.balancer.front.down[c.server] else REMAPPED
        reported = now + int(notice(self.clients.seed, c.index, self.clients.notice))
        self.breaks.append((now, reported, c.index, c.server, cause))
        self.count(CAUSES[cause])
        if self.clients.urls is not None and self.clients.urls.again:
            self.put_back(c.attempt)
        if self.clients.retry >= 0:
            self.env.process(self.again(c))

    # --- the balancer ---------------------------------------------------------------------------------------

    def choose(self, index: int, digest: int) -> int:
        """Return the server of the policy's choice."""
        b, front = self.balancer, self.balancer.front
        queue = self.load[front.active]
        zeros = np.zeros(len(queue), np.int64)
        view = View(
            len(queue), self.env.now, queue, b.state, b.seed, int(queue.sum()),
            front.weight, front.table, no_order(), front.active, b.choices, zeros, queue, zeros,
        )  # fmt: skip
        place = int(b.policy.choose(view, Unit(index, index, digest, 0)))
        if not 0 <= place < len(queue):
            raise ValueError(
                f"the policy sent connection {index} to no server: it must return 0 .. {len(queue) - 1}"
            )
        return int(front.active[place])

    def reached(self, c: Connection) -> int:
        """Return the server that packets of a connection reach now."""
        where = int(reach(self.balancer.keeper, c.index, c.attempt.hash, c.server, c.handle))
        return self.choose(c.index, c.attempt.hash) if where == ASK else where

    def change(self, now: int, apply: Callable[[], None]) -> None:
        """Change the pool; whose packets then go astray breaks with its next one."""
        apply()
        self.changes += 1
        for c in self.live.values():
            if self.balancer.front.down[c.server] or self.reached(c) != c.server:
                time = c.crossing(now)
                if time is not None:
                    self.env.process(self.astray(c, time, self.changes))

    # --- what was counted -----------------------------------------------------------------------------------

    def count(self, event: str) -> None:
        """Count an event, in the cohort from the warm-up on."""
        self.whole[event] += 1
        self.cohort[event] += self.env.now >= self.clients.warmup

    def count_begin(self, c: Connection) -> None:
        """Count a connection that begins."""
        self.count("begun")
        self.placed[c.server] += 1

    def note_imbalance(self) -> None:
        """Note highest / mean load of active servers."""
        queue = self.load[self.balancer.front.active]
        if self.env.now >= self.clients.warmup and queue.sum() > 0:
            self.ratios.append(int(queue.max()) * len(queue) / int(queue.sum()))

    def sync(self, now: int) -> None:
        """Nothing: every connection is a process on the same clock."""

    def refresh(self) -> None:
        """Nothing: the balancer is looked at when a connection begins."""

    def counters(self) -> Counters:
        """Return the counters."""
        return self._counters(self.whole)

    def _counters(self, events: Counter[str]) -> Counters:
        queue = self.load[self.balancer.front.active]
        return Counters(
            **{name: events[name] for name in EVENTS},
            live=len(self.live),
            active=len(queue),
            highest=int(queue.max()),
            lowest=int(queue.min()),
            protected=self.protected,
        )

    def loads(self) -> Int64s:
        """Return the connections of each configured server."""
        return self.load.copy()

    def finish(self, end: int) -> Tally:
        """Return what was counted, once the environment has reached `end`."""
        total = 0.0
        for ratio in self.ratios:  # one by one: Python's own sum is more exact than a running one
            total += ratio
        return Tally(
            self._counters(self.whole), self._counters(self.cohort),
            total, max(self.ratios, default=0.0), len(self.ratios), self.peak, self.peak_protected,
            self.load.copy(), self.placed.copy(),
            Breaks(*np.array(self.breaks, np.int64).reshape(-1, 5).T),
        )  # fmt: skip
