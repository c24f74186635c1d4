"""The planner: the cheapest data plane of requests that is exact for a scenario. It never approximates.

| what the scenario asks for | compiled | reference |
|---|---|---|
| one core a server, first come, first served, nothing that disturbs it | departures at admission | events |
| anything else | heap of events | events |

What disturbs is listed by `lbsim.engine.request.fast.suits`, and pauses. The plane's name says which it is.
"""

from __future__ import annotations

from lbsim.balancer.balancer import Balancer
from lbsim.engine.plane import Clock, Progress
from lbsim.engine.request.compiled import CompiledPlane
from lbsim.engine.request.fast import FastPlane, suits
from lbsim.engine.request.plane import Plane, Servers, Source
from lbsim.engine.request.reference import ReferencePlane


def plan(
    env: Clock,
    balancer: Balancer,
    source: Source,
    servers: Servers,
    compiled: bool,
    *,
    live: bool = True,
    log: bool = False,
    disturbed: bool = False,
    progress: Progress | None = None,
) -> Plane:
    """Build the data plane of a run; `disturbed` says that control may pause or slow servers.

    `live`, `log` and `progress` are those of the planes. Raises PolicyError where `compiled` is asked for and
    the policy does not compile.
    """
    if not compiled:
        return ReferencePlane(env, balancer, source, servers, live=live, log=log, progress=progress)
    if suits(balancer, source, servers, live) and not disturbed:
        return FastPlane(balancer, source, servers, live=live, log=log, progress=progress)
    return CompiledPlane(balancer, source, servers, live=live, log=log, progress=progress)
