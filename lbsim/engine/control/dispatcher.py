"""The controller of one server's indirection table, as its dispatch asks for."""

from __future__ import annotations

from typing import Protocol

from lbsim.engine.control.classes import ClassController
from lbsim.engine.control.metron import MetronController
from lbsim.engine.control.rsspp import RssppController
from lbsim.engine.control.schedule import Growth, Turning
from lbsim.engine.plane import Clock, Plane
from lbsim.scenario import Grow, Metron, Rss, Rsspp, RssRoundRobin, Scenario, TrafficClasses


class Controller(Protocol):
    """What has charge of the indirection table."""

    def used(self) -> int:
        """Return the number of cores in use."""

    @property
    def counted(self) -> dict[str, int]:
        """What it did in the whole run, by name: ticks, moves ..."""


def dispatcher(env: Clock, plane: Plane, scenario: Scenario, end: int, server: int = 0) -> Controller | None:
    """Start the controller of a server, or return None where its table stays as it is.

    `plane` is that of the one server, whose number in a cluster is `server`.
    """
    cores, dispatch = scenario.server.cores, scenario.nic.dispatch
    match dispatch:
        case Rsspp():
            return RssppController(env, plane, dispatch, scenario.server.ring, end)
        case TrafficClasses(controller=True):
            return ClassController(env, plane, dispatch, end)
        case Metron(controller="global" | "agent"):
            return MetronController(env, plane, dispatch, end, server)
        case RssRoundRobin(tick=tick):
            return Turning(env, plane, tick, cores, end)
        case Rss(grow=Grow() as grow):
            return Growth(env, plane, grow, cores, end)
        case _:
            return None
