"""The balancer of the connection grain: how it picks a server, and how it keeps to it."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import Identifier, Period, Time
from lbsim.scenario.part import Part
from lbsim.units import MS

COOKIE_VALUES: Final = {"msb": 1 << 15, "lsb": 1 << 16, "quic": 1 << 16}
"""Servers that a cookie tells apart, by its carrier; the layouts are in `lbsim.balancer.cheetah.cookie`."""

MOST_ENTRIES: Final = 2**31
MOST_SLOTS: Final = 10**8


class Rehash(Part):
    """No memory: every packet is hashed anew."""

    kind: Literal["rehash"] = "rehash"


class Cookie(Part):
    """Stateless Cheetah (NSDI 2020): a header field that the client sends back names the server."""

    kind: Literal["cookie"] = "cookie"
    carrier: Literal["msb", "lsb", "quic"] = "msb"
    """Upper or lower half of the TCP timestamp, or the QUIC connection id."""
    hidden: bool = True
    """Whether the server's number is hidden by the connection's hash."""
    buckets: int | None = Field(default=None, ge=1, le=1 << 16, examples=[256])
    """Numbers the balancer gives to servers; left out, as many as servers are configured."""

    @model_validator(mode="after")
    def _fits_the_carrier(self) -> Self:
        values = COOKIE_VALUES[self.carrier]
        if self.buckets is not None and self.buckets > values:
            refuse(
                f"balancer.consistency.buckets: {self.buckets} do not fit the {values} values of a cookie in "
                f"{self.carrier}; write {values} or less, or another carrier"
            )
        return self


class ConnTable(Part):
    """Stateful Cheetah: a table of connections whose index is the cookie."""

    kind: Literal["conntable"] = "conntable"
    capacity: int = Field(ge=1, le=MOST_ENTRIES, examples=[10_000_000])
    """Connections it is made for; rounded up to a power of two of blocks."""
    variant: Literal["cheetah", "fastclick", "bmv2"] = "cheetah"
    """As meant, or as either published program does it."""
    block: int = Field(default=32_768, ge=2, le=1 << 16)
    """Entries of a block; the connection's hash picks the block."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        blocks = 1 << (-(-self.capacity // self.block) - 1).bit_length()
        problems = []
        if self.variant == "bmv2" and self.block == 1 << 16:
            problems.append(
                "balancer.consistency.block: 65536 entries, but variant bmv2 keeps the last number for "
                "connections without an entry; write 65535 or less"
            )
        if blocks * self.block > MOST_ENTRIES:
            problems.append(
                f"balancer.consistency.capacity: {self.capacity} takes {blocks} blocks of {self.block}, more "
                f"than {MOST_ENTRIES} entries; lower it or write a power of two in block"
            )
        refuse(*problems)
        return self


class FlowTable(Part):
    """A cuckoo hash table of connections."""

    kind: Literal["flow_table"] = "flow_table"
    capacity: int = Field(ge=1, le=MOST_ENTRIES, examples=[10_000_000])
    """Entries; rounded up to a power of two."""


class DaisyChain(Part):
    """Beamer (NSDI 2018): a server that lacks a connection passes its packets to the bucket's one before."""

    kind: Literal["daisy_chain"] = "daisy_chain"


class Jet(Part):
    """JET (CoNEXT 2021): remembers only connections that the next server to come would take over."""

    kind: Literal["jet"] = "jet"


class SilkRoad(Part):
    """SilkRoad (SIGCOMM 2017): a switch's table of digests, learned and updated with a delay."""

    kind: Literal["silkroad"] = "silkroad"
    cells: int = Field(ge=1, le=MOST_ENTRIES, examples=[1_000_000])
    """Cells of the table; connections that find none are not protected."""
    delay: Time = Field(default=MS, validate_default=False)
    """Time from a change until it takes effect."""


AnyConsistency = Rehash | Cookie | ConnTable | FlowTable | DaisyChain | Jet | SilkRoad

CONSISTENCY_KINDS: Final[tuple[type[Part], ...]] = (
    *(Rehash, Cookie, ConnTable, FlowTable),
    *(DaisyChain, Jet, SilkRoad),
)


class Adapt(Part):
    """Weights that follow the load: gain x mean / ((1 - alpha) x own + alpha x mean), kept within limits."""

    period: Period = Field(default=5 * MS, validate_default=False)
    """Time between two adaptations."""
    gain: float = Field(default=10.0, gt=0, le=10**6)
    """Weight of a server with the mean load."""
    alpha: float = Field(default=0.0, ge=0, le=1)
    """How much of the mean is mixed into a server's own load."""
    least: int = Field(default=2, ge=1, le=10**4)
    """Least weight."""
    most: int = Field(default=30, ge=1, le=10**4)
    """Greatest weight, that of an idle server too."""
    as_published: bool = False
    """Whether the mean is over all configured servers, as in the published code; else over active ones."""

    @model_validator(mode="after")
    def _most_above_least(self) -> Self:
        if self.most < self.least:
            refuse(f"balancer.adapt.most: {self.most} is below least {self.least}; raise most or lower least")
        return self


class Balancer(Part):
    """It picks a server at a connection's first packet, and sends the others to the same one, or should."""

    policy: Identifier = Field(min_length=1, max_length=64, examples=["maglev"])
    """Name of the policy that picks."""
    slots: int | None = Field(default=None, ge=1, le=MOST_SLOTS, examples=[65_537])
    """Slots of its table; left out, as many as the policy says."""
    choices: int = Field(default=2, ge=1, le=10**6)
    """Servers that a policy of random choices compares."""
    consistency: AnyConsistency = Field(default_factory=Rehash, discriminator="kind")
    """How later packets find their server."""
    adapt: Adapt | None = None
    """Adapt the weights while running; left out, they stay."""
