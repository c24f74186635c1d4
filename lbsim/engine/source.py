"""The packets of a scenario, ready for a data plane: traffic x clock x service law x NIC hash.

What never reaches a ring is taken out here: what the NIC cannot take, and what the part of a service chain
that runs in hardware deals with. So both engines see the same packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbsim.chain.deploy import FILTERED, OFFLOADED, Deployment, deploy
from lbsim.chain.hardware import hardware_named
from lbsim.nic import bucket_of, byte_sums, classes_of, flow_hashes, parse_key, taken
from lbsim.rng import stream
from lbsim.scenario import (
    Bimodal,
    Campus,
    CaptureFile,
    Closed,
    Exponential,
    Fixed,
    FlowDirector,
    Flows,
    Law,
    Lognormal,
    Metron,
    NicLimit,
    Pareto,
    PolicyDispatch,
    Rate,
    Recorded,
    Rss,
    Rsspp,
    RssRoundRobin,
    Scenario,
    ScenarioError,
    Software,
    Sprayer,
    Table,
    TrafficClasses,
)
from lbsim.scenario.errors import refuse
from lbsim.scenario.metron import RSS_ENTRIES
from lbsim.scenario.sense import series_problems
from lbsim.units import SECOND, WIRE_OVERHEAD
from lbsim.workload import laws
from lbsim.workload.arrivals import clock, warp
from lbsim.workload.campus import campus
from lbsim.workload.capture import read_capture
from lbsim.workload.capture import traffic as capture_traffic
from lbsim.workload.distributions import published, read_table
from lbsim.workload.flows import flow_traffic
from lbsim.workload.packets import FlowTable, Packets, Traffic

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

SPRAYER_BUCKETS = 256  # one per value of the checksum's low byte


@dataclass
class Lost:
    """Packets of the measured cohort that never reach a ring, or are served in vain; counted as they come."""

    limited: int = 0  # beyond what the NIC takes
    limited_bytes: int = 0
    offloaded: int = 0  # dealt with by switch or NIC
    filtered: int = 0  # dropped by a function of the chain, after they were served

    def begin(self) -> None:
        """Begin to count anew."""
        self.limited = self.limited_bytes = self.offloaded = self.filtered = 0


class Gate:
    """The NIC's limit: a token bucket, full at first."""

    def __init__(self, limit: NicLimit | None, mean_frame: float) -> None:
        self.limit = limit
        self.depth = round(limit.burst * SECOND / limit.rate.pps(mean_frame)) if limit else 0
        self.level, self.at = self.depth, 0

    def room(self, p: Packets) -> NDArray[np.bool_]:
        """Return which packets it takes, bool[n]; the next ones find what these leave."""
        if self.limit is None:
            return np.ones(len(p.time), np.bool_)
        costs = _costs(self.limit, p.frame)
        room, self.level, self.at = taken(self.level, self.at, self.depth, p.time, costs)
        return room


@dataclass(frozen=True)
class Source:
    """Where a run's packets come from; `packets()` starts the same stream anew each time."""

    scenario: Scenario  # with the clock of its hardware
    traffic: Traffic
    pps: float  # mean arrival rate, where a profile has factor 1; of a closed loop what the link carries
    end: int  # ps; packets arrive before it
    hashes: NDArray[np.uint32]  # hash of each flow; zeros where the dispatch needs none
    buckets: Int32s  # entry of the indirection table of each flow; zeros where no table names flows
    deployment: Deployment | None = None  # the service chain in place
    lost: Lost = field(default_factory=Lost)

    def packets(self) -> Iterator[Packets]:
        """Yield chunks of packets that reach the rings, below `end`; a closed loop makes its own."""
        self.lost.begin()
        by = self.scenario.chain.offload if self.scenario.chain else "none"
        gate = Gate(self.scenario.nic.limit, self.traffic.mean_frame)
        for chunk in self._offered():
            if by == "switch":
                chunk = self._not_offloaded(chunk)
            arrived = self._taken(gate, chunk)
            if by == "nic":
                arrived = self._not_offloaded(arrived)
            if self.deployment is not None:
                filtered = self.deployment.fate[arrived.flow] == FILTERED
                self.lost.filtered += int(np.count_nonzero(filtered & self._measured(arrived)))
            if len(arrived.time):
                yield arrived

    def _offered(self) -> Iterator[Packets]:
        """Yield chunks of all packets that clients send below `end`."""
        s = self.scenario
        assert not isinstance(s.arrivals, Closed)
        times = clock(s.arrivals, self.pps, self.traffic.rate, self._stream("gaps"))
        law = service_law(s.server.cost.work, s.server.clock)
        draws = self._stream("service")
        sprayer = isinstance(s.nic.dispatch, Sprayer)
        for flow, frame, checksum, recorded in self.traffic.chunks(sprayer):
            time = times(recorded if len(recorded) else flow.astype(np.int64))
            service = self._service(law.draw(draws, len(flow)), flow, frame)
            bucket = checksum.astype(np.int32) if sprayer else self.buckets[flow]
            chunk = Packets(time, bucket, flow, frame, service)
            if time[-1] >= self.end:
                n = int(np.searchsorted(time, self.end, side="left"))
                yield chunk.part(0, n)
                return
            yield chunk

    def _service(self, service: Int64s, flow: Int32s, frame: Int32s) -> Int64s:
        """Return what packets cost a core, beside the cost of a batch; `service` is what the law says."""
        server, chain, queue = self.scenario.server, self.deployment, self.scenario.nic.queue
        if server.fixed_ps:
            service += server.fixed_ps
        if server.per_byte_ps:
            service += np.multiply(frame, server.per_byte_ps, dtype=np.int64)
        if chain is not None:
            service += chain.fixed[flow] + chain.per_byte[flow] * frame
        if queue is not None:  # it averages over its ring, so sizes of single packets do not matter
            least = queue.per_packet + round(queue.per_byte * self.traffic.mean_frame)
            return np.maximum(service, least)
        return service

    def _not_offloaded(self, p: Packets) -> Packets:
        """Return the packets that no hardware deals with."""
        if self.deployment is None:
            return p
        done = self.deployment.fate[p.flow] == OFFLOADED
        if not done.any():
            return p
        self.lost.offloaded += int(np.count_nonzero(done & self._measured(p)))
        return p.where(~done)

    def _taken(self, gate: Gate, p: Packets) -> Packets:
        """Return the packets that the NIC takes."""
        room = gate.room(p)
        if room.all():
            return p
        beyond = ~room & self._measured(p)
        self.lost.limited += int(np.count_nonzero(beyond))
        self.lost.limited_bytes += int(p.frame[beyond].sum())
        return p.where(room)

    def _measured(self, p: Packets) -> NDArray[np.bool_]:
        return p.time >= self.scenario.warmup

    def _stream(self, name: str) -> np.random.Generator:
        return stream(self.scenario.seed, name, self.scenario.replication)


def open_source(scenario: Scenario) -> Source:
    """Read or build the traffic of a scenario and settle its rate and its end.

    Raises ScenarioError where a file cannot be read or the run would be empty.
    """
    scenario = with_hardware(scenario)
    traffic = _traffic(scenario)
    pps = _rate(scenario, traffic)
    end = scenario.duration or _end_of_capture(scenario, traffic, pps)
    if scenario.warmup >= end:
        raise ScenarioError(
            [f"warmup: {scenario.warmup} ps is not below the end of arrivals at {end} ps; shorten it"]
        )
    if scenario.duration is None:  # else known to the scenario itself
        refuse(*series_problems(scenario.measure, end))
    deployment = deploy(scenario, traffic.flows) if scenario.chain else None
    return Source(scenario, traffic, pps, end, *_names(scenario, traffic.flows), deployment)


def with_hardware(scenario: Scenario) -> Scenario:
    """Return the scenario with the clock of its hardware, where it says none itself.

    Raises ScenarioError for hardware that is not known.
    """
    server = scenario.server
    if server.hardware is None:
        return scenario
    machine = hardware_named("server.hardware", server.hardware)
    clock = machine.clock if server.clock is None else server.clock
    return scenario.model_copy(update={"server": server.model_copy(update={"clock": clock})})


def _costs(limit: NicLimit, frame: Int32s) -> Int64s:
    """Return the ps that each frame takes at the limit's rate."""
    if limit.rate.unit == "pps":
        return np.full(len(frame), round(SECOND / limit.rate.value), np.int64)
    costs: Int64s = np.rint((frame + WIRE_OVERHEAD) * (8 * SECOND / limit.rate.value)).astype(np.int64)
    return costs


def _end_of_capture(scenario: Scenario, traffic: Traffic, pps: float) -> int:
    """Return the ps just after the last packet of traffic that ends by itself."""
    if traffic.length is None:
        raise ScenarioError(['duration: missing, and this traffic never ends; set it, e.g. duration = "1s"'])
    if not traffic.rate > 0:
        fix = 'set it, e.g. duration = "1s"'
        raise ScenarioError([f"duration: missing, and the capture spans no time; {fix}"])
    end = np.array([round(traffic.length * traffic.rate / pps)])
    profile = None if isinstance(scenario.arrivals, Closed) else scenario.arrivals.profile
    return int((warp(profile)(end) if profile else end)[0]) + 1


def _names(scenario: Scenario, flows: FlowTable) -> tuple[NDArray[np.uint32], Int32s]:
    """Return hash and bucket of each flow, as far as its dispatch looks at them."""
    dispatch, n = scenario.nic.dispatch, len(flows)
    hashes, buckets = np.zeros(n, np.uint32), np.zeros(n, np.int32)
    match dispatch:
        case Sprayer() | Software():
            return hashes, buckets
        case Metron(scope="rss", key=key):
            hashes = flow_hashes(flows, parse_key(key))
            return hashes, bucket_of(hashes, RSS_ENTRIES).astype(np.int32)
        case TrafficClasses(rules=most) | Metron(rules=most):
            return hashes, classes_of(flows, most).of
        case FlowDirector(table=table, key=key):
            hashes = flow_hashes(flows, parse_key(key))
            return hashes, bucket_of(hashes, table).astype(np.int32)
        case PolicyDispatch():
            return flow_hashes(flows, parse_key("microsoft")), buckets
        case Rss() | Rsspp() | RssRoundRobin():
            table, key = dispatch.table, dispatch.key
            hashes = flow_hashes(flows, parse_key(key)) if dispatch.hash == "toeplitz" else byte_sums(flows)
            return hashes, bucket_of(hashes, table).astype(np.int32)
    raise AssertionError(dispatch)


def _traffic(scenario: Scenario) -> Traffic:
    match scenario.traffic:
        case Flows() as spec:
            return flow_traffic(spec, scenario.seed, scenario.replication)
        case Campus(trace=trace, recording=None):
            return campus(trace, scenario.seed, scenario.replication)
        case Campus(trace=trace, recording=int() as recording):
            return campus(trace, recording)
        case CaptureFile() as spec:
            capture = read_capture(Path(spec.file), partial=spec.partial, max_bytes=spec.max_bytes)
            return capture_traffic(capture, spec.loops)
    raise AssertionError(scenario.traffic)


def _rate(scenario: Scenario, traffic: Traffic) -> float:
    """Return the mean packet rate that rate, load or speed asks for."""
    arrivals = scenario.arrivals
    if isinstance(arrivals, Closed):
        return arrivals.link.pps(traffic.mean_frame)
    if isinstance(arrivals, Recorded) and not traffic.rate > 0:
        problem = "recorded, but the capture spans no time; write poisson, deterministic or batched"
        raise ScenarioError([f"arrivals.kind: {problem}"])
    if isinstance(arrivals.rate, Rate):
        return arrivals.rate.pps(traffic.mean_frame)
    if arrivals.load is not None:
        servers = scenario.cluster.initial if scenario.cluster else 1
        return arrivals.load * servers * scenario.server.capacity(traffic.mean_frame)
    assert isinstance(arrivals, Recorded)
    assert arrivals.speed is not None
    return traffic.rate * arrivals.speed


def service_law(law: Law, hertz: float | None) -> laws.ServiceLaw:
    """Return the sampler of a scenario's service law, in ps."""
    match law:
        case Fixed(time=time):
            return laws.fixed(time.ps(hertz))
        case Exponential(mean=mean):
            return laws.exponential(mean.ps(hertz))
        case Lognormal(mean=mean, cv=cv):
            return laws.lognormal(mean.ps(hertz), cv)
        case Pareto(mean=mean, alpha=alpha):
            return laws.pareto(mean.ps(hertz), alpha)
        case Bimodal(short=short, long=long, share_long=share):
            return laws.bimodal(short.ps(hertz), long.ps(hertz), share)
        case Table(table=name, mean=mean):
            table = read_table(name) if name.endswith(".csv") else published(name)
            return laws.table(table, mean.ps(hertz))
    raise AssertionError(law)
