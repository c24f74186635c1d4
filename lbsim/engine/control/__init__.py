"""The control plane: SimPy processes that read the data plane now and then, and act on it.

Written once and used by both engines. Each process stops by itself at the end of arrivals, so the run then
only drains. `controller` builds what a scenario asks for; `initial_table` is what it starts from. In a
cluster each server has a controller of its own, which sees its part of the data plane alone.
"""

from __future__ import annotations

from lbsim.engine.control.classes import ClassController
from lbsim.engine.control.clockwork import sample, stalls
from lbsim.engine.control.cluster import ClusterControl
from lbsim.engine.control.dispatcher import Controller, dispatcher
from lbsim.engine.control.metron import MetronController
from lbsim.engine.control.one_server import OneServer
from lbsim.engine.control.rsspp import RssppController
from lbsim.engine.control.schedule import Growth, Turning
from lbsim.engine.control.tables import initial_table
from lbsim.engine.front import Front
from lbsim.engine.front.cluster import ClusterFront
from lbsim.engine.plane import Clock, Plane
from lbsim.scenario import Scenario

__all__ = [
    "ClassController",
    "ClusterControl",
    "Controller",
    "Growth",
    "MetronController",
    "OneServer",
    "RssppController",
    "Turning",
    "controller",
    "dispatcher",
    "initial_table",
    "sample",
    "stalls",
]


def controller(
    env: Clock, plane: Plane, scenario: Scenario, end: int, front: Front | None = None
) -> Controller | None:
    """Start the controllers of a scenario, or return None where there is nothing to control.

    `plane.table` is the one from `initial_table`; `end` is the end of arrivals in ps; `front` is what stands
    before the cores.
    """
    if not isinstance(front, ClusterFront):
        return dispatcher(env, plane, scenario, end)
    cores, buckets = scenario.server.cores, front.memory.buckets
    servers = [
        dispatcher(env, OneServer(plane, server, cores, buckets), scenario, end, server)
        for server in range(front.pool.configured)
    ]
    return ClusterControl(env, plane, front, scenario, servers, end)
