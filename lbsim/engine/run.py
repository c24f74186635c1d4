"""Run a scenario: set up traffic, NIC, cores and control, let the clock run, collect the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np

from lbsim.balancer import Policy
from lbsim.engine.connection.run import run_connections
from lbsim.engine.control import controller, sample, stalls
from lbsim.engine.named import policy_named
from lbsim.engine.plane import Clock
from lbsim.engine.planner import plan
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
    source = open_source(scenario)
    policy = _policy(scenario)
    if engine == "reference":
        return _run(source, policy, compiled=False, progress=progress)
    try:
        return _run(source, policy, compiled=True, progress=progress)
    except PolicyError as error:
        if engine == "compiled":
            problem = f'{policy and policy.name!r} does not compile ({error}); use engine="auto"'
            raise ScenarioError([f"nic.dispatch.policy: {problem}"]) from None
        notice = f"policy {policy and policy.name} runs in the reference engine, about 300x slower: {error}"
        return _run(source, policy, compiled=False, progress=progress, notices=(notice,))


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
    plane = plan(env, source, policy, compiled, progress)
    chief = controller(env, plane, s, end)
    cores = s.server.cores + isinstance(s.nic.dispatch, Software)  # the dispatcher is a core of its own
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
    if tally.offered == 0:
        notices += ("no packet arrived after the warm-up: the run is too short",)
    result = Result(
        scenario=s,
        engine=plane.name,
        span=end - s.warmup,
        offered=tally.offered,
        offered_bytes=tally.offered_bytes,
        delivered=tally.offered - sum(tally.drops.values()),
        delivered_bytes=tally.offered_bytes - tally.dropped_bytes,
        drops=tally.drops,
        latency=tally.latency,
        latencies=tally.latencies if s.measure.latency else None,
        reordered=tally.reordered if s.measure.reordering else None,
        processed=tally.counters.processed,
        busy=tally.counters.busy,
        dropped=tally.counters.dropped,
        end=tally.end,
        samples=Samples(*map(np.array, zip(*rows, strict=True))) if rows else None,
        packets=tally.log,
        control={**(chief.counted if chief else {}), **tally.counted},
        notices=source.traffic.notices + notices,
    )
    broken = [law for law, holds in result.laws().items() if not holds]
    if broken:
        raise AssertionError(f"a conservation law is broken, please report this: {'; '.join(broken)}")
    return replace(result, notices=result.notices + too_short(result)) if tally.offered else result


def _policy(scenario: Scenario) -> Policy | None:
    dispatch = scenario.nic.dispatch
    if not isinstance(dispatch, PolicyDispatch):
        return None
    return policy_named("nic.dispatch.policy", dispatch.policy)
