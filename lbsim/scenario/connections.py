"""What a scenario of connections is: clients, balancer, servers that come and go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from lbsim.scenario.churn import CHURN_KINDS, MOST_SERVERS, AnyChurn, Pool, churn_problems
from lbsim.scenario.clients import CLIENT_KINDS, AnyClients
from lbsim.scenario.consistency import (
    CONSISTENCY_KINDS,
    COOKIE_VALUES,
    Balancer,
    Cookie,
)
from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import Period, PositiveTime, Time, Title
from lbsim.scenario.part import Part
from lbsim.scenario.sense import sampling_problems, warmup_problems
from lbsim.units import SECOND

MOST_LIVE: Final = 1e8  # connections under way that fit a workstation's memory
MOST_BEGINS: Final = 1e13  # months of computing


class Servers(Part):
    """The servers behind the balancer."""

    configured: int = Field(ge=1, le=MOST_SERVERS, examples=[468])
    """All servers there are, numbered from 0."""
    active: int | None = Field(default=None, ge=1, le=MOST_SERVERS)
    """Those in use at the start, the first ones; the others are spares. Left out: all."""
    weights: Annotated[
        tuple[Annotated[float, Field(ge=0, le=10**6)], ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    ] = (1.0,)
    """Their weights, repeated over the servers."""

    @property
    def initial(self) -> int:
        """Return how many servers are active at the start."""
        return self.configured if self.active is None else self.active

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        problems = []
        if self.initial > self.configured:
            problems.append(f"servers.active: {self.active} is above configured {self.configured}; lower it")
        if not self.weights:
            problems.append("servers.weights: an array of nothing; write one weight or more, e.g. [1.0]")
        elif len(self.weights) > self.configured:
            problems.append(
                f"servers.weights: {len(self.weights)} weights for {self.configured} servers; write one each"
            )
        elif not any(self.weights):
            problems.append("servers.weights: all are 0, so no server gets anything; write one above 0")
        elif not any(self.weights[: self.initial]):
            problems.append(
                f"servers.weights: those of the {self.initial} servers active at the start are all 0; "
                "write one above 0 among them"
            )
        refuse(*problems)
        return self


class ConnectionMeasure(Part):
    """What to record."""

    interval: Period | None = None
    """Sampling period of the time series; left out, none are kept."""


class ConnectionScenario(Part):
    """One simulation of connections, complete: equal scenarios give equal results.

    Fields are checked in order, each against those before it, as in `Scenario`.
    """

    name: Title = Field(default="scenario", min_length=1, max_length=80)
    """A short title."""
    grain: Literal["connection"] = "connection"
    """What is simulated one by one."""
    seed: int = Field(default=1, ge=0, le=2**63 - 1)
    """Of all randomness."""
    replication: int = Field(default=0, ge=0, le=10**6)
    """An independent repetition under the same seed."""
    duration: PositiveTime
    """What happens before this is simulated."""
    warmup: Time = 0
    """What happens earlier is not counted."""
    clients: AnyClients = Field(discriminator="kind")
    """Which connections begin, and when."""
    balancer: Balancer
    """Which server gets each, and how its packets find it."""
    servers: Servers
    """Who serves them."""
    churn: AnyChurn | None = Field(default=None, discriminator="kind")
    """How servers come and go; left out, they stay."""
    measure: ConnectionMeasure = Field(default_factory=ConnectionMeasure)
    """What to record."""

    @field_validator("warmup")
    @classmethod
    def _warmup_before_end(cls, warmup: int, info: ValidationInfo) -> int:
        refuse(*warmup_problems(warmup, info.data.get("duration")))
        return warmup

    @field_validator("clients")
    @classmethod
    def _computable(cls, clients: AnyClients, info: ValidationInfo) -> AnyClients:
        if "duration" in info.data:
            refuse(*_absurd(clients, info.data["duration"]))
        return clients

    @field_validator("servers")
    @classmethod
    def _servers_fit(cls, servers: Servers, info: ValidationInfo) -> Servers:
        if "balancer" in info.data:
            refuse(*_too_many_servers(servers, info.data["balancer"]))
        return servers

    @field_validator("churn")
    @classmethod
    def _churn_fits(cls, churn: AnyChurn | None, info: ValidationInfo) -> AnyChurn | None:
        servers = info.data.get("servers")
        if churn is not None and servers is not None:
            pool = Pool(servers.configured, servers.initial)
            refuse(*churn_problems(churn, pool, info.data.get("duration")))
        return churn

    @field_validator("measure")
    @classmethod
    def _records_fit(cls, measure: ConnectionMeasure, info: ValidationInfo) -> ConnectionMeasure:
        refuse(*sampling_problems(measure.interval, info.data.get("duration")))
        return measure

    def rate(self) -> float:
        """Return the mean connections that clients begin per second; URLs: that they try to."""
        return self.clients.rate(self.duration)

    def expected_units(self) -> float:
        """Return the expected number of connections that begin, without retries."""
        return self.rate() * self.duration / SECOND

    def expected_live(self) -> float:
        """Return roughly how many connections are under way at once."""
        return min(self.clients.live(self.duration), self.expected_units())


KINDS: Final[dict[str, type[Part]]] = {
    part.model_fields["kind"].default: part for part in (*CLIENT_KINDS, *CONSISTENCY_KINDS, *CHURN_KINDS)
}
"""Every part of this grain alone that is chosen by its kind."""


def _absurd(clients: AnyClients, duration: int) -> Iterator[str]:
    """Yield that a run would need more memory or time than there is."""
    begins = clients.rate(duration) * duration / SECOND
    live = min(clients.live(duration), begins)
    if begins > MOST_BEGINS:
        yield f"duration: about {begins:.1e} connections, at most 1e13; shorten it or lower the rate"
    if live > MOST_LIVE:
        yield f"clients: about {live:.1e} connections under way, at most 1e8; lower the rate or shorten them"


def _too_many_servers(servers: Servers, balancer: Balancer) -> Iterator[str]:
    """Yield what the balancer has too few of: slots, choices, numbers in cookies."""
    configured = servers.configured
    if balancer.slots is not None and balancer.slots < configured:
        yield (
            f"balancer.slots: {balancer.slots} slots for {configured} configured servers, so some never get "
            f"anything; write {configured} or more"
        )
    if balancer.choices > max(2, configured):
        yield f"balancer.choices: {balancer.choices} of {configured} servers; write {configured} or less"
    match balancer.consistency:
        case Cookie(carrier=carrier) if configured > COOKIE_VALUES[carrier]:
            values = COOKIE_VALUES[carrier]
            other = (
                ', or balancer.consistency.carrier = "quic"' if configured <= COOKIE_VALUES["quic"] else ""
            )
            yield (
                f"servers.configured: {configured} servers do not fit the {values} values of a cookie in "
                f"{carrier}; write {values} or less{other}"
            )
        case Cookie(buckets=int() as buckets) if configured > buckets:
            yield (
                f"balancer.consistency.buckets: {buckets} for {configured} configured servers; "
                f"write {configured} or more, or leave it out"
            )
