"""Clients: which packets come, and when."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lbsim.scenario.errors import refuse, show
from lbsim.scenario.fields import File, Frame, Loops, Period, PositiveTime, Rate, RateText, Time
from lbsim.scenario.part import Part
from lbsim.units import NS

MOST_PORTS: Final = 14_000  # every second of those that an operating system hands out


class Flows(Part):
    """A fixed population of flows; each packet's flow is drawn independently."""

    kind: Literal["flows"] = "flows"
    flows: int = Field(default=4096, ge=1, le=10**7)
    """Number of flows."""
    popularity: float = Field(default=0.0, ge=0, le=5)
    """Exponent of a Zipf law over the flows; 0 makes them equal."""
    frame: Frame = 1000
    """Bytes of every frame, or a published table of packet sizes."""
    tuples: Literal["clients", "ports"] = "clients"
    """Who talks to the one server. clients: random ones. ports: one client, from source ports that follow
    each other by two, as an operating system hands them out."""

    @model_validator(mode="after")
    def _enough_ports(self) -> Self:
        if self.tuples == "ports" and self.flows > MOST_PORTS:
            refuse(f"traffic.flows: {self.flows}, but one client has {MOST_PORTS} ports; write fewer")
        return self


class Campus(Part):
    """Synthetic traffic with the published statistics of the RSS++ campus traces."""

    kind: Literal["campus"] = "campus"
    trace: Literal["campus", "campus-4", "campus-8"]
    """One link (0.5 Mpps), or four or eight merged windows of it (1.9, 4.1 Mpps)."""
    recording: int | None = Field(default=None, ge=0, le=2**63 - 1)
    """The recording is drawn from this number, so that seeds and replications all play the same; left out,
    each plays its own."""


class CaptureFile(Part):
    """The packets of a recorded capture (pcap or pcapng, also gzipped)."""

    kind: Literal["capture"] = "capture"
    file: File = Field(min_length=1, max_length=4096, examples=["http-loopback.pcap.gz"])
    """Its path; in a TOML file relative to that file."""
    loops: Loops = Field(default=1, ge=1, le=10**9)
    """How often it is played; "forever" has no end."""
    partial: bool = False
    """Whether to use what is readable of a damaged file."""
    max_bytes: int = Field(default=8 << 30, ge=1, le=1 << 46)
    """Refuse a file that unpacks to more."""


class Profile(Part):
    """How the rate changes over time: it is multiplied by one factor after another."""

    every: Period
    """Time for which each factor holds; the last holds on."""
    factors: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1000)], ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    ]
    """The factors, in order; the rates given elsewhere are those of factor 1."""

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if not self.factors:
            refuse("arrivals.profile.factors: empty; write at least one factor, e.g. [1.0]")
        if not self.factors[-1] > 0:
            refuse("arrivals.profile.factors: the last is 0 and holds on; end with a factor above 0")
        return self

    def mean(self, until: int) -> float:
        """Return the mean factor from 0 to `until` ps."""
        last = (len(self.factors) - 1) * self.every
        held = sum(
            factor * min(self.every, max(0, until - k * self.every))
            for k, factor in enumerate(self.factors[:-1])
        )
        return (held + self.factors[-1] * max(0, until - last)) / until


class Arrivals(Part):
    """What arrival processes share: exactly one way to say how fast."""

    kind: str
    rate: RateText | None = None
    """Mean rate."""
    load: float | None = Field(default=None, gt=0, le=100, examples=[0.8])
    """Mean offered work over the capacity of all cores at full bursts; above 1 is overload. Of a cluster the
    servers count that are active at the start."""
    profile: Profile | None = None
    """How the rate changes over time; left out, it does not."""

    @model_validator(mode="after")
    def _one_pace(self) -> Self:
        paces = [name for name in ("speed", "rate", "load") if name in type(self).model_fields]
        given = [name for name in paces if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(f"{name} = {_text(getattr(self, name))}" for name in given) or "none of them"
            refuse(f"arrivals: {found} given; write exactly one of {', '.join(paces)}")
        return self


def _text(pace: Rate | float) -> str:
    return show(str(pace) if isinstance(pace, Rate) else pace)


class Poisson(Arrivals):
    """Independent exponential gaps."""

    kind: Literal["poisson"] = "poisson"


class Deterministic(Arrivals):
    """Equal gaps."""

    kind: Literal["deterministic"] = "deterministic"


class OnOff(Arrivals):
    """Poisson arrivals while on, silence while off."""

    kind: Literal["on_off"] = "on_off"
    on: PositiveTime
    """Mean length of an on period."""
    off: PositiveTime
    """Mean length of an off period."""
    law: Literal["exponential", "fixed"] = "exponential"
    """Law of both lengths."""


class Batch(Part):
    """Back-to-back packets, as generators send them: on average min(base + rate x timer, cap) of them."""

    base: float = Field(default=32.0, ge=1, le=10**6)
    """Packets in a batch at the slowest rates."""
    timer: Time = 0
    """Adds the packets that come in this time."""
    cap: float | None = Field(default=None, ge=1, le=10**6, examples=[256.0])
    """Most packets on average."""
    law: Literal["exponential", "geometric", "fixed"] = "exponential"
    """Law of the batch size."""
    gap: Time = Field(default=82 * NS, validate_default=False)
    """Spacing of packets in a batch; 82 ns is a 1000-byte frame at 100 Gb/s."""
    jitter: float = Field(default=0.5, ge=0, le=1)
    """The gap between batch starts is uniform within 1 - jitter to 1 + jitter of its mean."""

    @model_validator(mode="after")
    def _cap_above_base(self) -> Self:
        if self.cap is not None and self.cap < self.base:
            refuse(f"arrivals.batch.cap: {self.cap:g} is below base {self.base:g}; raise cap or lower base")
        return self


class Batched(Arrivals):
    """Batches at nearly regular starts, as the generator of RSS++ sends them."""

    kind: Literal["batched"] = "batched"
    batch: Batch = Field(default_factory=Batch)
    """Sizes and spacing."""


class Recorded(Arrivals):
    """The traffic's own clock, at a speed or stretched to a mean rate or load."""

    kind: Literal["recorded"] = "recorded"
    speed: float | None = Field(default=None, gt=0, le=10**6, examples=[1.0])
    """Replay speed; 1 is as recorded."""
    batch: Batch | None = None
    """Send in batches, each when its first packet is due."""


class Closed(Part):
    """Closed loop: each flow keeps a window of packets under way over one link, as long TCP flows do.

    A packet waits for the link, crosses it, waits for its core, is served, and `delay` later its
    acknowledgement lets the flow send the next. Flows on a full core get its share; the others take the rest.
    """

    kind: Literal["closed"] = "closed"
    link: RateText = Field(examples=["100Gbps"])
    """Rate of the link that all flows share, in bits."""
    window: float = Field(ge=1, le=10**5, examples=[30.0])
    """Mean packets that a flow keeps under way."""
    spread: float = Field(default=0.0, ge=0, le=10)
    """Coefficient of variation of the windows of flows, log-normal; 0 makes them equal."""
    delay: PositiveTime
    """From the end of service to the next packet in the queue of the link: the rest of the round trip."""

    @model_validator(mode="after")
    def _link_in_bits(self) -> Self:
        if self.link.unit != "bps":
            refuse(f'arrivals.link: {self.link} counts packets; write bits, e.g. "100Gbps"')
        return self


AnyTraffic = Flows | Campus | CaptureFile
"""Every source of packets."""

AnyArrivals = Poisson | Deterministic | OnOff | Batched | Recorded | Closed
"""Every way in which packets come."""
