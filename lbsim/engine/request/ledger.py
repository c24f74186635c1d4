"""What the reference engine counts."""

from __future__ import annotations

from collections import Counter

import numpy as np

from lbsim.engine.request.disciplines import Attempt
from lbsim.engine.request.plane import NEVER, Cohort, Counters, Int64s, Log, Servers, Source, Tally
from lbsim.engine.request.service import smoothed
from lbsim.metrics.histogram import Histogram


class Ledger:
    """Events of the run and of the cohort, what each server did, and the path of the number inside."""

    def __init__(self, source: Source, servers: Servers, log: bool) -> None:
        self.source, self.response, self.keeps_log = source, servers.response, log
        self.whole: Counter[str] = Counter()  # of events, by their name in `Cohort`
        self.cohort: Counter[str] = Counter()
        self.latencies: list[int] = []  # of the cohort
        self.rows: list[tuple[int, ...]] = []  # of `Log`
        self.inside, self.placed, self.bytes, self.latency = np.zeros((4, servers.number), np.int64)
        self.left = [0] * servers.number  # attempts that each server has served
        self.area = self.sojourn = self.peak = 0
        self.changed = 0  # ps at which the number inside last changed
        self.end = 0  # ps of the last event that changed anything

    def count(self, event: str, now: int, due: int) -> bool:
        """Count an event of a request; return whether it belongs to the cohort."""
        counts = self.source.warmup <= (now if self.source.cohort_done else due) < self.source.end
        self.whole[event] += 1
        self.cohort[event] += counts
        return counts

    def complete(self, last: Attempt, now: int) -> None:
        """Count a request whose answer has come in time."""
        latency = now - last.due + self.source.overhead
        if self.count("completed", now, last.due):
            self.latencies.append(latency)
        self._log(last, now, latency)

    def give_up(self, last: Attempt, now: int) -> None:
        """Count a request whose every attempt failed."""
        self.count("given_up", now, last.due)
        self._log(last, now, NEVER)

    def enter(self, server: int, now: int) -> None:
        """Count an attempt that its server accepts."""
        self._pass(now)
        self.inside[server] += 1
        self.peak = max(self.peak, int(self.inside.sum()))

    def leave(self, attempt: Attempt, now: int) -> None:
        """Count an attempt that its server has served."""
        server, spent = attempt.server, now - attempt.picked
        self._pass(now)
        self.inside[server] -= 1
        self.sojourn += spent
        self.bytes[server] += self.response
        self.latency[server] = smoothed(int(self.latency[server]), spent, self.left[server] == 0)
        self.left[server] += 1

    def counters(self, busy: Int64s) -> Counters:
        """Return the counters of the whole run so far, with what the servers have worked."""
        servers = (self.inside, self.placed, self.bytes, busy, self.latency)
        return Counters(*_events(self.whole), *(column.copy() for column in servers))

    def tally(self, busy: Int64s) -> Tally:
        """Return all that was counted."""
        log = Log(*np.array(self.rows, np.int64).reshape(-1, len(Log._fields)).T) if self.keeps_log else None
        return Tally(
            self.counters(busy), _events(self.cohort), Histogram.of(self.latencies),
            self.area, self.sojourn, self.peak, self.end, log,
        )  # fmt: skip

    def _pass(self, now: int) -> None:
        """Let time pass up to now, with as many inside as there are."""
        self.area += int(self.inside.sum()) * (now - self.changed)
        self.changed = now

    def _log(self, last: Attempt, now: int, latency: int) -> None:
        if self.keeps_log:
            self.rows.append(
                (last.index, last.user, last.server, last.due, last.sent, now, latency, last.number)
            )


def _events(counts: Counter[str]) -> Cohort:
    return Cohort(*(counts[name] for name in Cohort._fields))
