"""The balancer of the request grain: how it picks a server, what it knows of them, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from lbsim.scenario.clients import too_long
from lbsim.scenario.consistency import MOST_SLOTS, Adapt
from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import Clock, Identifier, Period, Time
from lbsim.scenario.part import Part
from lbsim.units import MS


class Signal(Part):
    """What the balancer knows of its servers' load.

    Reporters measure and send at their own times; until the first report comes, a server's load is 0.
    """

    metric: Literal["live", "connections", "cpu", "bytes", "latency"] = "live"
    """live: the requests under way at each server, as the balancer counts them itself. From reports:
    connections (requests in the server), cpu (percent busy since the report before), bytes (answered since
    then), latency (smoothed response time)."""
    period: Period | None = None
    """Time between two reports."""
    spread: Time = 0
    """Each report comes later by up to this, uniform, and so do those after it."""
    delay: Time = 0
    """Time from a measurement until the balancer knows it."""
    loss: float = Field(default=0.0, ge=0, le=1)
    """Share of reports that are lost."""
    machines: int | None = Field(default=None, ge=1, le=10**6, examples=[4])
    """Reporters; server s belongs to reporter s % machines. Left out: one for each server."""
    synchronised: bool = False
    """Whether all report at once; else each begins at a random time within a period."""
    tick: Time = Field(default=10 * MS, validate_default=False)
    """Tick in which cpu counts busy and idle time, as Linux does in /proc/stat; 0: exactly."""

    @model_validator(mode="after")
    def _reports_make_sense(self) -> Self:
        refuse(*self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        if self.metric == "live":
            unneeded = ("period", "spread", "delay", "loss", "machines", "synchronised", "tick")
            for name in unneeded:
                if getattr(self, name) != type(self).model_fields[name].default:
                    yield (
                        f"balancer.signal.{name}: given, but a live signal needs no reports; "
                        "leave it out, or write metric = one of connections, cpu, bytes, latency"
                    )
            return
        if self.period is None:
            yield f'balancer.signal.period: missing, and {self.metric} is reported; write e.g. "10ms"'
        if self.metric != "cpu" and self.tick != type(self).model_fields["tick"].default:
            yield f"balancer.signal.tick: given, but {self.metric} has no ticks; leave it out"
        if self.loss == 1:
            yield "balancer.signal.loss: 1 leaves no report; write less than 1"
        for name in ("spread", "delay", "tick"):
            yield from too_long(f"balancer.signal.{name}", getattr(self, name))


class BalancerCost(Part):
    """Time that requests spend in the balancer: its cores serve them one by one, each by hash.

    Cycles a packet are those published for Cheetah (NSDI 2020) at the rate of requests that is expected; of
    users that is as many as could be if none ever queued.
    """

    mode: Literal["hash_rss", "hash_dpdk", "stateless", "stateful", "beamer", "cuckoo"]
    """How it keeps to a server."""
    cores: int = Field(default=4, ge=1, le=1024)
    """Its cores."""
    clock: Clock = Field(default=2.3e9, validate_default=False)
    """Their clock."""
    packets: float = Field(default=7.0, gt=0, le=10**6)
    """Packets of a request that cross it on their way to the server."""
    delay: Time = 0
    """Time on the way to the server and back, both together; the client waits for it."""

    @model_validator(mode="after")
    def _not_too_long(self) -> Self:
        refuse(*too_long("balancer.cost.delay", self.delay))
        return self


class RequestBalancer(Part):
    """It picks a server for each request, or where there are sessions for the first of each."""

    policy: Identifier = Field(min_length=1, max_length=64, examples=["power_of_two"])
    """Name of the policy that picks."""
    choices: int = Field(default=2, ge=1, le=10**6)
    """Servers that a policy of random choices compares."""
    slots: int | None = Field(default=None, ge=1, le=MOST_SLOTS, examples=[65_537])
    """Slots of its table; left out, as many as the policy says."""
    adapt: Adapt | None = None
    """Adapt the weights to the signal while running; left out, they stay."""
    signal: Signal = Field(default_factory=Signal)
    """What policies see of the servers' load."""
    cost: BalancerCost | None = None
    """Time spent in the balancer; left out, none."""
