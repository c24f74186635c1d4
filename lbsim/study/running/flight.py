"""The points under way in a pool: started, awaited, and given up when the pool or the clock says so.

A worker never raises for its point (see `worker`), so an error of the executor means that a worker is gone.
When it takes the pool with it, every point under way is a suspect and comes back with a problem.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Final

from lbsim.study.running.executors import Pool
from lbsim.study.running.worker import Problem, Task, compute, over_time, reason_of

LAST_RESORT: Final = 60.0
"""Seconds past its timeout at which a point without any sign of life is given up, whatever holds it."""

Outcome = bytes | Problem


class Flight:
    """The points under way, by key; iterating tells those that are back but not landed yet."""

    def __init__(self, pool: Pool, timeout: float | None) -> None:
        self._pool, self._timeout = pool, timeout
        self._points: dict[Future[Outcome], tuple[str, float]] = {}  # -> key, when it started

    def __len__(self) -> int:
        return len(self._points)

    def start(self, key: str, task: Task) -> None:
        """Submit a point; its time starts now, so there should be a worker free."""
        self._points[self._pool.submit(compute, task)] = key, time.monotonic()

    def land(self) -> list[tuple[str, Outcome]]:
        """Wait for a point and take out what is back; if the pool is lost, all that is under way."""
        done, _ = wait(self._points, self._patience(), FIRST_COMPLETED)
        lost = not done or any(self._pool.broken(e) for e in map(_error, done) if e is not None)
        if lost:
            wait(self._points, 1.0)  # others may have come back just before, and all hear of it at once
        back = [f for f in self._points if lost or f in done]
        landed = [(self._points[f][0], self._outcome(f)) for f in back]
        for future in back:
            del self._points[future]
        if lost:
            self._pool.close(kill=True)
        return landed

    def back(self) -> list[tuple[str, Outcome]]:
        """Return what is back already, without waiting."""
        return [(key, self._outcome(f)) for f, (key, _) in self._points.items() if f.done()]

    def _patience(self) -> float | None:
        """Return how long to wait before giving up on the points under way."""
        if self._timeout is None:
            return None
        oldest = min(since for _, since in self._points.values())
        return max(0.0, oldest + self._timeout + LAST_RESORT - time.monotonic())

    def _outcome(self, future: Future[Outcome]) -> Outcome:
        """Return what came of a point."""
        error = _error(future) if future.done() else None
        if future.done() and error is None:
            return future.result()
        took = time.monotonic() - self._points[future][1]
        if self._timeout is not None and took > self._timeout:
            return Problem(f"{over_time(self._timeout)} (it did not react and was ended)")
        return Problem(_lost(error))


def _error(future: Future[Outcome]) -> BaseException | None:
    """Return the error of a future that is done."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _lost(error: BaseException | None) -> str:
    """Say why a worker gave no answer."""
    text = str(error)
    codes = re.search(r"exit codes of the workers are \{(.*?)\}", text)  # loky tells them only so
    if "SIGKILL" in text:
        return "the worker was killed (signal 9: out of memory?)"
    if codes:
        return f"the worker ended ({codes[1]})"
    if error is None or type(error).__name__ == "KilledWorker":  # that is Dask's, which may not be installed
        return "the worker was lost (killed? out of memory?)"
    return f"no worker could compute it ({reason_of(error)})"
