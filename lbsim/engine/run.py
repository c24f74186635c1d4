"""Run a scenario: set up traffic, NIC, cores and control, let the clock run, collect the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Literal, overload

import numpy as np

from lbsim.balancer import Policy, policies
from lbsim.balancer.policies import table_over
from lbsim.engine.compiled import Bank, CompiledPlane
from lbsim.engine.connection.run import run_connections
from lbsim.engine.control import RssppController, sample, stalls
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import Choice, Clock, Int64s, Plane
from lbsim.engine.policy import PolicyError, compile_policy
from lbsim.engine.reference import ReferencePlane, Rings
from lbsim.engine.rings import FifoRings, PolledRings
from lbsim.engine.source import SPRAYER_BUCKETS, Source, open_source
from lbsim.metrics import AnyResult, ConnectionResult
from lbsim.metrics.adequacy import too_short
from lbsim.metrics.result import Result, Samples
from lbsim.nic import round_robin_table
from lbsim.rng import coin, stream
from lbsim.scenario import (
    AnyScenario,
    ConnectionScenario,
    PolicyDispatch,
    Rsspp,
    Scenario,
    ScenarioError,
    Sprayer,
)

Engine = Literal["auto", "compiled", "reference"]
Progress = Callable[[float, int], None]
"""Called now and then with the share of simulated time done (0..1) and the packets run so far."""


@overload
def run(scenario: Scenario, engine: Engine = "auto", progress: Progress | None = None) -> Result: ...
@overload
def run(
    scenario: ConnectionScenario, engine: Engine = "auto", progress: Progress | None = None
) -> ConnectionResult: ...
def run(scenario: AnyScenario, engine: Engine = "auto", progress: Progress | None = None) -> AnyResult:
    """Simulate a scenario and return its result.

    `engine="compiled"` runs Numba kernels, `"reference"` a SimPy process per packet or connection; both
    give equal bits. `"auto"` takes the compiled one and falls back, with a notice, where a policy does not
    compile. Raises ScenarioError for what cannot be simulated, before the first packet.
    """
    if isinstance(scenario, ConnectionScenario):
        return run_connections(scenario, engine, progress)
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
    plane = _plane(env, source, policy, compiled, progress)
    controller = None
    if isinstance(s.nic.dispatch, Rsspp):
        controller = RssppController(env, plane, s.nic.dispatch, s.server.ring, end)
    if s.server.stalls is not None:
        rng = stream(s.seed, "stalls", s.replication)
        for core, own in enumerate(rng.spawn(s.server.cores)):
            env.process(stalls(env, plane, core, s.server.stalls, end, own))
    rows: list[tuple[Any, ...]] = []
    if s.measure.interval:
        env.process(sample(env, plane, s.measure.interval, end, lambda: s.server.cores, rows))
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
        control={"ticks": controller.ticks, "moves": controller.moves} if controller else {},
        notices=source.traffic.notices + notices,
    )
    broken = [law for law, holds in result.laws().items() if not holds]
    if broken:
        raise AssertionError(f"a conservation law is broken, please report this: {'; '.join(broken)}")
    return replace(result, notices=result.notices + too_short(result)) if tally.offered else result


def _plane(
    env: Clock, source: Source, policy: Policy | None, compiled: bool, progress: Progress | None
) -> Plane:
    """Build the data plane: the cheapest kernel that is exact for the scenario, or the reference."""
    s, end = source.scenario, source.end
    server = s.server
    machine = Machine(
        ring=server.ring,
        burst=server.burst,
        per_batch=server.cost.per_batch.ps(server.clock),
        warmup=s.warmup,
        delay=s.measure.path_delay,
        interval=(s.measure.interval or 0) if s.measure.latency else 0,
    )
    intervals = -(-end // machine.interval) if machine.interval else 0
    choice, table = None, _table(s)
    if policy is not None:
        choose = compile_policy(policy.choose) if compiled else policy.choose
        seed = int(coin(s.seed, s.replication, 0))
        choice = Choice(choose, np.zeros(policy.state, np.int64), seed, source.hashes)
        table = table_over(policy, server.cores, seed)

    def report(now: int, packets: int) -> None:
        if progress is not None:
            progress(min(1.0, now / end), packets)

    options: Any = {"intervals": intervals, "log": s.measure.packets, "progress": report}
    cores = server.cores
    if not compiled:
        rings = Rings(env, machine, cores, table, choice)
        return ReferencePlane(env, source.packets(), machine, rings, **options)
    fifo = choice is None and server.burst == 1 and machine.per_batch == 0 and server.stalls is None
    bank: Bank = FifoRings(machine, cores, table) if fifo else PolledRings(machine, cores, table, choice)
    return CompiledPlane(source.packets(), machine, bank, **options)


def _table(scenario: Scenario) -> Int64s:
    """Return the indirection table at the start; nothing where a policy chooses."""
    dispatch, cores = scenario.nic.dispatch, scenario.server.cores
    if isinstance(dispatch, Sprayer):
        return round_robin_table(SPRAYER_BUCKETS, cores)
    if isinstance(dispatch, PolicyDispatch):
        return np.empty(0, np.int64)
    return round_robin_table(dispatch.table, cores)


def _policy(scenario: Scenario) -> Policy | None:
    dispatch = scenario.nic.dispatch
    if not isinstance(dispatch, PolicyDispatch):
        return None
    known = policies()
    if dispatch.policy not in known:
        near = get_close_matches(dispatch.policy, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        names = ", ".join(sorted(known))
        raise ScenarioError([f"nic.dispatch.policy: {dispatch.policy!r} is none of {names}{hint}"])
    return known[dispatch.policy]
