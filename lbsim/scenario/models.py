"""What a scenario is: all its parts, checked together."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from lbsim.scenario.chain import Chain
from lbsim.scenario.cluster import BALANCER_KINDS, Cluster
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
from lbsim.scenario.fields import PositiveTime, Time, Title
from lbsim.scenario.functions import FUNCTION_KINDS
from lbsim.scenario.machine import PerBucket, Server, Shared
from lbsim.scenario.measure import Measure
from lbsim.scenario.metron import FlowDirector, Metron
from lbsim.scenario.nic import Nic
from lbsim.scenario.part import Part
from lbsim.scenario.sense import (
    arrivals_problems,
    measure_problems,
    nic_problems,
    packets_of,
    server_problems,
    warmup_problems,
)
from lbsim.scenario.sense_chain import chain_problems
from lbsim.scenario.sense_cluster import cluster_problems
from lbsim.scenario.traffic import (
    AnyArrivals,
    AnyTraffic,
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
    cluster: Cluster | None = None
    """Servers behind a balancer; left out, there is one server, and no balancer."""
    chain: Chain | None = None
    """What servers do with packets; left out, what `server.cost` says."""
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
    def _can_arrive(cls, arrivals: AnyArrivals, info: ValidationInfo) -> AnyArrivals:
        refuse(*arrivals_problems(arrivals, info.data.get("traffic")))
        return arrivals

    @field_validator("cluster")
    @classmethod
    def _can_balance(cls, cluster: Cluster | None, info: ValidationInfo) -> Cluster | None:
        if cluster is not None:
            refuse(*cluster_problems(cluster, info.data.get("arrivals"), info.data.get("duration")))
        return cluster

    @field_validator("chain")
    @classmethod
    def _can_run(cls, chain: Chain | None, info: ValidationInfo) -> Chain | None:
        if chain is not None:
            refuse(*chain_problems(chain, info.data))
        return chain

    @field_validator("nic")
    @classmethod
    def _can_dispatch(cls, nic: Nic, info: ValidationInfo) -> Nic:
        refuse(*nic_problems(nic, info.data))
        return nic

    @field_validator("server")
    @classmethod
    def _can_serve(cls, server: Server, info: ValidationInfo) -> Server:
        refuse(*server_problems(server, info.data))
        return server

    @field_validator("measure")
    @classmethod
    def _can_record(cls, measure: Measure, info: ValidationInfo) -> Measure:
        refuse(*measure_problems(measure, info.data))
        return measure

    @property
    def cores(self) -> int:
        """Return the cores that serve packets, over all servers; a software dispatcher is not one of them."""
        return self.server.cores * (self.cluster.servers if self.cluster else 1)

    def expected_packets(self) -> float | None:
        """Return roughly how many packets arrive; None where only the capture knows."""
        return packets_of(dict(self))

    def expected_units(self) -> float | None:
        """Return roughly how many units of work a run takes: packets at this grain."""
        return self.expected_packets()


_CHOSEN: Final[tuple[type[Part], ...]] = (
    *(Flows, Campus, CaptureFile),
    *(Poisson, Deterministic, OnOff, Batched, Recorded, Closed),
    *BALANCER_KINDS,
    *FUNCTION_KINDS,
    *(Rss, Rsspp, RssRoundRobin, Sprayer, TrafficClasses, Metron, FlowDirector, Software, PolicyDispatch),
    *(Fixed, Exponential, Lognormal, Pareto, Bimodal, Table),
    *(PerBucket, Shared),
)

KINDS: Final[dict[str, type[Part]]] = {part.model_fields["kind"].default: part for part in _CHOSEN}
"""Every part of this grain that is chosen by its kind; no two share a kind."""
