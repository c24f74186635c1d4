"""The machine under test: its cores, what a packet costs there, and where the state of flows is kept."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import Clock, Identifier, PositiveTime, Work, WorkText
from lbsim.scenario.part import Part
from lbsim.scenario.work import Cost
from lbsim.units import SECOND, format_time


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


class PerBucket(Part):
    """A flow table for each RSS bucket, owned by one core and without locks (RSS++ section 4)."""

    kind: Literal["per_bucket"] = "per_bucket"
    lookup: WorkText = Work(0)
    """Work of finding a packet's flow."""
    protocol: Literal["watch", "mark", "none"] = "watch"
    """How a moved bucket changes its owner. watch: once the source has handled as many packets as it had seen
    and its ring held when the table was written. mark: once the source meets a packet that the NIC marked
    after that. Until then the new core parks the bucket's packets. none: at once, flows may be reordered."""
    as_published: bool = False
    """Whether, as in the published code, an idle source hands over only after its next packet, and what is
    parked waits for the next packet of its bucket."""


class Shared(Part):
    """One flow table for all cores."""

    kind: Literal["shared"] = "shared"
    lookup: WorkText = Work(0)
    """Work of finding a packet's flow when no other core is busy."""
    contention: WorkText = Work(0)
    """Added to each packet for every ordered pair of busy cores: n busy cores cost n x (n - 1) of it."""
    lock: WorkText = Work(0)
    """Part of a packet's work for which it holds the lock of its flow; 0: flows have no lock."""


class Server(Part):
    """Cores that poll one ring each and run every packet to completion."""

    cores: int = Field(default=8, ge=1, le=1024)
    """Number of cores."""
    ring: int = Field(default=4096, ge=1, le=2**20)
    """Packets that wait at a core; more are dropped."""
    burst: int = Field(default=32, ge=1, le=1024)
    """Most packets that one poll takes."""
    clock: Clock | None = None
    """Clock of the cores; needed where a cost is in cycles, unless the hardware tells it."""
    hardware: Identifier | None = Field(default=None, min_length=1, max_length=64)
    """Profile of the machine: its clock, where `clock` does not say another, and its memory."""
    cost: Cost = Field(default_factory=Cost)
    """What packets cost; may be left out where a chain says what is done with them."""
    state: PerBucket | Shared | None = Field(default=None, discriminator="kind")
    """Where the state of flows is kept; left out, packets need none."""
    stalls: Stalls | None = None
    """Random pauses of cores."""

    @model_validator(mode="after")
    def _clock_for_cycles(self) -> Self:
        if self.clock is None and self.hardware is None:
            refuse(
                *(
                    f'{path}: {work} need a clock; set server.clock, e.g. "3.7GHz", or write a time'
                    for path, work in _works(self)
                    if work.unit == "cycles"
                )
            )
        return self

    @property
    def fixed_ps(self) -> int:
        """Return the ps that every packet costs alike: per_packet, and finding its flow."""
        lookup = self.state.lookup.ps(self.clock) if self.state else 0
        return self.cost.per_packet.ps(self.clock) + lookup

    @property
    def per_byte_ps(self) -> int:
        """Return the ps that every byte of a frame costs."""
        return self.cost.per_byte.ps(self.clock)

    def mean_service(self, frame: float) -> float:
        """Return the mean ps of a packet at full bursts; `frame` is its mean length in bytes."""
        batch = self.cost.per_batch.ps(self.clock) / self.burst
        return batch + self.fixed_ps + self.per_byte_ps * frame + self.cost.work.mean_ps(self.clock)

    def capacity(self, frame: float) -> float:
        """Return the packets per second of all cores at full bursts; inf where packets cost nothing."""
        service = self.mean_service(frame)
        return self.cores * SECOND / service if service else math.inf


def _works(server: Server) -> list[tuple[str, Work]]:
    """Return every cost that is given as work, with its path."""
    parts: list[tuple[str, Part]] = [
        ("server.cost", server.cost),
        ("server.cost.work", server.cost.work),
        *([("server.state", server.state)] if server.state else []),
    ]
    values = [(f"{path}.{name}", value) for path, part in parts for name, value in part]
    return [(path, value) for path, value in values if isinstance(value, Work)]
