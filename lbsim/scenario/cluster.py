"""Several servers behind a balancer that picks one for every flow, and maybe looks at their cores."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from lbsim.scenario.churn import AnyChurn
from lbsim.scenario.consistency import MOST_SLOTS
from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import Identifier, Period
from lbsim.scenario.part import Part
from lbsim.units import MS


class CrossRss(Part):
    """CrossRSS (CoNEXT 2020): the balancer picks the server whose NIC would pick an idle core.

    For every bucket of the hash it knows the core that each server's indirection table names, and sends new
    flows of the bucket to the server where that core has the least load.
    """

    kind: Literal["crossrss"] = "crossrss"
    period: Period = Field(default=100 * MS, validate_default=False)
    """Time between two looks at the load."""
    smoothing: float = Field(default=0.5, gt=0, le=1)
    """Weight of the newest load in its average."""
    load: Literal["packets", "cpu"] = "packets"
    """Load of a core. packets: those it has processed since the last look. cpu: its work since then."""
    counted_by: Literal["servers", "balancer"] = "servers"
    """Who counts. servers: each its own cores. balancer: it counts what it sent into each bucket of each
    server, and needs no reports."""
    credit: bool = False
    """Whether a bucket that is given to a core counts there for those that are given after it."""
    maps: Literal["start", "live"] = "start"
    """The servers' tables as the balancer knows them: those of the start, or those of the moment."""

    @model_validator(mode="after")
    def _counts_what_it_sees(self) -> Self:
        if self.counted_by == "balancer" and self.load == "cpu":
            refuse(
                "cluster.balancer.load: cpu, but a balancer that counts for itself sees packets alone; "
                'write "packets", or counted_by "servers"'
            )
        return self


class Choosing(Part):
    """A registered policy picks a server for each flow; the cores behind are no concern of it."""

    kind: Literal["choosing"] = "choosing"
    policy: Identifier = Field(min_length=1, max_length=64, examples=["round_robin"])
    """Name of the policy."""
    choices: int = Field(default=2, ge=1, le=10**6)
    """Servers that a policy of random choices compares."""
    slots: int | None = Field(default=None, ge=1, le=MOST_SLOTS, examples=[65_537])
    """Slots of its table; left out, as many as the policy says."""
    hash: Literal["click", "toeplitz", "crc32c", "ideal"] = "click"
    """Hash of a flow that policies by hash look at; click is that of the published CrossRSS experiments."""
    signal: Literal["packets", "cpu", "flows"] = "packets"
    """Load of a server. packets: those it processed between the last two reports. cpu: its work between them.
    flows: those that the balancer has given to it, known at once."""
    period: Period = Field(default=100 * MS, validate_default=False)
    """Time between two reports; flows need none."""


class Cluster(Part):
    """Servers, all like `server` and with NICs like `nic`, and the balancer before them."""

    servers: int = Field(ge=1, le=256, examples=[4])
    """All servers there are, numbered from 0."""
    active: int | None = Field(default=None, ge=1, le=256)
    """Those in use at the start, the first ones; the others are spares. Left out: all."""
    balancer: CrossRss | Choosing = Field(discriminator="kind")
    """How it picks a server."""
    remember: bool = True
    """Whether it keeps every flow where it was put, as with a flow table or a cookie; else it is asked anew
    for every packet."""
    churn: AnyChurn | None = Field(default=None, discriminator="kind")
    """How servers come and go; left out, they stay."""

    @property
    def initial(self) -> int:
        """Return how many servers are active at the start."""
        return self.servers if self.active is None else self.active

    @model_validator(mode="after")
    def _enough_servers(self) -> Self:
        problems = []
        if self.initial > self.servers:
            problems.append(f"cluster.active: {self.active} is above servers {self.servers}; lower it")
        if isinstance(self.balancer, Choosing):
            choices, slots = self.balancer.choices, self.balancer.slots
            if slots is not None and slots < self.servers:
                problems.append(
                    f"cluster.balancer.slots: {slots} slots for {self.servers} servers, so some never get "
                    f"anything; write {self.servers} or more"
                )
            if choices > max(2, self.servers):
                problems.append(
                    f"cluster.balancer.choices: {choices} of {self.servers} servers; "
                    f"write {self.servers} or less"
                )
        refuse(*problems)
        return self


BALANCER_KINDS: Final[tuple[type[Part], ...]] = (CrossRss, Choosing)
