"""Servers of the request grain: how their cores are shared, what a request costs, and what holds them up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lbsim.scenario.churn import MOST_SERVERS
from lbsim.scenario.clients import law_problems, too_long
from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import PositiveTime, Time
from lbsim.scenario.part import Part
from lbsim.scenario.work import Law
from lbsim.units import MS, format_time

MOST_CORES: Final = 10**7
"""Cores of all servers together."""

LEAST_SPEED: Final = 0.05
"""Slowest core, and slowest of slow-downs: in one of the other 2.5 hours last 42 days, which still fits."""

# --- how requests share the cores ---------------------------------------------------------------------------


class Fcfs(Part):
    """First come, first served: one queue, whose head the next free core runs to its end."""

    kind: Literal["fcfs"] = "fcfs"


class Sharing(Part):
    """Cores take turns: whoever's slice is over goes to the tail of the server's one queue.

    Without `workers`, requests take turns, as threads do; a short `slice` comes near processor sharing. With
    them, a request goes to one of the workers at random and workers take turns, as the processes of an
    event-driven web server do. `slice = "5us", switch = "1us"` without workers is the preemptive central
    queue of Shinjuku (Kaffes and others, NSDI 2019).
    """

    kind: Literal["sharing"] = "sharing"
    slice: PositiveTime = Field(default=4 * MS, validate_default=False)
    """How long a core runs one before another that waits; 4 ms is a tick of Linux at 250 Hz."""
    workers: int = Field(default=0, ge=0, le=10**6)
    """Workers of a server; 0: every request has its own."""
    turn: Time = 0
    """Within its slice a worker goes on to its next request this often; 0: only from slice to slice."""
    switch: Time = 0
    """Time a core loses whenever it takes another worker, or request, than the last."""

    @model_validator(mode="after")
    def _turns_fit(self) -> Self:
        problems = list(too_long("servers.discipline.slice", self.slice))
        problems += too_long("servers.discipline.switch", self.switch)
        if self.turn and not self.workers:
            problems.append(
                f"servers.discipline.turn: {format_time(self.turn)}, but without workers a slice has one "
                "request; write workers, e.g. 32, or leave turn out"
            )
        if self.turn > self.slice:
            turn, slice_ = format_time(self.turn), format_time(self.slice)
            problems.append(
                f"servers.discipline.turn: {turn} is above slice {slice_}; lower turn or raise slice"
            )
        refuse(*problems)
        return self


class Stealing(Part):
    """A queue a core, run to completion; a core without work steals from the others (ZygOS, SOSP 2017)."""

    kind: Literal["stealing"] = "stealing"
    steal: Time = 0
    """Work that is added to a stolen request."""

    @model_validator(mode="after")
    def _not_too_long(self) -> Self:
        refuse(*too_long("servers.discipline.steal", self.steal))
        return self


class Jbsq(Part):
    """One queue, and short ones at the cores, run to completion (R2P2, ATC 2019: bounded shortest queue)."""

    kind: Literal["jbsq"] = "jbsq"
    depth: int = Field(default=2, ge=1, le=10**6)
    """Requests at a core at most, the running one counted."""


class Priority(Part):
    """Two queues: whoever is in the second waits until the first is empty; nobody who runs is stopped."""

    kind: Literal["priority"] = "priority"
    urgent: float = Field(gt=0, lt=1, examples=[0.2])
    """Share of requests that are urgent, each by chance."""


AnyDiscipline = Fcfs | Sharing | Stealing | Jbsq | Priority
"""Every way to share a server's cores."""

# --- what a request costs -----------------------------------------------------------------------------------


class Cpu(Part):
    """Work of the processor alone; a core of speed 2 does it in half the time."""

    kind: Literal["cpu"] = "cpu"
    work: Law = Field(discriminator="kind")
    """Work of a request, in time on a core of speed 1."""
    by_second: bool = False
    """One draw for each server and second, not for each request: a generator seeded anew every second."""

    @property
    def mean_ps(self) -> float:
        """Return the mean service of a request alone on a core of speed 1."""
        return self.work.mean_ps(None)

    @model_validator(mode="after")
    def _is_time(self) -> Self:
        refuse(*law_problems("servers.service.work", self.work))
        return self


class Spin(Part):
    """Some work, then spinning until a time has passed by the wall clock, then some work.

    Spinning keeps a core as busy as work does, but its deadline nears also while others run; that it has
    passed is noticed when the request runs next.
    """

    kind: Literal["spin"] = "spin"
    setup: Time = 0
    """Work before."""
    wall: Law = Field(discriminator="kind")
    """Time from the beginning of spinning to its deadline."""
    finish: Time = 0
    """Work after."""
    by_second: bool = False
    """One draw of `wall` for each server and second, not for each request."""

    @property
    def mean_ps(self) -> float:
        """Return the mean service of a request alone on a core of speed 1."""
        return self.setup + self.wall.mean_ps(None) + self.finish

    @model_validator(mode="after")
    def _is_time(self) -> Self:
        problems = list(law_problems("servers.service.wall", self.wall))
        for name in ("setup", "finish"):
            problems += too_long(f"servers.service.{name}", getattr(self, name))
        refuse(*problems)
        return self


AnyService = Cpu | Spin
"""Every kind of service."""

# --- the servers --------------------------------------------------------------------------------------------


class Pauses(Part):
    """Now and then a server stops or slows down for a while: garbage collection, compaction, a neighbour."""

    rate: float = Field(gt=0, le=10**6, examples=[0.1])
    """Mean pauses of a server in a second; they come at random, a Poisson process each."""
    length: PositiveTime
    """How long each lasts."""
    speed: float = Field(default=0.0, ge=0, le=1)
    """What is left of a server's speed meanwhile; 0: it stops."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = list(too_long("servers.pauses.length", self.length))
        if 0 < self.speed < LEAST_SPEED:
            problems.append(
                f"servers.pauses.speed: {self.speed:g} is too slow; write {LEAST_SPEED} to 1, or 0 to stop"
            )
        refuse(*problems)
        return self


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class RequestServers(Part):
    """Equal servers, but for their speeds and weights."""

    number: int = Field(ge=1, le=MOST_SERVERS, examples=[64])
    """How many there are."""
    cores: int = Field(default=1, ge=1, le=10**4)
    """Cores of each."""
    discipline: AnyDiscipline = Field(default_factory=Fcfs, discriminator="kind")
    """How requests share them."""
    service: AnyService = Field(discriminator="kind")
    """What a request costs."""
    speeds: Annotated[
        tuple[Annotated[float, Field(ge=LEAST_SPEED, le=1000)], ...], BeforeValidator(_as_tuple)
    ] = (1.0,)
    """Speeds of their cores, repeated over the servers."""
    weights: Annotated[tuple[Annotated[float, Field(ge=0, le=10**6)], ...], BeforeValidator(_as_tuple)] = (
        1.0,
    )
    """Their weights for the balancer, repeated over the servers."""
    backlog: int | None = Field(default=None, ge=1, le=10**8, examples=[1024])
    """Requests in a server at most, those in service counted; it refuses more. Left out: any number."""
    response: int = Field(default=8192, ge=0, le=10**12)
    """Bytes of an answer."""
    pauses: Pauses | None = None
    """What holds servers up; left out, nothing does."""

    @property
    def capacity(self) -> float:
        """Return what all cores together do: their number times their mean speed."""
        rounds, rest = divmod(self.number, len(self.speeds))
        return self.cores * (rounds * sum(self.speeds) + sum(self.speeds[:rest]))

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        problems = [
            *_one_each("speeds", self.speeds, self.number),
            *_one_each("weights", self.weights, self.number),
        ]
        if self.weights and not any(self.weights):
            problems.append("servers.weights: all are 0, so no server gets anything; write one above 0")
        if self.number * self.cores > MOST_CORES:
            problems.append(
                f"servers.cores: {self.cores} of each of {self.number} servers, at most {MOST_CORES:.0e} of "
                "all; lower it or number"
            )
        if self.cores == 1 and isinstance(self.discipline, Stealing | Jbsq):
            problems.append(
                f"servers.discipline.kind: {self.discipline.kind}, but with one core it is fcfs; "
                'write servers.cores = 2 or more, or kind = "fcfs"'
            )
        refuse(*problems)
        return self


DISCIPLINE_KINDS: Final[tuple[type[Part], ...]] = (Fcfs, Sharing, Stealing, Jbsq, Priority)
SERVICE_KINDS: Final[tuple[type[Part], ...]] = (Cpu, Spin)


def _one_each(name: str, values: tuple[float, ...], number: int) -> Iterator[str]:
    if not values:
        yield f"servers.{name}: an array of nothing; write one number or more, e.g. [1.0]"
    elif len(values) > number:
        yield f"servers.{name}: {len(values)} of them for {number} servers; write one each"
