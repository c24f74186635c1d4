"""Processes that only look, or only disturb: the sampler of series, and the stalls of cores."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import simpy

from lbsim.engine.plane import CONTROL, Clock, Plane
from lbsim.scenario import Stalls
from lbsim.units import SECOND

Process = Generator[simpy.Event, Any, None]


def sample(
    env: Clock, plane: Plane, interval: int, until: int, used: Callable[[], int], rows: list[tuple[Any, ...]]
) -> Process:
    """Append counters and cores in use at 0, interval, 2 x interval ... up to and including `until`."""
    while True:
        plane.sync(env.now)
        c = plane.counters(env.now)
        rows.append((env.now, c.processed, c.busy, c.dropped, c.occupancy, used()))
        if env.now + interval > until:
            return
        yield env.wait(interval, CONTROL)


def stalls(env: Clock, plane: Plane, core: int, law: Stalls, until: int, rng: np.random.Generator) -> Process:
    """Stop one core for `law.length` at Poisson times: the interruptions a real core suffers."""
    while True:
        gap = round(rng.standard_exponential() * SECOND / law.rate)
        if env.now + gap >= until:
            return
        yield env.wait(gap, CONTROL)
        plane.sync(env.now)
        plane.stall(core, env.now, law.length)
