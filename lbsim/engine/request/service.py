"""What running does to a request: kernels that every engine uses, so that all round alike.

A request has up to three phases. SETUP and REST are CPU time, which passes at the server's speed while the
request runs. SPIN is wall-clock time, which passes whatever runs, and whose end is noticed only when the
request runs. A plain request has REST alone.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from lbsim import rng
from lbsim.jit import step

Records = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

SETUP, SPIN, REST = range(3)

SERVICE: Final = [
    ("phase", "i8"),  # SETUP, SPIN or REST
    ("left", "i8"),  # ps of CPU left in SETUP or REST, at speed 1
    ("spin", "i8"),  # ps of wall clock
    ("deadline", "i8"),  # ps at which SPIN ends
    ("finish", "i8"),  # ps of CPU in REST after a spin
    ("finished", "i8"),  # 1: all of it is done
]
"""Fields that a record needs for the kernels below; it may have more."""

RECORD: Final = np.dtype(SERVICE)


@step
def wall(work: int, speed: float) -> int:
    """Return the ps that `work` takes at `speed`."""
    if speed == 1.0:
        return work
    return np.int64(np.ceil(work / speed))  # type: ignore[return-value]


@step
def done(time: int, speed: float) -> int:
    """Return the work that `time` ps at `speed` do."""
    if speed == 1.0:
        return time
    return np.int64(np.floor(time * speed))  # type: ignore[return-value]


@step
def rest(left: int, time: int, speed: float) -> int:
    """Return what is left of work after `time` ps at `speed`, fewer than all of it takes.

    The shortest of turns does something: else one could begin again and again.
    """
    return max(0, left - max(min(1, time), done(time, speed)))


@step
def begin(records: Records, i: int, work: int, spins: bool, setup: int, finish: int, extra: int) -> None:
    """Make record i that of a request of which nothing is done; `extra` is CPU work it begins with."""
    r = records[i]
    r.phase = SETUP if spins else REST
    r.left = (setup if spins else work) + extra
    r.spin = work
    r.deadline = 0
    r.finish = finish
    r.finished = 0


@step
def plan(records: Records, i: int, start: int, limit: int, speed: float) -> int:
    """Return when a turn of request i ends that runs from `start`: at `limit`, or before, when it departs."""
    r = records[i]
    t = start
    if r.phase == SETUP:
        t += wall(r.left, speed) + r.spin
    elif r.phase == SPIN:
        t = max(t, r.deadline)
    t += wall(r.left if r.phase == REST else r.finish, speed)
    return min(limit, t)


@step
def progress(records: Records, i: int, start: int, now: int, speed: float) -> None:
    """Account for request i having run from `start` to `now`; nothing if it is yet to start.

    Work that took all the time planned for it is done, however its parts were rounded.
    """
    r = records[i]
    t = start
    if now < t:
        return
    if r.phase == SETUP:
        need = wall(r.left, speed)
        if now - t < need:
            r.left = rest(r.left, now - t, speed)
            return
        t += need
        r.phase = SPIN
        r.deadline = t + r.spin
    if r.phase == SPIN:
        if now < r.deadline:
            return
        t = max(t, r.deadline)
        r.phase = REST
        r.left = r.finish
    need = wall(r.left, speed)
    if now - t < need:
        r.left = rest(r.left, now - t, speed)
        return
    r.left = 0
    r.finished = 1


@step
def smoothed(average: int, value: int, first: bool) -> int:
    """Return the average after one more value: an eighth of the way to it; the first is taken whole."""
    return value if first else average + ((value - average) >> 3)


# --- coins of clients; those of policies are `lbsim.balancer.policies.coin` ---------------------------------

WORKER, GOES_ON, BACKOFF = 1, 2, 8
"""Which coin of a request says what; attempt a adds a to BACKOFF."""


@step
def attempt_index(index: int, attempt: int) -> int:
    """Return the index of the coins of an attempt (1, 2, ...) of a request."""
    return index + (attempt - 1) * 2**32


@step
def worker_of(seed: int, index: int, attempt: int, workers: int) -> int:
    """Return which of its server's workers accepts an attempt."""
    return rng.coin(seed, attempt_index(index, attempt), WORKER) % workers


@step
def is_urgent(seed: int, index: int, attempt: int, share: float) -> bool:
    """Return whether an attempt goes before the others, as a `share` of all do."""
    return rng.coin(seed, attempt_index(index, attempt), WORKER) * 2.0**-63 < share


@step
def goes_on(seed: int, index: int, session: float) -> bool:
    """Return whether a connection of `session` requests on average goes on after request `index`."""
    return rng.coin(seed, index, GOES_ON) * 2.0**-63 * session >= 1.0


@step
def backoff_of(
    seed: int, index: int, attempt: int, backoff: int, factor: float, most: int, jitter: float
) -> int:
    """Return the ps from the failure of an attempt (1, 2, ...) to the next one."""
    length = float(backoff)
    for _ in range(attempt - 1):  # not a power: those are rounded differently from machine to machine
        if length >= most:
            break
        length *= factor
    spread = 1.0 + jitter * (rng.coin(seed, index, BACKOFF + attempt) * 2.0**-63)
    return np.int64(np.rint(min(float(most), length) * spread))  # type: ignore[return-value]
