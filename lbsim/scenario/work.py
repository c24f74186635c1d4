"""What work is: how long a packet keeps a core busy, and by which law that varies."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from lbsim.scenario.fields import PositiveWork, TableName, Work, WorkText
from lbsim.scenario.part import Part

LONGEST_WORK: Final = 2**53
"""Longest work of a packet in ps: 2.5 hours."""


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
    per_byte: WorkText = Work(0)
    """On every byte of a packet's frame: what looks at the payload."""
    work: Law = Field(default_factory=lambda: Fixed(time=Work(0)), discriminator="kind")
    """On every packet, drawn from a law; may be left out where a chain says what is done with packets."""
