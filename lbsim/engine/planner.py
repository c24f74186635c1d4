"""The planner: the cheapest data plane that is exact for a scenario. It never approximates.

| what the scenario asks for | compiled | reference |
|---|---|---|
| clients that wait for answers | closed loop | closed loop |
| a software dispatcher | software dispatch | software dispatch |
| a chain whose functions have cores of their own | pipeline of cores | pipeline of cores |
| cores that share state, or reordering counted | stateful cores | stateful cores |
| one packet at a time, nothing per poll, no stalls | ring recursion | rings |
| anything else | polled rings, policy on live queues | rings |

A cluster changes none of that: its servers are one bank, behind a front that picks the server.
"""

from __future__ import annotations

from typing import Any

from lbsim.balancer import Policy
from lbsim.balancer.policies import memory_of, table_over
from lbsim.engine.closed.plane import closed_plane
from lbsim.engine.compiled import Bank, CompiledPlane
from lbsim.engine.control import initial_table
from lbsim.engine.front import Front
from lbsim.engine.front.bank import FrontedBank, FrontedReference
from lbsim.engine.front.cluster import cluster_front
from lbsim.engine.front.director import FlowDirector as Director
from lbsim.engine.kernels import Machine
from lbsim.engine.pipeline import PipelineBank, ReferencePipeline, Spec, spec_of
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
from lbsim.scenario import Closed, FlowDirector, Metron, PerBucket, Rss, Scenario, Shared, Software


def plan(
    env: Clock,
    source: Source,
    policy: Policy | None,
    compiled: bool,
    progress: Any,
    front: Front | None = None,
) -> Plane:
    """Build the data plane of a scenario; `progress` gets the share of time done and the packets so far.

    `policy` is that of the NIC, `front` what stands before the cores; see `front_of`.
    """
    s, end = source.scenario, source.end
    machine = machine_of(s)
    table = _table(source)
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
        bank = _bank(source, machine, table, choice)
        fronted = bank if front is None else FrontedBank(machine, bank, front)
        return CompiledPlane(source.packets(), machine, fronted, **options)
    reference = _reference(env, source, machine, table, choice)
    whole = reference if front is None else FrontedReference(reference, front)
    return ReferencePlane(env, source.packets(), machine, whole, **options)


def front_of(source: Source) -> Front | None:
    """Return what stands before the cores as it is at the start, None where packets come as they are."""
    if source.scenario.cluster is not None:
        return cluster_front(source, _table(source))
    match source.scenario.nic.dispatch:
        case FlowDirector(entries=entries, latency=latency, table=table):
            return Director(len(source.traffic.flows), entries, latency, table)
    return None


def _table(source: Source) -> Int64s:
    return initial_table(source.scenario, int(source.buckets.max(initial=-1)) + 1)


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


def stalls(scenario: Scenario) -> bool:
    """Return whether cores may be held up."""
    dispatch = scenario.nic.dispatch
    return scenario.server.stalls is not None or (isinstance(dispatch, Metron) and dispatch.migration > 0)


def stages_of(source: Source) -> Spec | None:
    """Return the stages of a pipeline of cores, None where each packet stays on one core."""
    deployment = source.deployment
    if deployment is None or deployment.stages is None:
        return None
    return spec_of(**deployment.stages._asdict(), class_of=deployment.class_of)


def _bank(source: Source, machine: Machine, table: Int64s, choice: Choice | None) -> Bank:
    s, flows, stages = source.scenario, len(source.traffic.flows), stages_of(source)
    cores, reordering = s.cores, s.measure.reordering
    if isinstance(s.nic.dispatch, Software):
        return SoftwareBank(machine, cores, software_of(s), flows, reordering)
    if stages is not None:
        return PipelineBank(machine, cores, table, stages, reordering)
    if shares(s) and choice is None:
        return StatefulBank(machine, cores, table, sharing_of(s.server), flows, reordering)
    if choice is None and machine.burst == 1 and machine.per_batch == 0 and not stalls(s):
        return FifoRings(machine, cores, table)
    return PolledRings(machine, cores, table, choice)


def _reference(
    env: Clock, source: Source, machine: Machine, table: Int64s, choice: Choice | None
) -> ReferenceBank:
    s, flows, stages = source.scenario, len(source.traffic.flows), stages_of(source)
    cores, reordering = s.cores, s.measure.reordering
    if isinstance(s.nic.dispatch, Software):
        return ReferenceSoftware(env, machine, cores, software_of(s), reordering)
    if stages is not None:
        return ReferencePipeline(env, machine, cores, table, stages, reordering)
    if shares(s) and choice is None:
        return StatefulReference(env, machine, cores, table, sharing_of(s.server), flows, reordering)
    return Rings(env, machine, cores, table, choice)


def _choice(s: Scenario, source: Source, policy: Policy, compiled: bool) -> tuple[Choice, Int64s]:
    """Return a policy ready to choose, and the table it looks at."""
    choose = compile_policy(policy.choose) if compiled else policy.choose
    seed = int(coin(s.seed, s.replication, 0))
    choice = Choice(choose, memory_of(policy, s.server.cores), seed, source.hashes)
    return choice, table_over(policy, s.server.cores, seed)
