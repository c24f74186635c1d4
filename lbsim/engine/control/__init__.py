"""The control plane: SimPy processes that read the data plane now and then, and act on it.

Written once and used by both engines. Each process stops by itself at the end of arrivals, so the run then
only drains. `controller` builds the one that a scenario asks for; `initial_table` is what it starts from.
"""

from __future__ import annotations

from typing import Protocol

from lbsim.engine.control.classes import ClassController
from lbsim.engine.control.clockwork import sample, stalls
from lbsim.engine.control.rsspp import RssppController
from lbsim.engine.control.schedule import Growth, Turning
from lbsim.engine.control.tables import initial_table
from lbsim.engine.plane import Clock, Plane
from lbsim.scenario import Grow, Rss, Rsspp, RssRoundRobin, Scenario, TrafficClasses

__all__ = [
    "ClassController",
    "Controller",
    "Growth",
    "RssppController",
    "Turning",
    "controller",
    "initial_table",
    "sample",
    "stalls",
]


class Controller(Protocol):
    """What has charge of the indirection table."""

    def used(self) -> int:
        """Return the number of cores in use."""

    @property
    def counted(self) -> dict[str, int]:
        """What it did in the whole run, by name: ticks, moves ..."""


def controller(env: Clock, plane: Plane, scenario: Scenario, end: int) -> Controller | None:
    """Start the controller of a scenario, or return None where the table stays as it is.

    `plane.table` is the one from `initial_table`; `end` is the end of arrivals in ps.
    """
    cores, dispatch = scenario.server.cores, scenario.nic.dispatch
    match dispatch:
        case Rsspp():
            return RssppController(env, plane, dispatch, scenario.server.ring, end)
        case TrafficClasses(controller=True):
            return ClassController(env, plane, dispatch, end)
        case RssRoundRobin(tick=tick):
            return Turning(env, plane, tick, cores, end)
        case Rss(grow=Grow() as grow):
            return Growth(env, plane, grow, cores, end)
        case _:
            return None
