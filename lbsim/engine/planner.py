"""The planner: the cheapest data plane that is exact for a scenario. It never approximates.

| what the scenario asks for | compiled | reference |
|---|---|---|
| clients that wait for answers | closed loop | closed loop |
| a software dispatcher | software dispatch | software dispatch |
| cores that share state, or reordering counted | stateful cores | stateful cores |
| one packet at a time, nothing per poll, no stalls | ring recursion | rings |
| anything else | polled rings, policy on live queues | rings |
"""

from __future__ import annotations

from typing import Any

from lbsim.balancer import Policy
from lbsim.balancer.policies import memory_of, table_over
from lbsim.engine.closed.plane import closed_plane
from lbsim.engine.compiled import Bank, CompiledPlane
from lbsim.engine.control import initial_table
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import Choice, Clock, Int64s, Plane
from lbsim.engine.policy import compile_policy
from lbsim.engine.reference import Bank as ReferenceBank
from lbsim.engine.reference import ReferencePlane, Rings
from lbsim.engine.rings import FifoRings, PolledRings
from lbsim.engine.software.bank import SoftwareBank
from lbsim.engine.software.reference import ReferenceSoftware
from lbsim.engine.software.spec import spec_of as software_of
from lbsim.engine.source import Source
from lbsim.engine.stateful.bank import StatefulBank
from lbsim.engine.stateful.reference import StatefulReference
from lbsim.engine.stateful.sharing import spec_of as sharing_of
from lbsim.rng import coin
from lbsim.scenario import Closed, PerBucket, Rss, Scenario, Shared, Software


def plan(
    env: Clock,
    source: Source,
    policy: Policy | None,
    compiled: bool,
    progress: Any,
) -> Plane:
    """Build the data plane of a scenario; `progress` gets the share of time done and the packets so far."""
    s, end = source.scenario, source.end
    machine = machine_of(s)
    table = initial_table(s, int(source.buckets.max(initial=-1)) + 1)
    choice = None
    if policy is not None:
        choice, table = _choice(s, source, policy, compiled)

    def report(now: int, packets: int) -> None:
        if progress is not None:
            progress(min(1.0, now / end), packets)

    intervals = -(-end // machine.interval) if machine.interval else 0
    if isinstance(s.arrivals, Closed):
        return closed_plane(
            env, source, machine, table, compiled=compiled, intervals=intervals, progress=report
        )
    options: Any = {"intervals": intervals, "log": s.measure.packets, "progress": report}
    if compiled:
        return CompiledPlane(source.packets(), machine, _bank(source, machine, table, choice), **options)
    reference = _reference(env, source, machine, table, choice)
    return ReferencePlane(env, source.packets(), machine, reference, **options)


def machine_of(scenario: Scenario) -> Machine:
    """Return the constants of the server under test."""
    server, measure = scenario.server, scenario.measure
    return Machine(
        ring=server.ring,
        burst=server.burst,
        per_batch=server.cost.per_batch.ps(server.clock),
        warmup=scenario.warmup,
        delay=measure.path_delay,
        interval=(measure.interval or 0) if measure.latency else 0,
    )


def shares(scenario: Scenario) -> bool:
    """Return whether cores must advance together: they share something, or reordering is counted.

    Buckets that never move never change hands, so plain RSS needs no protocol.
    """
    dispatch, state = scenario.nic.dispatch, scenario.server.state
    match state:
        case PerBucket(protocol=protocol):
            moving = protocol != "none" and not (isinstance(dispatch, Rss) and dispatch.grow is None)
        case Shared(contention=contention, lock=lock):
            moving = bool(contention.amount or lock.amount)
        case _:
            moving = False
    return moving or scenario.measure.reordering


def _bank(source: Source, machine: Machine, table: Int64s, choice: Choice | None) -> Bank:
    s, flows = source.scenario, len(source.traffic.flows)
    cores, reordering = s.server.cores, s.measure.reordering
    if isinstance(s.nic.dispatch, Software):
        return SoftwareBank(machine, cores, software_of(s), flows, reordering)
    if shares(s) and choice is None:
        return StatefulBank(machine, cores, table, sharing_of(s.server), flows, reordering)
    if choice is None and machine.burst == 1 and machine.per_batch == 0 and s.server.stalls is None:
        return FifoRings(machine, cores, table)
    return PolledRings(machine, cores, table, choice)


def _reference(
    env: Clock, source: Source, machine: Machine, table: Int64s, choice: Choice | None
) -> ReferenceBank:
    s, flows = source.scenario, len(source.traffic.flows)
    cores, reordering = s.server.cores, s.measure.reordering
    if isinstance(s.nic.dispatch, Software):
        return ReferenceSoftware(env, machine, cores, software_of(s), reordering)
    if shares(s) and choice is None:
        return StatefulReference(env, machine, cores, table, sharing_of(s.server), flows, reordering)
    return Rings(env, machine, cores, table, choice)


def _choice(s: Scenario, source: Source, policy: Policy, compiled: bool) -> tuple[Choice, Int64s]:
    """Return a policy ready to choose, and the table it looks at."""
    choose = compile_policy(policy.choose) if compiled else policy.choose
    seed = int(coin(s.seed, s.replication, 0))
    choice = Choice(choose, memory_of(policy, s.server.cores), seed, source.hashes)
    return choice, table_over(policy, s.server.cores, seed)
