"""How the network interface chooses a core for a packet."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import Identifier, Key, Period, TableSize, Time, Work, WorkText
from lbsim.scenario.part import Part
from lbsim.units import MS, format_time

Hash = Literal["toeplitz", "byte_sum"]


class Grow(Part):
    """Cores come into use one after another: the table is written anew, entry i holding core i mod n."""

    start: int = Field(default=1, ge=1, le=1024)
    """Cores in use at the start."""
    every: Period
    """Time between two additions; the last core is server.cores."""


class Scaling(Part):
    """A controller takes cores into use, and out of it, as the load asks."""

    start: int | None = Field(default=None, ge=1, le=1024)
    """Cores in use at the start; left out, all."""
    least: int = Field(default=1, ge=1, le=1024)
    """Fewest cores in use."""
    begin: Time = 0
    """When scaling is switched on."""

    @model_validator(mode="after")
    def _start_above_least(self) -> Self:
        if self.start is not None and self.start < self.least:
            refuse(
                f"nic.dispatch.scaling.start: {self.start} is below least {self.least}; "
                "raise start or lower least"
            )
        return self


class Rss(Part):
    """Receive side scaling: Toeplitz hash of the 5-tuple, then a fixed indirection table."""

    kind: Literal["rss"] = "rss"
    table: TableSize = Field(default=512, ge=1, le=4096)
    """Entries of the indirection table, a power of two."""
    key: Key = Field(default="microsoft", min_length=1, max_length=200)
    """Hash key: microsoft, mlx5, symmetric, random:N, or 40 to 52 bytes in hexadecimal."""
    hash: Hash = "toeplitz"
    """What names the entry. byte_sum: the plain sum of the bytes of addresses and ports, as the published
    CrossRSS experiments hash; it has no key."""
    fill: Literal["turn", "random"] = "turn"
    """Which core each entry holds. turn: entry i holds core i mod cores. random: a core drawn by a Mersenne
    Twister that is seeded with the server's number, as the published CrossRSS experiments do."""
    grow: Grow | None = None
    """Takes cores into use one after another; left out, all serve from the start."""


class RssRoundRobin(Part):
    """RSS whose table turns: at every tick each entry goes on to the next core ("rssrr" of RSS++'s code)."""

    kind: Literal["rssrr"] = "rssrr"
    table: TableSize = Field(default=512, ge=1, le=4096)
    """Entries of the indirection table, a power of two."""
    key: Key = Field(default="microsoft", min_length=1, max_length=200)
    """Hash key, as for rss."""
    hash: Hash = "toeplitz"
    """What names the entry, as for rss."""
    tick: Period = Field(default=100 * MS, validate_default=False)
    """Period of the turns."""


class Rsspp(Part):
    """RSS++ (CoNEXT 2019): a controller moves table entries from loaded to idle cores."""

    kind: Literal["rss++"] = "rss++"
    table: TableSize = Field(default=512, ge=1, le=4096)
    """Entries of the indirection table, a power of two."""
    key: Key = Field(default="microsoft", min_length=1, max_length=200)
    """Hash key, as for rss."""
    hash: Hash = "toeplitz"
    """What names the entry, as for rss."""
    tick: Period = Field(default=100 * MS, validate_default=False)
    """Shortest period of the controller."""
    tick_max: Period | None = None
    """Longest period; left out, the period is constant."""
    threshold: float = Field(default=0.02, ge=0, le=1)
    """Imbalance below which a core is left alone, in cores."""
    target_load: float = Field(default=0.8, gt=0, le=1)
    """Load per core that scaling of the number of cores aims at."""
    load: Literal["cycles", "cpu"] = "cycles"
    """What tells a core's load. cycles: of a core that polls, smoothed. cpu: its busy time since the last
    tick, as a kernel tells it."""
    load_period: Period = Field(default=100 * MS, validate_default=False)
    """Period of the smoothed load estimate."""
    queue_term: bool = True
    """Whether ring occupancy enters the load once several cores are saturated."""
    as_published: bool = True
    """Whether the solver uses its last pass, as the published code does, instead of its best."""
    begin: Time = 0
    """When the balancer is switched on; before, the table stays as it is."""
    scaling: Scaling | None = None
    """Takes cores into use and out of use; left out, all serve."""

    @model_validator(mode="after")
    def _longest_tick(self) -> Self:
        if self.tick_max is not None and self.tick_max < self.tick:
            tick_max, tick = format_time(self.tick_max), format_time(self.tick)
            refuse(f"nic.dispatch.tick_max: {tick_max} is below tick {tick}; raise tick_max or leave it out")
        return self


class Sprayer(Part):
    """Sprayer (HotNets 2018): packets spread by the low byte of their checksum, flows ignored."""

    kind: Literal["sprayer"] = "sprayer"


class TrafficClasses(Part):
    """Metron as RSS++'s authors re-implemented it: NIC rules on prefixes, moved by a controller."""

    kind: Literal["classes"] = "classes"
    rules: int = Field(default=1024, ge=2, le=65536)
    """Most rules the NIC holds: classes are pairs of the longest prefixes that stay within it, one a version
    of IP at least."""
    deal: int = Field(default=0, ge=0, le=2**31)
    """Rules are dealt to the cores in turn, in a random order drawn from this number."""
    controller: bool = True
    """Whether rules move at all."""
    tick: Period = Field(default=500 * MS, validate_default=False)
    """Period of the controller."""
    overload: float = Field(default=0.65, gt=0, le=1)
    """Load, or its forecast, above which a core gives half of its rules away."""
    underload: float = Field(default=0.35, ge=0, le=1)
    """Load below which a core takes rules, or may be merged with another."""
    hold: Period | None = None
    """Time for which a core that took part in a change is left alone; left out, 3s with scaling, else 1s."""
    scaling: Scaling | None = None
    """Takes cores into use and out of use; left out, all serve and rules move between them."""

    @model_validator(mode="after")
    def _scaled_by_the_controller(self) -> Self:
        if self.scaling is not None and not self.controller:
            refuse("nic.dispatch.scaling: given, but controller is false; leave scaling out or write true")
        return self

    @model_validator(mode="after")
    def _under_below_over(self) -> Self:
        if self.underload > self.overload:
            refuse(
                f"nic.dispatch.underload: {self.underload:g} is above overload {self.overload:g}; "
                "lower underload or raise overload"
            )
        return self


class Software(Part):
    """One more core takes all packets from the NIC and hands them to the others over queues in memory."""

    kind: Literal["software"] = "software"
    queues: Literal["shared", "round_robin", "stateful_rr", "stateful_load"] = "round_robin"
    """shared: one locked queue for all. round_robin: one a worker, packets dealt in turn. stateful_rr: flows
    dealt in turn. stateful_load: a new flow goes to the worker that was given the fewest."""
    capacity: int = Field(default=4096, ge=1, le=2**20)
    """Packets that fit into each queue."""
    per_batch: WorkText = Work(0)
    """Work of the dispatcher on each poll of its ring."""
    per_packet: WorkText = Work(0)
    """Work of the dispatcher on each packet."""
    hand_over: WorkText = Work(0)
    """Work of a worker on each packet that it takes from a queue, beside its own."""
    contention: WorkText = Work(0)
    """Cost of sharing a cache line, per packet: the dispatcher pays it for every worker that polled in vain,
    on average over its last batch; a worker on a shared queue for every other worker."""


class PolicyDispatch(Part):
    """A registered policy picks a core for each packet."""

    kind: Literal["policy"] = "policy"
    policy: Identifier = Field(min_length=1, max_length=64, examples=["round_robin"])
    """Its name, e.g. round_robin, random, power_of_two, least_loaded."""
