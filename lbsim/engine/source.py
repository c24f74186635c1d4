"""The packets of a scenario, ready for a data plane: traffic x clock x service law x NIC hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbsim.nic import bucket_of, flow_hashes, parse_key
from lbsim.rng import stream
from lbsim.scenario import (
    Bimodal,
    Campus,
    CaptureFile,
    Exponential,
    Fixed,
    Flows,
    Law,
    Lognormal,
    Pareto,
    PolicyDispatch,
    Rate,
    Recorded,
    Scenario,
    ScenarioError,
    Sprayer,
    Table,
)
from lbsim.workload import laws
from lbsim.workload.arrivals import clock
from lbsim.workload.campus import campus
from lbsim.workload.capture import read_capture
from lbsim.workload.capture import traffic as capture_traffic
from lbsim.workload.distributions import published, read_table
from lbsim.workload.flows import flow_traffic
from lbsim.workload.packets import Packets, Traffic

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

SPRAYER_BUCKETS = 256  # one per value of the checksum's low byte


@dataclass(frozen=True)
class Source:
    """Where a run's packets come from; `packets()` starts the same stream anew each time."""

    scenario: Scenario
    traffic: Traffic
    pps: float  # mean arrival rate
    end: int  # ps; packets arrive before it
    hashes: NDArray[np.uint32]  # Toeplitz hash of each flow; zeros where the dispatch needs none

    def packets(self) -> Iterator[Packets]:
        """Yield chunks of packets with arrival times below `end`."""
        s = self.scenario
        times = clock(s.arrivals, self.pps, self.traffic.rate, self._stream("gaps"))
        law = service_law(s.server.cost.work, s.server.clock)
        draws = self._stream("service")
        fixed = s.server.cost.per_packet.ps(s.server.clock)
        sprayer = isinstance(s.nic.dispatch, Sprayer)
        buckets = self._flow_buckets()
        for flow, frame, checksum, recorded in self.traffic.chunks(sprayer):
            time = times(recorded if len(recorded) else flow.astype(np.int64))
            service = law.draw(draws, len(flow))
            if fixed:
                service += fixed
            bucket = checksum.astype(np.int32) if sprayer else buckets[flow]
            chunk = Packets(time, bucket, flow, frame, service)
            if time[-1] >= self.end:
                n = int(np.searchsorted(time, self.end, side="left"))
                yield chunk.part(0, n)
                return
            yield chunk

    def _flow_buckets(self) -> Int32s:
        dispatch = self.scenario.nic.dispatch
        if isinstance(dispatch, Sprayer | PolicyDispatch):
            return np.zeros(len(self.traffic.flows), np.int32)
        return bucket_of(self.hashes, dispatch.table).astype(np.int32)

    def _stream(self, name: str) -> np.random.Generator:
        return stream(self.scenario.seed, name, self.scenario.replication)


def open_source(scenario: Scenario) -> Source:
    """Read or build the traffic of a scenario and settle its rate and its end.

    Raises ScenarioError where a file cannot be read or the run would be empty.
    """
    traffic = _traffic(scenario)
    pps = _rate(scenario, traffic)
    end = scenario.duration
    if end is None:
        if traffic.length is None:
            raise ScenarioError(
                ['duration: missing, and this traffic never ends; set it, e.g. duration = "1s"']
            )
        if not traffic.rate > 0:
            fix = 'set it, e.g. duration = "1s"'
            raise ScenarioError([f"duration: missing, and the capture spans no time; {fix}"])
        end = round(traffic.length * traffic.rate / pps) + 1
    if scenario.warmup >= end:
        raise ScenarioError(
            [f"warmup: {scenario.warmup} ps is not below the end of arrivals at {end} ps; shorten it"]
        )
    dispatch = scenario.nic.dispatch
    key = parse_key("microsoft" if isinstance(dispatch, Sprayer | PolicyDispatch) else dispatch.key)
    needs_hash = not isinstance(dispatch, Sprayer)
    n = len(traffic.flows)
    hashes = flow_hashes(traffic.flows, key) if needs_hash else np.zeros(n, np.uint32)
    return Source(scenario, traffic, pps, end, hashes)


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
    if isinstance(arrivals, Recorded) and not traffic.rate > 0:
        problem = "recorded, but the capture spans no time; write poisson, deterministic or batched"
        raise ScenarioError([f"arrivals.kind: {problem}"])
    if isinstance(arrivals.rate, Rate):
        return arrivals.rate.pps(traffic.mean_frame)
    if arrivals.load is not None:
        return arrivals.load * scenario.server.capacity()
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
