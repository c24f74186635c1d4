"""The network interface: which core gets a packet, and which packets it cannot take."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from lbsim.scenario.dispatch import (
    PolicyDispatch,
    Rss,
    Rsspp,
    RssRoundRobin,
    Software,
    Sprayer,
    TrafficClasses,
)
from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import RateText, Time
from lbsim.scenario.metron import FlowDirector, Metron
from lbsim.scenario.part import Part

AnyDispatch = (
    Rss | Rsspp | RssRoundRobin | Sprayer | TrafficClasses | Metron | FlowDirector | Software | PolicyDispatch
)
"""Every way to choose a core."""


class NicLimit(Part):
    """Most that the NIC takes, over all its queues; what comes beyond is lost before the rings.

    A token bucket: every packet takes out its share of the rate, and is lost where that is not there.
    """

    rate: RateText = Field(examples=["12.4Mpps", "90Gbps"])
    """Packets, or bits on the link, a second."""
    burst: int = Field(default=1024, ge=1, le=2**20)
    """Packets of mean size that it takes at once after a pause."""


class QueueLimit(Part):
    """Time that one receive queue takes to hand a packet to its core: a core gets no more than that.

    A queue averages over its ring, so the time is that of a packet of the traffic's mean size: no packet
    keeps its core for less.
    """

    per_packet: Time = 0
    """Time of a packet."""
    per_byte: Time = 0
    """Time of every byte of its frame."""

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if not (self.per_packet or self.per_byte):
            refuse(
                "nic.queue: per_packet and per_byte are 0, which limits nothing; write one of them, e.g. "
                'per_packet = "96ns", or leave nic.queue out'
            )
        return self


class Nic(Part):
    """The network interface: it chooses a core for every packet."""

    dispatch: AnyDispatch = Field(default_factory=Rss, discriminator="kind")
    """How it chooses."""
    limit: NicLimit | None = None
    """Most that it takes in all; left out, the rings alone limit it."""
    queue: QueueLimit | None = None
    """Most that each of its queues hands to its core; left out, as fast as the core takes."""
