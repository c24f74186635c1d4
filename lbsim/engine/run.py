"""Run a scenario: set up traffic, NIC, cores and control, let the clock run, collect the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np

from lbsim.balancer import Policy
from lbsim.engine.connection.run import run_connections
from lbsim.engine.control import controller, sample, stalls
from lbsim.engine.front.cluster import POLICY_FIELD
from lbsim.engine.front.cluster import prepare as policy_of_cluster
from lbsim.engine.named import policy_named
from lbsim.engine.plane import NIC_LIMIT, Clock
from lbsim.engine.planner import front_of, plan
from lbsim.engine.policy import PolicyError
from lbsim.engine.request.run import run_requests
from lbsim.engine.source import Source, open_source
from lbsim.metrics import AnyResult, ConnectionResult, RequestResult
from lbsim.metrics.adequacy import too_short
from lbsim.metrics.result import Result, Samples
from lbsim.rng import stream
from lbsim.scenario import (
    AnyScenario,
    ConnectionScenario,
    PolicyDispatch,
    RequestScenario,
    Scenario,
    ScenarioError,
    Software,
)

Engine = Literal["auto", "compiled", "reference"]
Progress = Callable[[float, int], None]
"""Called now and then with the share of simulated time done (0..1) and the units of work run so far."""


@overload
def run(scenario: Scenario, engine: Engine = "auto", progress: Progress | None = None) -> Result: ...
@overload
def run(
    scenario: ConnectionScenario, engine: Engine = "auto", progress: Progress | None = None
) -> ConnectionResult: ...
@overload
def run(
    scenario: RequestScenario, engine: Engine = "auto", progress: Progress | None = None
) -> RequestResult: ...
def run(scenario: AnyScenario, engine: Engine = "auto", progress: Progress | None = None) -> AnyResult:
    """Simulate a scenario and return its result.

    `engine="compiled"` runs Numba kernels, `"reference"` the same on SimPy's clock, one packet, connection or
    request at a time; both give equal bits. `"auto"` takes the compiled one and falls back, with a notice,
    where a policy does not compile. Raises ScenarioError for what cannot be simulated, before the first
    packet, connection or request.
    """
    if isinstance(scenario, ConnectionScenario):
        return run_connections(scenario, engine, progress)
    if isinstance(scenario, RequestScenario):
        return run_requests(scenario, engine, progress)
    return run_packets(scenario, engine, progress)


def run_packets(scenario: Scenario, engine: Engine, progress: Progress | None) -> Result:
    """Simulate a scenario of packets."""
    policy = prepare(scenario)
    source = open_source(scenario)
    if engine == "reference":
        return _run(source, policy, compiled=False, progress=progress)
    try:
        return _run(source, policy, compiled=True, progress=progress)
    except PolicyError as error:
        name = policy and policy.name
        if engine == "compiled":
            field = "nic.dispatch.policy" if scenario.cluster is None else POLICY_FIELD
            raise ScenarioError(
                [f'{field}: {name!r} does not compile ({error}); use engine="auto"']
            ) from None
        notice = f"policy {name} runs in the reference engine, about 300x slower: {error}"
        return _run(source, policy, compiled=False, progress=progress, notices=(notice,))


def prepare(scenario: Scenario) -> Policy | None:
    """Return the policy that a scenario of packets names, having checked what is asked of it; nothing runs.

    It picks a core at the NIC, or a server of a cluster; None where no policy picks. Raises ScenarioError
    with every problem.
    """
    if scenario.cluster is not None:
        return policy_of_cluster(scenario)
    dispatch = scenario.nic.dispatch
    if isinstance(dispatch, PolicyDispatch):
        return policy_named("nic.dispatch.policy", dispatch.policy)
    return None


def _run(
    source: Source,
    policy: Policy | None,
    *,
    compiled: bool,
    progress: Progress | None,
    notices: tuple[str, ...] = (),
) -> Result:
    s, end = source.scenario, source.end
    env = Clock()
    front = front_of(source)
    plane = plan(env, source, policy if s.cluster is None else None, compiled, progress, front)
    chief = controller(env, plane, s, end, front)
    cores = s.cores + isinstance(s.nic.dispatch, Software)  # the dispatcher is a core of its own
    if s.server.stalls is not None:
        rng = stream(s.seed, "stalls", s.replication)
        for core, own in enumerate(rng.spawn(cores)):
            env.process(stalls(env, plane, core, s.server.stalls, end, own))
    rows: list[tuple[Any, ...]] = []
    if s.measure.interval:
        used = chief.used if chief else lambda: cores
        env.process(sample(env, plane, s.measure.interval, end, used, rows))
    env.run()
    tally = plane.finish()
    lost = source.lost
    control = {**(chief.counted if chief else {}), **tally.counted}
    if source.deployment is not None:
        control |= {"offloaded": lost.offloaded, "filtered": lost.filtered}
        notices += source.deployment.notices
    drops = tally.drops if s.nic.limit is None else {NIC_LIMIT: lost.limited, **tally.drops}
    offered, offered_bytes = tally.offered + lost.limited, tally.offered_bytes + lost.limited_bytes
    dropped_bytes = tally.dropped_bytes + lost.limited_bytes
    if control.get("undone"):
        notices += (
            f"{control['undone']} changes of the cluster could not be: the last server stays, and only "
            "spares come",
        )
    if offered == 0 and not lost.offloaded:
        notices += ("no packet arrived after the warm-up: the run is too short",)
    result = Result(
        scenario=s,
        engine=plane.name,
        span=end - s.warmup,
        offered=offered,
        offered_bytes=offered_bytes,
        delivered=offered - sum(drops.values()),
        delivered_bytes=offered_bytes - dropped_bytes,
        drops=drops,
        latency=tally.latency,
        latencies=tally.latencies if s.measure.latency else None,
        reordered=tally.reordered if s.measure.reordering else None,
        processed=tally.counters.processed,
        busy=tally.counters.busy,
        dropped=tally.counters.dropped,
        end=tally.end,
        samples=Samples(*map(np.array, zip(*rows, strict=True))) if rows else None,
        packets=tally.log,
        control=control,
        notices=source.traffic.notices + notices,
    )
    broken = [law for law, holds in result.laws().items() if not holds]
    if broken:
        raise AssertionError(f"a conservation law is broken, please report this: {'; '.join(broken)}")
    return replace(result, notices=result.notices + too_short(result)) if offered else result
