"""What a worker does: compute one point and hand back its file as bytes; the sweep alone writes.

Nothing a point does may harm the sweep: an error comes back as a value, a point over its time ends itself.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

import cloudpickle
from numba import cloudpickle as numba_cloudpickle

from lbsim.balancer.meaning import from_lbsim
from lbsim.balancer.policies import Policy, carried
from lbsim.metrics import AnyResult
from lbsim.scenario import AnyScenario
from lbsim.study.points.cell import Cell, Numbers
from lbsim.study.points.keys import fingerprint, point_key
from lbsim.study.points.pointfile import encode

Run = Callable[..., AnyResult | Numbers]
"""Simulates: `run(scenario, progress=...)`, as `lbsim.engine.run.run`; or `compute_cell`."""


@dataclass(frozen=True)
class Task:
    """One point to compute."""

    run: Run
    scenario: AnyScenario | Cell
    key: str
    fingerprint: str  # of the sources that the sweep runs
    policy: bytes | None  # what `pack` made of the policy it names
    source: str | None  # the text of that policy, for provenance
    timeout: float | None  # s
    apart: bool  # in a process of its own, which may end when the point hangs


class Problem(NamedTuple):
    """Why a point has no result."""

    reason: str  # one line
    trace: str = ""


class OverTimeError(Exception):
    """A point took longer than it may."""


def compute(task: Task) -> bytes | Problem:
    """Compute a point and return its file, or the problem it met."""
    try:
        with _watchdog(task), carried(None if task.policy is None else _unpacked(task.policy)):
            _same_here(task)
            result = task.run(task.scenario, progress=_deadline(task.timeout))
            return encode(result, task.key, task.source)
    except (Exception, SystemExit) as error:  # whatever a point does is that point's problem
        return Problem(reason_of(error), "".join(traceback.format_exception(error)))


def reason_of(error: BaseException) -> str:
    """Return an error in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # an error may even fail to say what it is
        text = ""
    if isinstance(error, OverTimeError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def over_time(timeout: float) -> str:
    """Return what is said of a point over its time."""
    return f"took longer than {timeout:g} s; raise the timeout or shorten the scenario"


def grace(timeout: float) -> float:
    """Return the seconds after the timeout at which a point that did not notice it is ended."""
    return min(30.0, max(1.0, timeout / 10))


def _deadline(timeout: float | None) -> Callable[[float, int], None] | None:
    """Return a progress callback that raises when the time is up."""
    if timeout is None:
        return None
    end = time.monotonic() + timeout

    def check(share: float, packets: int) -> None:
        if time.monotonic() > end:
            raise OverTimeError(over_time(timeout))

    return check


@contextmanager
def _watchdog(task: Task) -> Iterator[None]:
    """End this process when the point hangs where no callback is called."""
    if task.timeout is None or not task.apart:
        yield
        return
    timer = threading.Timer(task.timeout + grace(task.timeout), os._exit, (1,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _same_here(task: Task) -> None:
    """Raise ValueError where this worker would compute something else than the sweep asked for."""
    if fingerprint() != task.fingerprint:
        raise ValueError("the worker runs other sources of lbsim than the sweep; install the same on both")
    if point_key(task.scenario) != task.key:
        raise ValueError("its policy, or a file it names, is not the same on the worker as for the sweep")


# --- policies travel by value ---


def pack(policy: Policy) -> bytes | None:
    """Return a user's policy with all it needs, for a process that has none of it; None for lbsim's own.

    Raises ValueError when something it refers to cannot travel.
    """
    if from_lbsim(policy.choose):
        return None
    try:
        with _by_value():
            return cast(bytes, cloudpickle.dumps(policy))
    except Exception as error:  # whatever an object's own pickling may raise
        raise ValueError(
            f"policy {policy.name!r} cannot travel to a worker ({reason_of(error)}); import the functions it "
            "uses by name instead of their whole module, or use the executor inline"
        ) from error


@lru_cache(maxsize=64)
def _unpacked(policy: bytes) -> Policy:
    """Return a policy that travelled: one object for all points, so that it compiles once a process."""
    return cast(Policy, cloudpickle.loads(policy))


@contextmanager
def _by_value() -> Iterator[None]:
    """Pickle what modules of the user define by value: a worker may lack them, or have older ones."""
    picklers: tuple[Any, ...] = (cloudpickle, numba_cloudpickle)  # Numba has its own for what it compiled
    added = [
        (pickler, module)
        for pickler in picklers
        for module in _user_modules()
        if module.__name__ not in pickler.list_registry_pickle_by_value()
    ]
    for pickler, module in added:
        pickler.register_pickle_by_value(module)
    try:
        yield
    finally:
        for pickler, module in added:
            pickler.unregister_pickle_by_value(module)


def _user_modules() -> list[ModuleType]:
    """Return the imported modules that are neither installed, nor Python's, nor lbsim's."""
    standard = Path(sysconfig.get_path("stdlib"))
    return [
        module
        for name, module in list(sys.modules.items())
        if name != "__main__"
        and name.partition(".")[0] != "lbsim"
        and getattr(module, "__name__", "") == name
        for path in [Path(getattr(module, "__file__", None) or standard)]
        if not path.is_relative_to(standard) and not {"site-packages", "dist-packages"} & set(path.parts)
    ]
