"""The machine under test: which core gets a packet, and what the packet costs there."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import (
    Clock,
    Identifier,
    Key,
    Period,
    PositiveTime,
    PositiveWork,
    TableName,
    TableSize,
    Work,
    WorkText,
)
from lbsim.scenario.part import Part
from lbsim.units import MS, SECOND, format_time


class Rss(Part):
    """Receive side scaling: Toeplitz hash of the 5-tuple, then a fixed indirection table."""

    kind: Literal["rss"] = "rss"
    table: TableSize = Field(default=512, ge=1, le=4096)
    """Entries of the indirection table, a power of two."""
    key: Key = Field(default="microsoft", min_length=1, max_length=200)
    """Hash key: microsoft, mlx5, symmetric, random:N, or 40 to 52 bytes in hexadecimal."""


class Rsspp(Part):
    """RSS++ (CoNEXT 2019): a controller moves table entries from loaded to idle cores."""

    kind: Literal["rss++"] = "rss++"
    table: TableSize = Field(default=512, ge=1, le=4096)
    """Entries of the indirection table, a power of two."""
    key: Key = Field(default="microsoft", min_length=1, max_length=200)
    """Hash key, as for rss."""
    tick: Period = Field(default=100 * MS, validate_default=False)
    """Shortest period of the controller."""
    tick_max: Period | None = None
    """Longest period; left out, the period is constant."""
    threshold: float = Field(default=0.02, ge=0, le=1)
    """Imbalance below which a core is left alone, in cores."""
    target_load: float = Field(default=0.8, gt=0, le=1)
    """Load per core that scaling of the number of cores aims at."""
    load_period: Period = Field(default=100 * MS, validate_default=False)
    """Period of the smoothed load estimate."""
    queue_term: bool = True
    """Whether ring occupancy enters the load once several cores are saturated."""
    as_published: bool = True
    """Whether the solver uses its last pass, as the published code does, instead of its best."""

    @model_validator(mode="after")
    def _longest_tick(self) -> Self:
        if self.tick_max is not None and self.tick_max < self.tick:
            tick_max, tick = format_time(self.tick_max), format_time(self.tick)
            refuse(f"nic.dispatch.tick_max: {tick_max} is below tick {tick}; raise tick_max or leave it out")
        return self


class Sprayer(Part):
    """Sprayer (HotNets 2018): packets spread by the low byte of their checksum, flows ignored."""

    kind: Literal["sprayer"] = "sprayer"


class PolicyDispatch(Part):
    """A registered policy picks a core for each packet."""

    kind: Literal["policy"] = "policy"
    policy: Identifier = Field(min_length=1, max_length=64, examples=["round_robin"])
    """Its name, e.g. round_robin, random, power_of_two, least_loaded."""


class Nic(Part):
    """The network interface: it chooses a core for every packet."""

    dispatch: Rss | Rsspp | Sprayer | PolicyDispatch = Field(default_factory=Rss, discriminator="kind")
    """How it chooses."""


class Fixed(Part):
    """The same work for every packet."""

    kind: Literal["fixed"] = "fixed"
    time: WorkText
    """Work of a packet."""

    def mean_ps(self, clock: float | None) -> float:
        """Return the mean work in ps on a core of `clock` hertz."""
        return self.time.ps(clock)


class Scaled(Part):
    """What laws share that are stretched to a mean."""

    kind: str
    mean: PositiveWork
    """Mean work of a packet."""

    def mean_ps(self, clock: float | None) -> float:
        """Return the mean work in ps on a core of `clock` hertz."""
        return self.mean.ps(clock)


class Exponential(Scaled):
    """Exponential work."""

    kind: Literal["exponential"] = "exponential"


class Lognormal(Scaled):
    """Log-normal work."""

    kind: Literal["lognormal"] = "lognormal"
    cv: float = Field(gt=0, le=100, examples=[1.0])
    """Coefficient of variation: standard deviation over mean."""


class Pareto(Scaled):
    """Pareto work: heavy-tailed, of infinite variance up to alpha 2."""

    kind: Literal["pareto"] = "pareto"
    alpha: float = Field(gt=1, le=100, examples=[2.5])
    """Tail exponent."""


class Bimodal(Part):
    """Two kinds of packets, short and long."""

    kind: Literal["bimodal"] = "bimodal"
    short: WorkText
    """Work of a short one."""
    long: WorkText
    """Work of a long one."""
    share_long: float = Field(ge=0, le=1, examples=[0.1])
    """Share of long ones."""

    def mean_ps(self, clock: float | None) -> float:
        """Return the mean work in ps on a core of `clock` hertz."""
        return (1 - self.share_long) * self.short.ps(clock) + self.share_long * self.long.ps(clock)


class Table(Scaled):
    """A tabulated distribution, of any unit."""

    kind: Literal["table"] = "table"
    table: TableName = Field(min_length=1, max_length=4096, examples=["zygos_bimodal1"])
    """Name of a published distribution, or a CSV file; in a TOML file relative to that file."""


Law = Fixed | Exponential | Lognormal | Pareto | Bimodal | Table
"""How work varies from packet to packet."""


class Cost(Part):
    """What a core spends: on each poll of its ring, and on each packet."""

    per_batch: WorkText = Work(0)
    """On each poll that finds packets, however many: what makes small bursts dearer."""
    per_packet: WorkText = Work(0)
    """On every packet alike."""
    work: Law = Field(discriminator="kind")
    """On every packet, drawn from a law."""


class Stalls(Part):
    """Moments in which a core does nothing: interrupts, page faults, another tenant."""

    rate: float = Field(gt=0, le=10**6, examples=[0.25])
    """Stalls a second on each core, a Poisson process."""
    length: PositiveTime
    """Length of each."""

    @model_validator(mode="after")
    def _some_work(self) -> Self:
        if self.rate * self.length >= SECOND:
            refuse(
                f"server.stalls.length: {self.rate:g} stalls a second of {format_time(self.length)} "
                f"leave no time to work; shorten them to below {format_time(math.ceil(SECOND / self.rate))}"
            )
        return self


class Server(Part):
    """Cores that poll one ring each and run every packet to completion."""

    cores: int = Field(default=8, ge=1, le=1024)
    """Number of cores."""
    ring: int = Field(default=4096, ge=1, le=2**20)
    """Packets that wait at a core; more are dropped."""
    burst: int = Field(default=32, ge=1, le=1024)
    """Most packets that one poll takes."""
    clock: Clock | None = None
    """Clock of the cores; needed where a cost is in cycles."""
    cost: Cost
    """What packets cost."""
    stalls: Stalls | None = None
    """Random pauses of cores."""

    @model_validator(mode="after")
    def _clock_for_cycles(self) -> Self:
        if self.clock is None:
            refuse(
                *(
                    f'{path}: {work} need a clock; set server.clock, e.g. "3.7GHz", or write a time'
                    for path, work in _works(self.cost)
                    if work.unit == "cycles"
                )
            )
        return self

    def mean_service(self) -> float:
        """Return the mean ps of a packet at full bursts."""
        cost = self.cost
        batch = cost.per_batch.ps(self.clock) / self.burst
        return batch + cost.per_packet.ps(self.clock) + cost.work.mean_ps(self.clock)

    def capacity(self) -> float:
        """Return the packets per second of all cores at full bursts; inf where packets cost nothing."""
        service = self.mean_service()
        return self.cores * SECOND / service if service else math.inf


def _works(cost: Cost) -> list[tuple[str, Work]]:
    """Return every cost that is given as work, with its path."""
    parts: list[tuple[str, Part]] = [("server.cost", cost), ("server.cost.work", cost.work)]
    values = [(f"{path}.{name}", value) for path, part in parts for name, value in part]
    return [(path, value) for path, value in values if isinstance(value, Work)]
