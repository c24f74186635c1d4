"""The packets of a scenario, ready for a data plane: traffic x clock x service law x NIC hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbsim.nic import bucket_of, flow_hashes, parse_key
from lbsim.nic.classes import classes_of
from lbsim.rng import stream
from lbsim.scenario import (
    Bimodal,
    Campus,
    CaptureFile,
    Closed,
    Exponential,
    Fixed,
    Flows,
    Law,
    Lognormal,
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
from lbsim.scenario.sense import series_problems
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


@dataclass(frozen=True)
class Source:
    """Where a run's packets come from; `packets()` starts the same stream anew each time."""

    scenario: Scenario
    traffic: Traffic
    pps: float  # mean arrival rate, where a profile has factor 1; of a closed loop what the link carries
    end: int  # ps; packets arrive before it
    hashes: NDArray[np.uint32]  # Toeplitz hash of each flow; zeros where the dispatch needs none
    buckets: Int32s  # entry of the indirection table of each flow; zeros where no table names flows

    def packets(self) -> Iterator[Packets]:
        """Yield chunks of packets with arrival times below `end`; a closed loop makes its own."""
        s = self.scenario
        assert not isinstance(s.arrivals, Closed)
        times = clock(s.arrivals, self.pps, self.traffic.rate, self._stream("gaps"))
        law = service_law(s.server.cost.work, s.server.clock)
        draws = self._stream("service")
        fixed, per_byte = s.server.fixed_ps, s.server.per_byte_ps
        sprayer = isinstance(s.nic.dispatch, Sprayer)
        for flow, frame, checksum, recorded in self.traffic.chunks(sprayer):
            time = times(recorded if len(recorded) else flow.astype(np.int64))
            service = law.draw(draws, len(flow))
            if fixed:
                service += fixed
            if per_byte:
                service += np.multiply(frame, per_byte, dtype=np.int64)
            bucket = checksum.astype(np.int32) if sprayer else self.buckets[flow]
            chunk = Packets(time, bucket, flow, frame, service)
            if time[-1] >= self.end:
                n = int(np.searchsorted(time, self.end, side="left"))
                yield chunk.part(0, n)
                return
            yield chunk

    def _stream(self, name: str) -> np.random.Generator:
        return stream(self.scenario.seed, name, self.scenario.replication)


def open_source(scenario: Scenario) -> Source:
    """Read or build the traffic of a scenario and settle its rate and its end.

    Raises ScenarioError where a file cannot be read or the run would be empty.
    """
    traffic = _traffic(scenario)
    pps = _rate(scenario, traffic)
    end = scenario.duration or _end_of_capture(scenario, traffic, pps)
    if scenario.warmup >= end:
        raise ScenarioError(
            [f"warmup: {scenario.warmup} ps is not below the end of arrivals at {end} ps; shorten it"]
        )
    if scenario.duration is None:  # else known to the scenario itself
        refuse(*series_problems(scenario.measure, end))
    return Source(scenario, traffic, pps, end, *_names(scenario, traffic.flows))


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
        case TrafficClasses(rules=most):
            return hashes, classes_of(flows, most).of
        case PolicyDispatch():
            return flow_hashes(flows, parse_key("microsoft")), buckets
        case Rss(table=table, key=key) | Rsspp(table=table, key=key) | RssRoundRobin(table=table, key=key):
            hashes = flow_hashes(flows, parse_key(key))
            return hashes, bucket_of(hashes, table).astype(np.int32)
    raise AssertionError(dispatch)


def _traffic(scenario: Scenario) -> Traffic:
    match scenario.traffic:
        case Flows() as spec:
            return flow_traffic(spec, scenario.seed, scenario.replication)
        case Campus(trace=trace):
            return campus(trace, scenario.seed, scenario.replication)
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
        return arrivals.load * scenario.server.capacity(traffic.mean_frame)
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
