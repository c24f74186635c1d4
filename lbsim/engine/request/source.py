"""The clients and servers of a scenario of requests, ready for a data plane.

Times, hashes, work and what users think come from named streams of their own, so two scenarios that differ
only in the balancer see the same requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lbsim.balancer.cost import request_cost
from lbsim.engine.request.plane import (
    FCFS,
    INDEPENDENT,
    JBSQ,
    NEVER,
    PACED,
    PRIORITY,
    SHARING,
    STEALING,
    USERS,
    Columns,
    Int64s,
    Retry,
    Servers,
    Source,
)
from lbsim.engine.source import service_law
from lbsim.rng import coin, stream
from lbsim.scenario import (
    BalancerCost,
    Fcfs,
    Independent,
    Jbsq,
    Law,
    Paced,
    Priority,
    RequestScenario,
    ScenarioError,
    Sharing,
    Spin,
    Stealing,
    Traced,
    Users,
)
from lbsim.scenario import Retry as Patience
from lbsim.units import SECOND
from lbsim.workload import laws
from lbsim.workload.connections import CHUNK, hasher, poisson
from lbsim.workload.laws import ServiceLaw
from lbsim.workload.requests import equal_gaps, in_chunks, read_times, starts

NONE = np.empty(0, np.int64)


def source_of(scenario: RequestScenario) -> Source:
    """Return the clients of a scenario; raises ScenarioError where a file or table cannot be read.

    What the balancer costs is taken at the rate of requests that `rate_of` says.
    """
    spec, cost = scenario.clients, scenario.balancer.cost
    draw = _draws(scenario)
    plain = Source(
        kind=INDEPENDENT,
        users=0,
        first=NONE,
        period=0,
        catch=0,
        session=1.0,
        overhead=spec.overhead,
        delay=cost.delay if cost else 0,
        lanes=cost.cores if cost else 0,
        cost=_cost_ps(cost, rate_of(scenario)) if cost else 0,
        retry=_retry(spec.retry),
        seed=int(coin(scenario.seed, scenario.replication, 1)),  # the policy's coins are of another
        end=scenario.duration,
        warmup=scenario.warmup,
        cohort_done=scenario.measure.cohort == "done",
        columns=lambda: _endless(draw()),
    )
    match spec:
        case Independent() | Traced():
            times = _times(scenario, spec)
            return plain._replace(columns=lambda: _timed(times(), draw()))
        case Users(users=users, session=session):
            law = _law(spec.think, "clients.think")
            first, _ = _thoughts(scenario, law)
            return plain._replace(
                kind=USERS,
                users=users,
                first=first,
                session=session,
                columns=lambda: _thinking(law, _thoughts(scenario, law)[1], draw()),
            )
        case Paced(processes=processes, connections=connections, stagger=stagger, jitter=jitter):
            rng = _stream(scenario, "gaps")
            period = round(spec.period_seconds * SECOND)
            return plain._replace(
                kind=PACED,
                users=spec.users,
                first=starts(processes, connections, stagger, jitter, spec.spread, rng),
                period=period,
                catch=max(1, round(period / spec.catch_up)),
            )
    raise AssertionError(spec)


def servers_of(scenario: RequestScenario) -> Servers:
    """Return the servers of a scenario; raises ScenarioError where a table of service cannot be read."""
    spec, service = scenario.servers, scenario.servers.service
    plain = Servers(
        number=spec.number,
        cores=spec.cores,
        speeds=np.resize(np.array(spec.speeds, np.float64), spec.number),
        response=spec.response,
        backlog=NEVER if spec.backlog is None else spec.backlog,
    )
    if service.by_second:
        plain = plain._replace(by_second=_by_second(scenario))
    if isinstance(service, Spin):
        plain = plain._replace(spins=True, setup=service.setup, finish=service.finish)
    match spec.discipline:
        case Fcfs():
            return plain._replace(discipline=FCFS)
        case Sharing(slice=slice_, workers=workers, turn=turn, switch=switch):
            return plain._replace(
                discipline=SHARING, slice=slice_, turn=turn or slice_, switch=switch, workers=workers
            )
        case Stealing(steal=steal):
            return plain._replace(discipline=STEALING, steal=steal)
        case Jbsq(depth=depth):
            return plain._replace(discipline=JBSQ, depth=depth)
        case Priority(urgent=urgent):
            return plain._replace(discipline=PRIORITY, urgent=urgent)
    raise AssertionError(spec.discipline)


def rate_of(scenario: RequestScenario) -> float:
    """Return the requests per second that a scenario expects, those of a recording counted.

    Raises ScenarioError where it cannot be read.
    """
    rate = scenario.rate()
    if rate is not None:
        return rate
    assert isinstance(scenario.clients, Traced)
    return len(_recorded(scenario, scenario.clients)) * SECOND / scenario.duration


# --- columns ------------------------------------------------------------------------------------------------


Draw = Callable[[], tuple[Int64s, Int64s]]
"""Returns hash and work of the next `CHUNK` requests."""


def _draws(scenario: RequestScenario) -> Callable[[], Draw]:
    """Return what starts the same draws of hash and work anew; where servers have the work it is 1."""
    spec, service = scenario.clients, scenario.servers.service
    law = laws.fixed(1) if service.by_second else _service_law(scenario)

    def start() -> Draw:
        hashes = hasher(spec.hash, spec.addresses, _stream(scenario, "flows"), spec.scattered)
        works = _stream(scenario, "service")
        return lambda: (hashes(CHUNK), np.maximum(law.draw(works, CHUNK), 1))

    return start


def _timed(times: Iterator[Int64s], draw: Draw) -> Iterator[Columns]:
    """Yield requests that come at given times; whole chunks are drawn, wherever the run ends."""
    for time in times:
        digest, work = draw()
        yield Columns(digest[: len(time)], work[: len(time)], NONE, time)


def _thinking(law: ServiceLaw, rng: np.random.Generator, draw: Draw) -> Iterator[Columns]:
    while True:
        yield Columns(*draw(), law.draw(rng, CHUNK), NONE)


def _endless(draw: Draw) -> Iterator[Columns]:
    while True:
        yield Columns(*draw(), NONE, NONE)


def _thoughts(scenario: RequestScenario, law: ServiceLaw) -> tuple[Int64s, np.random.Generator]:
    """Return the time at which each user begins, and where the draws of the columns come from."""
    assert isinstance(scenario.clients, Users)
    rng = _stream(scenario, "think")
    return law.draw(rng, scenario.clients.users), rng


def _times(scenario: RequestScenario, spec: Independent | Traced) -> Callable[[], Iterator[Int64s]]:
    """Return what starts the arrivals below the scenario's end anew."""
    end = scenario.duration
    if isinstance(spec, Traced):
        recorded = _recorded(scenario, spec)
        return lambda: in_chunks(recorded)
    rate = rate_of(scenario)
    if spec.gaps == "fixed":
        return lambda: equal_gaps(rate, end)
    return lambda: poisson(rate, _stream(scenario, "gaps"), end)


def _recorded(scenario: RequestScenario, spec: Traced) -> Int64s:
    try:
        return read_times(spec.file, spec.speed, scenario.duration)
    except ValueError as error:
        raise ScenarioError([f"clients.file: {error}"]) from None


# --- what all requests share --------------------------------------------------------------------------------


def _by_second(scenario: RequestScenario) -> Int64s:
    """Return the work of each server in each second, int64[servers, seconds]; second by second drawn."""
    number, seconds = scenario.servers.number, -(-scenario.duration // SECOND)
    drawn = _service_law(scenario).draw(_stream(scenario, "service"), seconds * number)
    return np.ascontiguousarray(np.maximum(drawn, 1).reshape(seconds, number).T)


def _service_law(scenario: RequestScenario) -> ServiceLaw:
    service = scenario.servers.service
    if isinstance(service, Spin):
        return _law(service.wall, "servers.service.wall")
    return _law(service.work, "servers.service.work")


def _law(law: Law, path: str) -> ServiceLaw:
    try:
        return service_law(law, None)
    except ValueError as error:  # of a table
        raise ScenarioError([f"{path}.table: {error}"]) from None


def _retry(spec: Patience | None) -> Retry:
    if spec is None:
        return Retry()
    timeout = NEVER if spec.timeout is None else spec.timeout
    return Retry(timeout, spec.attempts, spec.backoff, spec.factor, spec.most, spec.jitter)


def _cost_ps(cost: BalancerCost, rate: float) -> int:
    slowest = 1.0  # per second: as dear as any rate below those published, and a recording may be empty
    return request_cost(cost.mode, max(rate, slowest), cost.packets, cost.clock)


def _stream(scenario: RequestScenario, name: str) -> np.random.Generator:
    return stream(scenario.seed, name, scenario.replication)
