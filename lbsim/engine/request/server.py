"""A server of the reference engine: cores that take turns at requests, may be frozen, or slowed down."""

from __future__ import annotations

from typing import NamedTuple

from lbsim.engine.request.disciplines import DISCIPLINES, Attempt
from lbsim.engine.request.plane import Servers
from lbsim.engine.request.service import plan, progress


class Turn(NamedTuple):
    """A core's turn under way; replaced by another one when its plan changes."""

    attempt: Attempt
    since: int  # ps, from which on it counts as busy and has not been counted yet
    start: int  # ps, from which on its attempt runs and its progress has not been noted yet
    limit: int  # ps at which it has to stop
    end: int  # ps at which it stops: at the limit, or when it departs


class Server:
    """See the module."""

    def __init__(self, number: int, spec: Servers, seed: int) -> None:
        self.number = number
        self.own = self.speed = float(spec.speeds[number])
        self.discipline = DISCIPLINES[spec.discipline](spec, seed)
        self.turns: list[Turn | None] = [None] * spec.cores
        self.thawed = 0  # ps from which on it runs
        self.busy = 0  # ps of cores, turns under way left out

    def join(self, attempt: Attempt) -> int | None:
        """Take an attempt in; return the core that is to begin a turn at once, if any."""
        return self.discipline.join(attempt, [c for c, turn in enumerate(self.turns) if turn is None])

    def begin(self, core: int, now: int) -> Turn | None:
        """Let a core take its next work, if there is any."""
        since = max(now, self.thawed)
        work = self.discipline.take(core, since)
        if work is None:
            return None
        start = since + work.switch
        turn = self._planned(work.attempt, since, start, start + work.length)
        self.turns[core] = turn
        return turn

    def stop(self, core: int, turn: Turn, now: int) -> Attempt | None:
        """End a core's turn; return the attempt if it departs."""
        attempt = turn.attempt
        self._run(turn, now)
        self.turns[core] = None
        if attempt.record["finished"][0]:
            self.discipline.departed(core)
            return attempt
        self.discipline.interrupted(core, attempt)
        return None

    def freeze(self, now: int, length: int) -> list[tuple[int, Turn]]:
        """Freeze all cores for `length` ps, or as long as they already are; return their new turns."""
        thawed = max(self.thawed, now + length)
        later = thawed - max(self.thawed, now)
        self.thawed = thawed
        return self._replanned(now, later, self.speed)

    def slow(self, now: int, factor: float) -> list[tuple[int, Turn]]:
        """Run at `factor` times its own speed from now on; return the new turns of its cores."""
        return self._replanned(now, 0, self.own * factor)

    def busy_at(self, now: int) -> int:
        """Return the ps of cores with a turn under way so far, the time that they were frozen left out."""
        return self.busy + sum(max(0, now - turn.since) for turn in self.turns if turn is not None)

    def _replanned(self, now: int, later: int, speed: float) -> list[tuple[int, Turn]]:
        for turn in self.turns:
            if turn is not None:
                self._run(turn, now)
        self.speed = speed
        changed = []
        for core, turn in enumerate(self.turns):
            if turn is not None:
                since, start = (max(time, now) + later for time in (turn.since, turn.start))
                again = self._planned(turn.attempt, since, start, turn.limit + later)
                self.turns[core] = again
                self.discipline.frozen(core, later)
                changed.append((core, again))
        return changed

    def _run(self, turn: Turn, now: int) -> None:
        """Account for a turn up to now."""
        progress(turn.attempt.record, 0, turn.start, now, self.speed)
        self.busy += max(0, now - turn.since)

    def _planned(self, attempt: Attempt, since: int, start: int, limit: int) -> Turn:
        return Turn(attempt, since, start, limit, int(plan(attempt.record, 0, start, limit, self.speed)))
