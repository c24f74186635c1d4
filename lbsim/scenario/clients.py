"""Clients of the connection grain: when connections begin, how long they last, and what their ends notice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from lbsim.scenario.errors import refuse, show
from lbsim.scenario.fields import TableName, Time, Work
from lbsim.scenario.part import Part
from lbsim.scenario.work import Law
from lbsim.units import SECOND, US, format_time

LONGEST: Final = 2**53
"""Longest time in ps that laws draw: 2.5 hours; notices, up to 37 times their mean, still fit an int64."""

STEPS: Final = 1024  # of the midpoint rule over the hump of a launch rate


class Clients(Part):
    """What all clients share."""

    kind: str
    notice: Time = 0
    """Mean time until a client reports a break, exponential."""
    hash: Literal["ideal", "toeplitz", "crc32c", "click"] = "ideal"
    """Hash of a connection: independent bits, or a real function of its addresses and ports."""
    addresses: int = Field(default=65_536, ge=1, le=2**32)
    """Client addresses, for hashes of addresses."""

    @model_validator(mode="after")
    def _notice_ends(self) -> Self:
        refuse(*too_long("clients.notice", self.notice))
        return self


class Open(Clients):
    """Connections that begin independently of each other, a Poisson process."""

    kind: Literal["open"] = "open"
    concurrent: float | None = Field(default=None, gt=0, examples=[70_000.0])
    """Mean number under way once the run has settled."""
    per_second: float | None = Field(default=None, gt=0, examples=[3500.0])
    """Mean number that begin in a second."""
    length: Law = Field(discriminator="kind")
    """How long each lasts, a time."""
    gap: Time = 0
    """Time between packets that cross the balancer; 0: at every instant."""
    retry: Time | None = None
    """After a break, time until the client begins again with what is left; left out, it never does."""

    @model_validator(mode="after")
    def _one_pace(self) -> Self:
        given = {name: getattr(self, name) for name in ("concurrent", "per_second")}
        found = " and ".join(f"{name} = {show(value)}" for name, value in given.items() if value is not None)
        problems = list(law_problems("clients.length", self.length))
        if (self.concurrent is None) == (self.per_second is None):
            problems.append(f"clients: {found or 'neither'} given; write exactly one of {', '.join(given)}")
        elif self.concurrent is not None and not problems and not self.length.mean_ps(None):
            problems.append(
                f"clients.concurrent: connections that last 0 are never under way, so {self.concurrent:g} "
                "cannot be; write per_second, or a length above 0"
            )
        refuse(*problems)
        return self

    def rate(self, duration: int) -> float:
        """Return the mean connections that begin per second, the same for every duration."""
        if self.per_second is not None:
            return self.per_second
        assert self.concurrent is not None  # exactly one is
        return self.concurrent * SECOND / self.length.mean_ps(None)

    def live(self, duration: int) -> float:
        """Return the mean number under way once the run has settled (Little's law)."""
        return self.rate(duration) * self.length.mean_ps(None) / SECOND


class Urls(Clients):
    """Processes that ask for URLs, each at most once at a time: the client of the Cheetah paper (NSDI 2020).

    A process launches a request every 1 / rate(t) + overhead. The rate is `low`, rises after `start` to
    `high` and is back at `stop`, as a squared sine. URLs differ in length and size.
    """

    kind: Literal["urls"] = "urls"
    processes: int = Field(default=4, ge=1, le=10**5)
    """Client processes."""
    urls: int = Field(default=908, ge=1, le=10**7)
    """URLs of each process."""
    low: float = Field(default=480.0, gt=0, le=10**7)
    """Launches per second of a process before `start` and after `stop`, without overhead."""
    high: float = Field(default=800.0, gt=0, le=10**7)
    """Launches per second of a process halfway from `start` to `stop`, without overhead."""
    start: Time = Field(default=20 * SECOND, validate_default=False)
    """When the rate begins to rise."""
    stop: Time = Field(default=50 * SECOND, validate_default=False)
    """When it is low again."""
    overhead: Time = Field(default=500 * US, validate_default=False)
    """Added to every interval between launches."""
    lengths: TableName = Field(default="cheetah_hadoop_conn_duration_s", min_length=1, max_length=4096)
    """Table of lengths in seconds; a CSV file is relative to the scenario file."""
    sizes: TableName = Field(default="cheetah_hadoop_conn_size_kb", min_length=1, max_length=4096)
    """Table of sizes in kB of 1000 bytes; likewise."""
    levels: int = Field(default=33, ge=1, le=10**7)
    """Distinct lengths, and distinct sizes: equally frequent quantiles of either table."""
    pairing: Literal["rank", "independent"] = "rank"
    """Whether the longest are the largest, or sizes are dealt to lengths at random."""
    segment: int = Field(default=1460, ge=1, le=10**9, examples=[1460])
    """Bytes that the server sends at a time, each time a crossing; evenly over the length."""
    again: bool = False
    """Whether a URL that broke is asked for again."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        problems = []
        if self.high < self.low:
            problems.append(f"clients.high: {self.high:g} is below low {self.low:g}; raise high or lower low")
        if self.stop <= self.start:
            stop, start = format_time(self.stop), format_time(self.start)
            problems.append(f"clients.stop: {stop} is not after start {start}; write a later stop")
        if self.levels > self.urls:
            problems.append(
                f"clients.levels: {self.levels} levels for {self.urls} URLs, so some never occur; "
                f"write {self.urls} or less"
            )
        if self.lengths == self.sizes:
            problems.append(
                f"clients.sizes: {show(self.sizes)} is the table of lengths too; "
                f"write one of sizes, e.g. {show('cheetah_hadoop_conn_size_kb')}"
            )
        refuse(*problems)
        return self

    def launch_rate(self, time: int) -> float:
        """Return the launches per second of one process at `time` in ps, overhead included."""
        done = min(max((time - self.start) / (self.stop - self.start), 0.0), 1.0)
        nominal = self.low + (self.high - self.low) * math.sin(math.pi * done) ** 2
        return 1 / (1 / nominal + self.overhead / SECOND)

    def rate(self, duration: int) -> float:
        """Return the mean launches per second of all processes up to `duration` ps."""
        rising = range(min(self.start, duration), min(self.stop, duration))
        before, after = rising.start, duration - rising.stop
        launches = before * self.launch_rate(0) + after * self.launch_rate(self.stop)
        if rising:
            points = (rising.start + len(rising) * (2 * k + 1) // (2 * STEPS) for k in range(STEPS))
            launches += len(rising) * math.fsum(map(self.launch_rate, points)) / STEPS
        return self.processes * launches / duration

    def live(self, duration: int) -> float:
        """Return the most that can be under way: every URL of every process."""
        return float(self.processes * self.urls)


AnyClients = Open | Urls

CLIENT_KINDS: Final[tuple[type[Part], ...]] = (Open, Urls)


def law_problems(path: str, law: Law) -> Iterator[str]:
    """Yield what makes a law of work no law of times: cycles, since there is no clock; beyond 2.5 hours."""
    for name, value in law:
        if isinstance(value, Work) and value.unit == "cycles":
            yield f'{path}.{name}: {value} need a clock, and here is none; write a time, e.g. "20s"'
        elif isinstance(value, Work):
            yield from too_long(f"{path}.{name}", value.ps(None))


def too_long(path: str, time: int) -> Iterator[str]:
    """Yield that a time is beyond what laws draw."""
    if time > LONGEST:
        yield f'{path}: {format_time(time)} is above 2.5 hours; write at most "150min"'
