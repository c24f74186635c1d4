"""Run a scenario of connections: set up clients, balancer and control, let the clock run, collect results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from lbsim.balancer import Policy
from lbsim.balancer.balancer import Balancer, memory_bytes
from lbsim.balancer.policies import slots_of
from lbsim.engine.connection.compiled import CompiledPlane
from lbsim.engine.connection.control import Churn, adapt, sample
from lbsim.engine.connection.plane import END, Clients, Plane
from lbsim.engine.connection.reference import ReferencePlane
from lbsim.engine.connection.source import attempts_of, clients_of
from lbsim.engine.named import policy_named, such_as
from lbsim.engine.plane import Clock
from lbsim.engine.policy import PolicyError
from lbsim.metrics.adequacy import too_short
from lbsim.metrics.connections import ConnectionResult, ConnectionSamples
from lbsim.rng import coin, stream
from lbsim.scenario import ConnectionScenario, Open, ScenarioError, Schedule, SilkRoad
from lbsim.scenario.errors import refuse

Engine = Literal["auto", "compiled", "reference"]
Progress = Callable[[float, int], None]
"""Called now and then with the share of simulated time done (0..1) and the events run so far."""

STOP: Final = END - 1
"""SimPy priority of the end: what is due at that instant does not happen any more."""


def run_connections(
    scenario: ConnectionScenario, engine: Engine = "auto", progress: Progress | None = None
) -> ConnectionResult:
    """Simulate a scenario of connections and return its result.

    `engine="compiled"` runs Numba kernels, `"reference"` a SimPy process per connection; both give equal
    bits. `"auto"` takes the compiled one and falls back, with a notice, where a policy does not compile.
    Raises ScenarioError for what cannot be simulated, before the first connection.
    """
    policy = prepare(scenario)
    clients = clients_of(scenario)
    if engine == "reference":
        return _run(scenario, policy, clients, False, progress)
    try:
        return _run(scenario, policy, clients, True, progress)
    except PolicyError as error:
        if engine == "compiled":
            problem = f'{policy.name!r} does not compile ({error}); use engine="auto"'
            raise ScenarioError([f"balancer.policy: {problem}"]) from None
        notice = f"policy {policy.name} runs in the reference engine, about 200x slower: {error}"
        return _run(scenario, policy, clients, False, progress, (notice,))


def _run(
    s: ConnectionScenario,
    policy: Policy,
    clients: Clients,
    compiled: bool,
    progress: Progress | None,
    notices: tuple[str, ...] = (),
) -> ConnectionResult:
    env, end = Clock(), s.duration
    balancer = _balancer(s, policy)

    def report(now: int, units: int) -> None:
        if progress is not None:
            progress(min(1.0, now / end), units)

    plane: Plane
    if compiled:
        events, live = 2 * s.rate(), int(s.expected_live())
        plane = CompiledPlane(balancer, attempts_of(s), clients, events, live, report)
    else:
        plane = ReferencePlane(env, balancer, attempts_of(s), clients, report)
    rows: list[tuple[int, ...]] = []
    churn = None
    if s.measure.interval:
        env.process(sample(env, plane, s.measure.interval, end, rows))
    if s.balancer.adapt:
        env.process(adapt(env, plane, balancer, s.balancer.adapt.period, end))
    if s.churn:
        scheme = s.balancer.consistency
        delay = scheme.delay if isinstance(scheme, SilkRoad) else 0
        churn = Churn(env, plane, balancer, s.churn, delay, stream(s.seed, "churn", s.replication))
    env.run(until=env.wait(end, STOP))
    tally = plane.finish(end)
    if s.measure.interval and end % s.measure.interval == 0:
        rows.append((end, *tally.whole))
    if tally.cohort.begun == 0:
        notices += ("no connection began after the warm-up: the run is too short",)
    if churn and churn.undone:
        notices += (
            f"{churn.undone} changes of the pool could not be: the last server stays, and only spares come",
        )
    result = ConnectionResult(
        scenario=s,
        engine=plane.name,
        span=end - s.warmup,
        memory_bytes=sum(memory_bytes(balancer, tally.peak_protected).values()),
        samples=ConnectionSamples(*np.array(rows, np.int64).T) if rows else None,
        notices=notices,
        **tally._asdict(),
    )
    broken = [law for law, holds in result.laws().items() if not holds]
    if broken:
        raise AssertionError(f"a conservation law is broken, please report this: {'; '.join(broken)}")
    return replace(result, notices=result.notices + too_short(result)) if tally.cohort.begun else result


def _balancer(s: ConnectionScenario, policy: Policy) -> Balancer:
    spec, servers = s.balancer, s.servers
    try:
        return Balancer(
            policy,
            servers.configured,
            servers.initial,
            np.resize(np.array(servers.weights, np.float64), servers.configured),
            consistency=spec.consistency,
            slots=spec.slots,
            choices=spec.choices,
            seed=int(coin(s.seed, s.replication, 0)),
            adapt=spec.adapt,
        )
    except ValueError as error:
        raise ScenarioError([f"balancer: {error}"]) from error


def prepare(scenario: ConnectionScenario) -> Policy:
    """Return the policy of a scenario, having checked that scheme and servers go with it; nothing runs.

    Raises ScenarioError with every problem.
    """
    spec, servers = scenario.balancer, scenario.servers
    policy, kind = policy_named("balancer.policy", spec.policy), spec.consistency.kind
    problems = []
    if kind in ("rehash", "silkroad", "jet") and not policy.by_hash:
        some = such_as(lambda p: p.by_hash and (kind != "jet" or p.table is not None))
        problems.append(
            f"balancer.policy: {policy.name!r} looks at more than the connection's hash, so {kind} cannot "
            f'ask it again; write {some}, or another balancer.consistency, e.g. kind = "cookie"'
        )
    elif kind == "jet" and policy.table is None:
        some = such_as(lambda p: p.by_hash and p.table is not None)
        problems.append(
            f"balancer.policy: {policy.name!r} has no table, and jet compares tables; write {some}"
        )
    if kind == "daisy_chain" and policy.buckets is None:
        some = such_as(lambda p: p.buckets is not None)
        problems.append(
            f"balancer.policy: {policy.name!r} has no buckets, and daisy_chain needs them; write {some}"
        )
    if spec.adapt is not None and (policy.by_hash or policy.table is None):
        some = such_as(lambda p: p.table is not None and not p.by_hash)
        problems.append(
            f"balancer.adapt: weights change, but {policy.name!r} has no weighted list; "
            f"write {some}, or leave it out"
        )
    own = slots_of(policy, servers.configured)
    if spec.slots is None and 0 < own < servers.configured:
        problems.append(
            f"balancer.slots: {policy.name!r} has {own} slots for {servers.configured} configured servers; "
            f"write slots = {4 * servers.configured} or so"
        )
    if spec.slots is not None and policy.table is None and policy.buckets is None:
        problems.append(f"balancer.slots: {policy.name!r} has no table; leave it out")
    if isinstance(scenario.clients, Open) and scenario.clients.retry == 0 and _hidden_crashes(scenario):
        problems.append(
            'clients.retry: "0ps", while a server that crashed may still be in the list: who is sent '
            'to it would connect again for ever at one instant; write retry = "1ms" or so'
        )
    refuse(*problems)
    return policy


def _hidden_crashes(s: ConnectionScenario) -> bool:
    """Return whether a server that crashed stays in the balancer's list for a while."""
    if s.churn is None:
        return False
    slow = isinstance(s.balancer.consistency, SilkRoad) and s.balancer.consistency.delay > 0
    parts = s.churn.changes if isinstance(s.churn, Schedule) else (s.churn,)
    return any(part.do == "crash" and (slow or part.detect > 0) for part in parts)
