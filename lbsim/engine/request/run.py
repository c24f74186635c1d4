"""Run a scenario of requests: set up clients, balancer, servers and control, let the clock run, collect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from lbsim.balancer import Policy
from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import slots_of
from lbsim.engine.named import policy_named, such_as
from lbsim.engine.plane import Clock
from lbsim.engine.policy import PolicyError
from lbsim.engine.request.control import Process, Reports, Row, Stops, adapt, sample, samples_of
from lbsim.engine.request.plane import CONTROL, Counters, Log, Plane, Servers, Source
from lbsim.engine.request.planner import plan
from lbsim.engine.request.source import servers_of, source_of
from lbsim.metrics.adequacy import too_short
from lbsim.metrics.requests import RequestCounters, RequestEvents, RequestLog, RequestResult
from lbsim.rng import coin, stream
from lbsim.scenario import FlowTable, Paced, RequestScenario, ScenarioError, Users
from lbsim.scenario.errors import refuse

Engine = Literal["auto", "compiled", "reference"]
Progress = Callable[[float, int], None]
"""Called now and then with the share of simulated time done (0..1) and the requests launched so far."""


def run_requests(
    scenario: RequestScenario, engine: Engine = "auto", progress: Progress | None = None
) -> RequestResult:
    """Simulate a scenario of requests and return its result.

    `engine="compiled"` runs Numba kernels, `"reference"` the same events on SimPy's clock; both give equal
    bits. `"auto"` takes the compiled one and falls back, with a notice, where a policy does not compile.
    Raises ScenarioError for what cannot be simulated, before the first request.
    """
    policy, source, servers = prepare(scenario), source_of(scenario), servers_of(scenario)
    if engine == "reference":
        return _run(scenario, policy, source, servers, False, progress)
    try:
        return _run(scenario, policy, source, servers, True, progress)
    except PolicyError as error:
        if engine == "compiled":
            problem = f'{policy.name!r} does not compile ({error}); use engine="auto"'
            raise ScenarioError([f"balancer.policy: {problem}"]) from None
        notice = f"policy {policy.name} runs in the reference engine, far slower: {error}"
        return _run(scenario, policy, source, servers, False, progress, (notice,))


def prepare(scenario: RequestScenario) -> Policy:
    """Return the policy of a scenario, having checked that it can do what is asked of it; nothing runs.

    Raises ScenarioError with every problem.
    """
    spec, number = scenario.balancer, scenario.servers.number
    policy = policy_named("balancer.policy", spec.policy)
    problems = []
    if spec.adapt is not None and (policy.by_hash or policy.table is None):
        some = such_as(lambda p: p.table is not None and not p.by_hash)
        problems.append(
            f"balancer.adapt: weights change, but {policy.name!r} has no weighted list; "
            f"write {some}, or leave it out"
        )
    if spec.slots is None and 0 < slots_of(policy, number) < number:
        problems.append(
            f"balancer.slots: {policy.name!r} has {slots_of(policy, number)} slots for {number} servers; "
            f"write slots = {4 * number} or so"
        )
    if spec.slots is not None and policy.table is None and policy.buckets is None:
        problems.append(f"balancer.slots: {policy.name!r} has no table; leave it out")
    refuse(*problems)
    return policy


def _run(
    s: RequestScenario,
    policy: Policy,
    source: Source,
    servers: Servers,
    compiled: bool,
    progress: Progress | None,
    notices: tuple[str, ...] = (),
) -> RequestResult:
    env, end, signal = Clock(), s.duration, s.balancer.signal
    balancer, live = _balancer(s, policy), signal.metric == "live"

    def report(now: int, units: int) -> None:
        if progress is not None:
            progress(min(1.0, max(0, now) / end), units)

    plane = plan(
        env, balancer, source, servers, compiled,
        live=live, log=s.measure.requests, disturbed=s.servers.pauses is not None, progress=report,
    )  # fmt: skip
    rows: list[Row] = []
    bounds: list[Counters] = []  # of the span
    control: dict[str, Callable[[], int]] = {}
    env.process(_read(env, plane, (s.warmup, end), bounds))
    if s.measure.interval:
        env.process(sample(env, plane, s.measure.interval, end, rows))
    if not live:
        rng = stream(s.seed, "reports", s.replication)
        reports = Reports(env, plane, signal, servers.number, servers.cores, end, rng)
        control |= {"reports": lambda: reports.came, "reports_lost": lambda: reports.lost}
    if s.balancer.adapt:
        env.process(adapt(env, plane, balancer, s.balancer.adapt.period, end))
    if s.servers.pauses:
        rng = stream(s.seed, "pauses", s.replication)
        stops = Stops(env, plane, s.servers.pauses, servers.number, end, rng)
        control["pauses"] = lambda: stops.begun
    env.run()
    tally = plane.finish()
    if tally.latency.count == 0:
        notices += ("no request was answered after the warm-up: the run is too short",)
    first, last = bounds
    result = RequestResult(
        scenario=s,
        engine=plane.name,
        span=end - s.warmup,
        whole=_counted(tally.counters),
        during=_counted(last, first),
        cohort=RequestEvents(*tally.cohort),
        latency=tally.latency,
        area=tally.area,
        sojourn=tally.sojourn,
        peak=tally.peak,
        end=tally.end,
        samples=samples_of(rows) if rows else None,
        log=None if tally.log is None else _log(s, tally.log),
        control={name: count() for name, count in control.items()},
        notices=notices,
    )
    broken = [law for law, holds in result.laws().items() if not holds]
    if broken:
        raise AssertionError(f"a conservation law is broken, please report this: {'; '.join(broken)}")
    return replace(result, notices=result.notices + too_short(result)) if tally.latency.count else result


def _read(env: Clock, plane: Plane, times: tuple[int, ...], found: list[Counters]) -> Process:
    """Append the counters at some times."""
    for time in times:
        yield env.wait(time - env.now, CONTROL)
        plane.sync(env.now)
        found.append(plane.counters(env.now))


def _balancer(s: RequestScenario, policy: Policy) -> Balancer:
    spec, number = s.balancer, s.servers.number
    try:
        return Balancer(
            policy,
            number,
            number,
            np.resize(np.array(s.servers.weights, np.float64), number),
            consistency=FlowTable(capacity=1),  # a request is picked once: nothing needs to be found again
            slots=spec.slots,
            choices=spec.choices,
            seed=int(coin(s.seed, s.replication, 0)),
            adapt=spec.adapt,
        )
    except ValueError as error:
        raise ScenarioError([f"balancer: {error}"]) from error


def _counted(until: Counters, since: Counters | None = None) -> RequestCounters:
    """Return what was counted up to an instant, from another one on if it is given."""
    counted = {name: getattr(until, name) for name in RequestCounters._fields}
    if since is not None:
        counted |= {name: counted[name] - getattr(since, name) for name in RequestCounters._fields[:-1]}
    return RequestCounters(**counted)


def _log(s: RequestScenario, log: Log) -> RequestLog:
    """Return the rows of the cohort, with the process of each."""
    match s.clients:
        case Paced(connections=connections):
            process = log.user // connections
        case Users():
            process = log.user
        case _:
            process = np.full(len(log.user), -1, np.int64)
    time = log.done if s.measure.cohort == "done" else log.due
    counts = (time >= s.warmup) & (time < s.duration)
    rows = {**log._asdict(), "process": process}
    return RequestLog(**{name: rows[name][counts] for name in RequestLog._fields})
