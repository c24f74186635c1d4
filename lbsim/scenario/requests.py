"""What a scenario of requests is: clients, a balancer and what it knows, servers that share their cores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from lbsim.scenario.connections import MOST_BEGINS, MOST_LIVE
from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import Period, PositiveTime, Time, Title
from lbsim.scenario.part import Part
from lbsim.scenario.request_balancer import RequestBalancer, Signal
from lbsim.scenario.request_clients import (
    REQUEST_CLIENT_KINDS,
    AnyRequestClients,
    Independent,
    Traced,
    Users,
    start_problems,
)
from lbsim.scenario.request_servers import DISCIPLINE_KINDS, SERVICE_KINDS, RequestServers, Sharing
from lbsim.scenario.sense import MOST_ROWS, Parts, sampling_problems, warmup_problems
from lbsim.units import SECOND, format_time

MOST_CONTROLS: Final = 1e8  # reports or pauses in a run, hours of computing
MOST_DRAWS: Final = 1e7  # of a table with one for each server and second


class RequestMeasure(Part):
    """What to record."""

    interval: Period | None = None
    """Sampling period of the time series; left out, none are kept."""
    cohort: Literal["sent", "done"] = "sent"
    """Which requests count: those due after the warm-up, however late their answers; or those over by then
    and before the end, however early they were sent."""
    requests: bool = False
    """Whether to keep a row for every request."""


class RequestScenario(Part):
    """One simulation of requests, complete: equal scenarios give equal results.

    Fields are checked in order, each against those before it, as in `Scenario`.
    """

    name: Title = Field(default="scenario", min_length=1, max_length=80)
    """A short title."""
    grain: Literal["request"] = "request"
    """What is simulated one by one."""
    seed: int = Field(default=1, ge=0, le=2**63 - 1)
    """Of all randomness."""
    replication: int = Field(default=0, ge=0, le=10**6)
    """An independent repetition under the same seed."""
    duration: PositiveTime
    """Requests are sent before this; those under way are then answered."""
    warmup: Time = 0
    """What happens earlier is not counted."""
    clients: AnyRequestClients = Field(discriminator="kind")
    """Who sends requests, and when."""
    balancer: RequestBalancer
    """Which server gets each."""
    servers: RequestServers
    """Who answers them."""
    measure: RequestMeasure = Field(default_factory=RequestMeasure)
    """What to record."""

    @field_validator("warmup")
    @classmethod
    def _warmup_before_end(cls, warmup: int, info: ValidationInfo) -> int:
        refuse(*warmup_problems(warmup, info.data.get("duration")))
        return warmup

    @field_validator("clients")
    @classmethod
    def _can_send(cls, clients: AnyRequestClients, info: ValidationInfo) -> AnyRequestClients:
        if "duration" in info.data:
            refuse(*start_problems(clients, info.data["duration"]))
        return clients

    @field_validator("balancer")
    @classmethod
    def _reports_in_time(cls, balancer: RequestBalancer, info: ValidationInfo) -> RequestBalancer:
        if "duration" in info.data:
            refuse(*_late_reports(balancer.signal, info.data["duration"]))
        return balancer

    @field_validator("servers")
    @classmethod
    def _servers_fit(cls, servers: RequestServers, info: ValidationInfo) -> RequestServers:
        refuse(*_server_problems(servers, info.data))
        return servers

    @field_validator("measure")
    @classmethod
    def _records_fit(cls, measure: RequestMeasure, info: ValidationInfo) -> RequestMeasure:
        refuse(*_measure_problems(measure, info.data))
        return measure

    def rate(self) -> float | None:
        """Return the mean requests sent per second, without retries; None where only a file knows.

        Of users it is as many as they would send if none ever queued.
        """
        return _rate(self.clients, self.servers)

    def expected_units(self) -> float | None:
        """Return the expected number of requests, without retries; None where only a file knows."""
        return _units(self.clients, self.servers, self.duration)

    def expected_live(self) -> float | None:
        """Return roughly how many requests are under way at once; None where only a file knows."""
        return _live(self.clients, self.servers, self.duration)


KINDS: Final[dict[str, type[Part]]] = {
    part.model_fields["kind"].default: part
    for part in (*REQUEST_CLIENT_KINDS, *DISCIPLINE_KINDS, *SERVICE_KINDS)
}
"""Every part of this grain alone that is chosen by its kind."""


def _rate(clients: AnyRequestClients, servers: RequestServers) -> float | None:
    """Return the mean requests per second; inf where nothing takes any time."""
    service = servers.service.mean_ps
    match clients:
        case Traced():
            return None
        case Users():
            cycle = clients.think.mean_ps(None) + service
            return clients.users * SECOND / cycle if cycle else math.inf
        case Independent(load=float() as load):
            return load * servers.capacity * SECOND / service if service else math.inf
    return clients.per_second


def _units(clients: AnyRequestClients, servers: RequestServers, duration: int) -> float | None:
    rate = _rate(clients, servers)
    return None if rate is None else rate * duration / SECOND


def _live(clients: AnyRequestClients, servers: RequestServers, duration: int) -> float | None:
    """Return the users; of an open loop the requests in service, and what an overload leaves behind."""
    if not isinstance(clients, Independent | Traced):
        return float(clients.users)
    units = _units(clients, servers, duration)
    if units is None:
        return None
    busy = units * servers.service.mean_ps / duration  # cores of speed 1
    left = max(0.0, 1 - servers.capacity / busy) * units if busy else 0.0
    live = min(units, busy + left)
    return live if servers.backlog is None else min(live, float(servers.backlog) * servers.number)


def _late_reports(signal: Signal, duration: int) -> Iterator[str]:
    """Yield that a run ends before its first report may come."""
    for name, time in (("period", signal.period), ("delay", signal.delay)):
        if time is not None and time >= duration:
            yield (
                f"balancer.signal.{name}: {format_time(time)} is not below duration {format_time(duration)}, "
                "so reports may never come; shorten it"
            )


def _server_problems(servers: RequestServers, parts: Parts) -> Iterator[str]:
    """Yield what the balancer has too few of, and what would never end or not fit the memory."""
    if "balancer" in parts:
        yield from _too_many_servers(servers, parts["balancer"])
    if "clients" in parts:
        yield from _stuck(servers, parts["clients"])
    if "duration" not in parts:
        return
    duration: int = parts["duration"]
    yield from _much_control(servers, parts.get("balancer"), duration)
    draws = servers.number * -(-duration // SECOND)
    if servers.service.by_second and draws > MOST_DRAWS:
        yield (
            f"servers.service.by_second: true takes {draws:.1e} draws, at most {MOST_DRAWS:.0e}; "
            "shorten duration, lower servers.number or write false"
        )
    if "clients" in parts:
        yield from _absurd(parts["clients"], servers, duration)


def _too_many_servers(servers: RequestServers, balancer: RequestBalancer) -> Iterator[str]:
    number, machines = servers.number, balancer.signal.machines
    if balancer.slots is not None and balancer.slots < number:
        yield (
            f"balancer.slots: {balancer.slots} slots for {number} servers, so some never get anything; "
            f"write {number} or more"
        )
    if balancer.choices > max(2, number):
        yield f"balancer.choices: {balancer.choices} of {number} servers; write {number} or less"
    if machines is not None and machines > number:
        yield f"balancer.signal.machines: {machines} for {number} servers; write {number} or less"


def _stuck(servers: RequestServers, clients: AnyRequestClients) -> Iterator[str]:
    """Yield that no time passes: work that takes none, or users who come back at once when refused."""
    if isinstance(clients, Independent) and clients.load is not None and not servers.service.mean_ps:
        yield (
            "clients.load: requests that cost nothing make no load; "
            "write clients.per_second, or servers.service above 0"
        )
    if not isinstance(clients, Users) or clients.think.mean_ps(None):
        return
    retry = clients.retry
    if not servers.service.mean_ps:
        yield (
            "clients.think: users who think for 0 send for ever requests that cost 0; "
            "write a time above 0, or servers.service above 0"
        )
    elif servers.backlog is not None and (retry is None or retry.attempts == 1 or not retry.backoff):
        yield (
            f"clients.think: users who think for 0 come back at once when servers.backlog = "
            f"{servers.backlog} refuses them; write a time above 0, or clients.retry with a backoff"
        )


def _much_control(servers: RequestServers, balancer: RequestBalancer | None, duration: int) -> Iterator[str]:
    if balancer is not None and balancer.signal.period is not None:
        reports = duration / balancer.signal.period * (balancer.signal.machines or servers.number)
        if reports > MOST_CONTROLS:
            yield (
                f"balancer.signal.period: about {reports:.1e} reports, at most {MOST_CONTROLS:.0e}; "
                "write a longer one, or fewer machines"
            )
    if servers.pauses is not None:
        pauses = servers.pauses.rate * servers.number * duration / SECOND
        if pauses > MOST_CONTROLS:
            yield f"servers.pauses.rate: about {pauses:.1e} pauses, at most {MOST_CONTROLS:.0e}; lower it"


def _absurd(clients: AnyRequestClients, servers: RequestServers, duration: int) -> Iterator[str]:
    """Yield that a run would need more memory or time than there is."""
    units, live = _units(clients, servers, duration), _live(clients, servers, duration)
    if units is None or live is None or units == math.inf:
        return
    if units > MOST_BEGINS:
        yield f"duration: about {units:.1e} requests, at most 1e13; shorten it or lower the rate"
    elif live > MOST_LIVE:
        yield (
            f"clients: about {live:.1e} requests under way, at most 1e8; lower the rate, or write "
            "servers.backlog"
        )
    match servers.discipline:
        case Sharing(turn=turn, slice=slice_):
            turns = units * servers.service.mean_ps / (turn or slice_)
            if turns > MOST_BEGINS:
                name = "turn" if turn else "slice"
                yield f"servers.discipline.{name}: about {turns:.1e} turns, at most 1e13; write a longer one"


def _measure_problems(measure: RequestMeasure, parts: Parts) -> Iterator[str]:
    """Yield records that would not fit the memory."""
    yield from sampling_problems(measure.interval, parts.get("duration"))
    if not measure.requests or not parts.keys() >= {"duration", "clients", "servers"}:
        return
    units = _units(parts["clients"], parts["servers"], parts["duration"])
    if units is not None and units > MOST_ROWS:
        yield (
            f"measure.requests: true keeps about {units:.1e} rows, at most {MOST_ROWS:.0e}; "
            "shorten duration or write requests = false"
        )
