"""What a scenario is: all its parts, and what must hold between them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from lbsim.scenario.dispatch import (
    Nic,
    PolicyDispatch,
    Rss,
    Rsspp,
    RssRoundRobin,
    Software,
    Sprayer,
    TrafficClasses,
)
from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import Period, PositiveTime, Time, Title
from lbsim.scenario.machine import PerBucket, Server, Shared
from lbsim.scenario.part import Part
from lbsim.scenario.traffic import (
    Batched,
    Campus,
    CaptureFile,
    Closed,
    Deterministic,
    Flows,
    OnOff,
    Poisson,
    Recorded,
)
from lbsim.scenario.work import Bimodal, Exponential, Fixed, Lognormal, Pareto, Table
from lbsim.units import SECOND, format_time

MOST_PACKETS: Final = 1e13  # days of computing
MOST_ROWS: Final = 2e8  # rows of a per-packet log that fit a workstation's memory
MOST_SAMPLES: Final = 1e6  # samples of a time series
ROUGH_FRAME: Final = {"imix": 350, "campus": 1000, "campus-4": 1000}  # bytes; only to refuse absurd lengths
ROUGH_PPS: Final = {"campus": 5e5, "campus-4": 2e6}  # same

AnyTraffic = Flows | Campus | CaptureFile
AnyArrivals = Poisson | Deterministic | OnOff | Batched | Recorded | Closed


class Measure(Part):
    """What to record."""

    interval: Period | None = None
    """Sampling period of the time series; left out, none are kept."""
    latency: bool = False
    """Whether to keep a latency histogram for each interval, of the packets that arrive in it."""
    reordering: bool = False
    """Whether to count packets that leave the server after a later one of their flow."""
    path_delay: Time = 0
    """Added to every latency: what wire and generator take."""
    packets: bool = False
    """Whether to keep one row a packet."""


class Scenario(Part):
    """One simulation, complete: equal scenarios give equal results.

    Fields are checked in the order of a packet's way, each against those before it, so that one
    `ScenarioError` tells as many contradictions as possible.
    """

    name: Title = Field(default="scenario", min_length=1, max_length=80)
    """A short title."""
    grain: Literal["packet"] = "packet"
    """What is simulated one by one."""
    seed: int = Field(default=1, ge=0, le=2**63 - 1)
    """Of all randomness."""
    replication: int = Field(default=0, ge=0, le=10**6)
    """An independent repetition under the same seed."""
    duration: PositiveTime | None = None
    """Packets arrive before this; may be left out where a capture ends by itself."""
    warmup: Time = 0
    """Packets that arrive earlier are not counted."""
    traffic: AnyTraffic = Field(discriminator="kind")
    """Which packets come."""
    arrivals: AnyArrivals = Field(discriminator="kind")
    """When they come."""
    nic: Nic = Field(default_factory=Nic)
    """Which core gets each."""
    server: Server
    """What they cost."""
    measure: Measure = Field(default_factory=Measure)
    """What to record."""

    @field_validator("warmup")
    @classmethod
    def _warmup_before_end(cls, warmup: int, info: ValidationInfo) -> int:
        refuse(*warmup_problems(warmup, info.data.get("duration")))
        return warmup

    @field_validator("traffic")
    @classmethod
    def _some_end(cls, traffic: AnyTraffic, info: ValidationInfo) -> AnyTraffic:
        ends = isinstance(traffic, CaptureFile) and traffic.loops is not None
        if "duration" in info.data and info.data["duration"] is None and not ends:
            refuse('duration: missing, and this traffic has no end; write e.g. duration = "1s"')
        return traffic

    @field_validator("arrivals")
    @classmethod
    def _recorded_has_clock(cls, arrivals: AnyArrivals, info: ValidationInfo) -> AnyArrivals:
        if isinstance(arrivals, Recorded) and isinstance(info.data.get("traffic"), Flows):
            refuse(
                "arrivals.kind: recorded, but traffic of kind flows has no clock of its own; "
                "write poisson, deterministic, on_off or batched"
            )
        return arrivals

    @field_validator("server")
    @classmethod
    def _server_fits(cls, server: Server, info: ValidationInfo) -> Server:
        refuse(*_idle_cores(info.data.get("nic"), server.cores), *_pace({**info.data, "server": server}))
        return server

    @field_validator("measure")
    @classmethod
    def _records_fit(cls, measure: Measure, info: ValidationInfo) -> Measure:
        refuse(*_records(measure, info.data))
        return measure

    def expected_packets(self) -> float | None:
        """Return roughly how many packets arrive; None where only the capture knows."""
        return _packets(dict(self))

    def expected_units(self) -> float | None:
        """Return roughly how many units of work a run takes: packets at this grain."""
        return self.expected_packets()


KINDS: Final[dict[str, type[Part]]] = {
    part.model_fields["kind"].default: part
    for part in (
        *(Flows, Campus, CaptureFile),
        *(Poisson, Deterministic, OnOff, Batched, Recorded, Closed),
        *(Rss, Rsspp, RssRoundRobin, Sprayer, TrafficClasses, Software, PolicyDispatch),
        *(Fixed, Exponential, Lognormal, Pareto, Bimodal, Table),
        *(PerBucket, Shared),
    )
}
"""Every part of this grain that is chosen by its kind; no two share a kind."""


def warmup_problems(warmup: int, duration: int | None) -> Iterator[str]:
    """Yield that a warm-up in ps leaves nothing of a duration."""
    if duration is not None and warmup >= duration:
        yield f"warmup: {format_time(warmup)} is not below duration {format_time(duration)}; shorten it"


def sampling_problems(interval: int | None, duration: int | None) -> Iterator[str]:
    """Yield that a sampling interval in ps gives more samples than a time series holds."""
    if interval and duration and duration / interval > MOST_SAMPLES:
        yield (
            f"measure.interval: {format_time(interval)} is {duration / interval:.1e} samples, "
            f"at most {MOST_SAMPLES:.0e}; write {format_time(math.ceil(duration / MOST_SAMPLES))} or more"
        )


def _idle_cores(nic: Nic | None, cores: int) -> list[str]:
    """Refuse cores that could never get a packet."""
    match nic.dispatch if nic else None:
        case Rss(table=entries) | Rsspp(table=entries) if cores > entries:
            more = f"lower it or raise nic.dispatch.table to {1 << (cores - 1).bit_length()}"
            return [f"server.cores: {cores} cores share the {entries} entries of nic.dispatch.table; {more}"]
        case Sprayer() if cores > 256:
            return [f"server.cores: {cores} cores share the 256 values Sprayer spreads by; lower it to 256"]
    return []


def _pps(parts: dict[str, Any]) -> float | None:
    """Return roughly the packets per second offered; None where only the capture knows."""
    if not parts.keys() >= {"traffic", "arrivals", "server"}:  # some part was refused before
        return None
    traffic, arrivals = parts["traffic"], parts["arrivals"]
    frame = _rough_frame(traffic)
    if isinstance(arrivals, Closed):
        return arrivals.link.pps(frame)
    if arrivals.load is not None:
        return float(arrivals.load * parts["server"].capacity(frame))
    if arrivals.rate is not None:
        return float(arrivals.rate.pps(frame))
    return float(ROUGH_PPS[traffic.trace] * arrivals.speed) if isinstance(traffic, Campus) else None


def _rough_frame(traffic: AnyTraffic) -> float:
    match traffic:
        case Flows(frame=int() as size):
            return size
        case Flows(frame=str() as name) | Campus(trace=name):
            return ROUGH_FRAME[name]
    return ROUGH_FRAME["campus"]


def _packets(parts: dict[str, Any]) -> float | None:
    pps, duration = _pps(parts), parts.get("duration")
    return None if pps is None or duration is None else pps * duration / SECOND


def _pace(parts: dict[str, Any]) -> list[str]:
    """Refuse rates that cannot be, or would never end."""
    pps, packets = _pps(parts), _packets(parts)
    batch = getattr(parts.get("arrivals"), "batch", None)
    if pps == math.inf:
        return [
            "arrivals.load: packets that cost nothing make no load; write arrivals.rate or a cost above 0"
        ]
    if packets is not None and packets > MOST_PACKETS:
        return [f"duration: about {packets:.1e} packets, at most 1e13; shorten it or lower the rate"]
    if pps is not None and batch is not None and pps * batch.gap > SECOND:
        most, gap = SECOND / batch.gap, format_time(int(SECOND / pps))
        return [
            f"arrivals.batch.gap: packets {format_time(batch.gap)} apart are at most {most:.3g} a second, "
            f"but {pps:.3g} are asked for; write {gap} or less"
        ]
    return []


def _records(measure: Measure, parts: dict[str, Any]) -> list[str]:
    """Refuse records that would not fit the memory."""
    problems = list(sampling_problems(measure.interval, parts.get("duration")))
    packets = _packets(parts) or 0
    if measure.packets and packets > MOST_ROWS:
        problems.append(
            f"measure.packets: true keeps about {packets:.1e} rows, at most {MOST_ROWS:.0e}; "
            "shorten duration or write packets = false"
        )
    return problems
