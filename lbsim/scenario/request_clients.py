"""Clients of the request grain: who sends requests, when, and what they do when one fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from lbsim.scenario.clients import LONGEST, law_problems, too_long
from lbsim.scenario.errors import refuse, show
from lbsim.scenario.fields import File, PositiveTime, Time
from lbsim.scenario.part import Part
from lbsim.scenario.work import Law
from lbsim.units import MS, SECOND, format_time

MOST_USERS: Final = 10**7
"""Users, or connections of paced processes: a few hundred bytes of memory each."""


class Retry(Part):
    """What a client does with a request that is refused or not answered in time: it sends it again.

    It waits min(most, backoff x factor^(a - 1)) x (1 + jitter x u) after attempt a, where u is uniform in
    0..1: exponential backoff with a cap.
    """

    timeout: PositiveTime | None = None
    """Time from sending until it gives an answer up; left out, it waits for ever."""
    attempts: int = Field(default=3, ge=1, le=100)
    """How often it sends a request at most, the first time counted."""
    backoff: Time = Field(default=MS, validate_default=False)
    """Wait before the second attempt."""
    factor: float = Field(default=2.0, ge=1, le=100)
    """By how much each wait is longer than the one before."""
    most: Time = Field(default=SECOND, validate_default=False)
    """Longest wait, before jitter."""
    jitter: float = Field(default=0.0, ge=0, le=1)
    """Greatest share of a wait that chance adds."""

    @model_validator(mode="after")
    def _waits_can_be(self) -> Self:
        problems = list(too_long("clients.retry.timeout", self.timeout or 0))
        problems += too_long("clients.retry.most", self.most)
        if self.most < self.backoff:
            most, backoff = format_time(self.most), format_time(self.backoff)
            problems.append(f"clients.retry.most: {most} is below backoff {backoff}; raise most or lower it")
        refuse(*problems)
        return self


class RequestClients(Part):
    """What all clients of requests share."""

    kind: str
    hash: Literal["ideal", "toeplitz", "crc32c", "click"] = "ideal"
    """Hash of a request's connection: independent bits, or a real function of its addresses and ports."""
    addresses: int = Field(default=65_536, ge=1, le=2**32)
    """Client addresses, for hashes of addresses."""
    scattered: bool = False
    """Whether these addresses are random ones, or follow each other."""
    overhead: Time = 0
    """Added to every latency that is recorded: a delay of the client that holds nothing up."""
    retry: Retry | None = None
    """Send what fails again; left out, a request has one attempt and all the time it needs."""

    @model_validator(mode="after")
    def _overhead_fits(self) -> Self:
        refuse(*too_long("clients.overhead", self.overhead))
        return self


class Independent(RequestClients):
    """An open loop: requests come at a rate, whether answers come or not."""

    kind: Literal["independent"] = "independent"
    per_second: float | None = Field(default=None, gt=0, le=10**12, examples=[10_000.0])
    """Mean requests in a second."""
    load: float | None = Field(default=None, gt=0, le=100, examples=[0.8])
    """Mean offered work over what all cores do at their speeds; above 1 is overload."""
    gaps: Literal["exponential", "fixed"] = "exponential"
    """Law of the time between two requests: a Poisson process, or equal gaps."""

    @model_validator(mode="after")
    def _one_pace(self) -> Self:
        given = {name: getattr(self, name) for name in ("per_second", "load")}
        found = [f"{name} = {show(value)}" for name, value in given.items() if value is not None]
        if len(found) != 1:
            refuse(
                f"clients: {' and '.join(found) or 'neither'} given; write exactly one of per_second, load"
            )
        return self


class Traced(RequestClients):
    """An open loop: requests come at the times of a recording."""

    kind: Literal["traced"] = "traced"
    file: File = Field(min_length=1, max_length=4096, examples=["requests.csv"])
    """CSV file with a column time_s, rising seconds from 0; in a TOML file relative to that file."""
    speed: float = Field(default=1.0, ge=1e-6, le=1e6)
    """How many times as fast it is replayed."""


class Users(RequestClients):
    """A closed loop: each user sends a request, waits for its answer, thinks, and sends the next."""

    kind: Literal["users"] = "users"
    users: int = Field(ge=1, le=MOST_USERS, examples=[100])
    """How many there are."""
    think: Law = Field(discriminator="kind")
    """Time from an answer to the next request, and before a user's first."""
    session: float = Field(default=1.0, ge=1, le=10**9)
    """Mean requests that a user sends over one connection, geometric; they stay on one server."""

    @model_validator(mode="after")
    def _thinks_in_time(self) -> Self:
        refuse(*law_problems("clients.think", self.think))
        return self


class Paced(RequestClients):
    """Processes of connections that each send at fixed times, as the load generator wrk2 does.

    A connection waits for its answer before it sends again; where that makes it late it catches up, and its
    latencies count from when the requests were due (no coordinated omission).
    """

    kind: Literal["paced"] = "paced"
    processes: int = Field(default=1, ge=1, le=MOST_USERS)
    """Client processes."""
    connections: int = Field(ge=1, le=MOST_USERS, examples=[16])
    """Connections of each process."""
    per_second: float = Field(gt=0, le=10**12, examples=[6400.0])
    """Requests in a second that are due on all connections together."""
    stagger: Time = Field(default=5 * MS, validate_default=False)
    """Time between the starts of two connections of a process."""
    jitter: Time = Field(default=MS, validate_default=False)
    """The start of each is later by up to this, uniform."""
    spread: Time = Field(default=60 * MS, validate_default=False)
    """Processes start at uniform times up to this."""
    catch_up: float = Field(default=2.0, gt=1, le=1000)
    """How many times as fast a connection sends that is late."""

    @property
    def users(self) -> int:
        """Return how many connections there are."""
        return self.processes * self.connections

    @property
    def period_seconds(self) -> float:
        """Return the time between two requests that are due on a connection, in seconds."""
        return self.users / self.per_second

    @property
    def last_start(self) -> int:
        """Return when the last connection may start, in ps."""
        return self.spread + self.stagger * (self.connections - 1) + self.jitter

    @model_validator(mode="after")
    def _can_be_paced(self) -> Self:
        problems = []
        if self.users > MOST_USERS:
            problems.append(
                f"clients.connections: {self.connections} of each of {self.processes} processes, at most "
                f"{MOST_USERS:.0e} of all; lower it or processes"
            )
        elif self.period_seconds * SECOND > LONGEST:
            problems.append(
                f"clients.per_second: {self.per_second:g} over {self.users} connections is less than one "
                "request in 2.5 hours on each; raise it or write fewer connections"
            )
        refuse(*problems)
        return self


AnyRequestClients = Independent | Traced | Users | Paced
"""Every kind of clients that send requests."""

REQUEST_CLIENT_KINDS: Final[tuple[type[Part], ...]] = (Independent, Traced, Users, Paced)


def start_problems(clients: AnyRequestClients, duration: int) -> Iterator[str]:
    """Yield that some paced connection starts only after the end."""
    if isinstance(clients, Paced) and clients.last_start >= duration:
        yield (
            f"clients.stagger: the last connection starts at up to {format_time(clients.last_start)}, not "
            f"before duration {format_time(duration)}; lower stagger, spread or connections"
        )
