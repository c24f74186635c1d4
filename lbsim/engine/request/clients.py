"""The clients of the reference engine: what each request brings along, and when a user sends its next one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lbsim.engine.request.disciplines import Attempt
from lbsim.engine.request.plane import INDEPENDENT, PACED, USERS, Columns, Source
from lbsim.engine.request.service import goes_on


class Row(NamedTuple):
    """What a request brings along; see `plane.Columns`."""

    hash: int
    work: int
    pause: int
    time: int


class Launch(NamedTuple):
    """When a user sends its next request."""

    user: int
    time: int  # ps
    due: int  # ps at which it should have been sent


def rows_of(chunk: Columns) -> Iterator[Row]:
    """Return the requests of a chunk one by one."""
    n = len(chunk.hash)
    pause, time = (column.tolist() if len(column) else [0] * n for column in (chunk.pause, chunk.time))
    return map(Row, chunk.hash.tolist(), chunk.work.tolist(), pause, time)


@dataclass(slots=True)
class Pace:
    """How far a paced user is."""

    first: int  # ps, when its first request is due
    over: int = 0  # requests
    behind: bool = False
    anchor: int = 0  # ps since when it is behind
    before: int = 0  # requests that were over then


class Users:
    """The users: none where requests come by themselves."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.home = [-1] * source.users  # the server that a user is connected to
        self.hash = [0] * source.users  # of that connection
        self.paces = [Pace(time) for time in source.first.tolist()]

    def first(self) -> Iterator[Launch]:
        """Yield each user's first launch."""
        for user, time in enumerate(self.source.first.tolist()):
            yield Launch(user, time, time)

    def hash_of(self, user: int, new: int) -> int:
        """Return the hash of a user's connection, which is a new one where it is not connected."""
        if self.source.kind != USERS:
            return new
        if self.home[user] < 0:
            self.hash[user] = new
        return self.hash[user]

    def home_of(self, attempt: Attempt) -> int:
        """Return the server of the session that an attempt belongs to; -1: none, or not the first."""
        return self.home[attempt.user] if self.source.kind == USERS and attempt.number == 1 else -1

    def settle(self, attempt: Attempt) -> None:
        """Note to which server a user's connection goes."""
        if self.source.kind == USERS and attempt.current:
            self.home[attempt.user] = attempt.server

    def next(self, last: Attempt, now: int, completed: bool) -> Launch | None:
        """Return the launch after a user's request, which is over; None where there are no users."""
        user, source = last.user, self.source
        if source.kind == INDEPENDENT:
            return None
        if source.kind == PACED:
            return self._paced(user, now)
        if not completed or not goes_on(source.seed, last.index, source.session):
            self.home[user] = -1
        return Launch(user, now + last.pause, now + last.pause)

    def _paced(self, user: int, now: int) -> Launch:
        """Launch when the next is due; if that has passed, catch up, at least `catch` ps apart (wrk2)."""
        pace, source = self.paces[user], self.source
        pace.over += 1
        due = pace.first + pace.over * source.period
        if due > now:
            pace.behind = False
            return Launch(user, due, due)
        if not pace.behind:
            pace.behind, pace.anchor, pace.before = True, now, pace.over
        return Launch(user, max(now, pace.anchor + (pace.over - pace.before) * source.catch), due)
