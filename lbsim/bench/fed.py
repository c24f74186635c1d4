"""RSS++ fed from arrays: packets (times, buckets, service times) made beforehand, a balancer every 10 ms.

What remains is the simulator itself, without a random draw. Both engines run the same balancer, the SimPy
process `lbsim.engine.control.RssppController` over the functions of `lbsim.nic.rsspp`, so they must agree
on every latency and every moved bucket.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, NamedTuple

import numpy as np
import simpy

from lbsim.bench.peers import MU, SIGMA, Outcome
from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.control import RssppController
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import Clock, Counters, Int64s
from lbsim.engine.rings import FifoRings
from lbsim.nic import round_robin_table
from lbsim.scenario import Rsspp
from lbsim.units import MS, US
from lbsim.workload.packets import Packets

CORES: Final = 8
RING: Final = 512
BUCKETS: Final = 512
FLOWS: Final = 4096
LOAD: Final = 0.75
SERVICE: Final = 2 * US  # mean
CHUNK: Final = 1 << 15
LONGEST: Final = 1 << 23  # packets; 230 MB of columns


class Fed(NamedTuple):
    """What a fed run saw; equal in both engines."""

    outcome: Outcome
    moves: int
    table: list[int]  # the indirection table at the end


def prepare(packets: int, seed: int = 1) -> list[Packets]:
    """Return Poisson packets of flows that are between one and three times as popular as the rarest."""
    rng = np.random.default_rng(seed)
    time = np.cumsum(np.rint(rng.exponential(SERVICE / (CORES * LOAD), packets)).astype(np.int64))
    weight = np.cumsum(rng.uniform(0.5, 1.5, FLOWS))
    flow = np.searchsorted(weight, rng.random(packets) * weight[-1], side="right").astype(np.int32)
    bucket = rng.integers(0, BUCKETS, FLOWS, dtype=np.int32)[flow]
    service = np.rint(rng.lognormal(MU, SIGMA, packets) * SERVICE).astype(np.int64)
    frame = np.full(packets, 1000, np.int32)
    parts = (slice(k, k + CHUNK) for k in range(0, packets, CHUNK))
    return [Packets(time[k], bucket[k], flow[k], frame[k], service[k]) for k in parts]


def first(trace: list[Packets], packets: int) -> list[Packets]:
    """Return the first packets of a trace, in whole chunks, at least one."""
    return trace[: max(1, packets // CHUNK)]


def _balancer(env: Clock, plane: Any, trace: list[Packets]) -> RssppController:
    spec = Rsspp(table=BUCKETS, tick=10 * MS, load_period=10 * MS)
    return RssppController(env, plane, spec, RING, until=int(trace[-1].time[-1]))


def lbsim_compiled(trace: list[Packets]) -> Fed:
    """Run a trace through the compiled data plane."""
    env = Clock()
    table = round_robin_table(BUCKETS, CORES)
    machine = Machine(ring=RING, burst=1, per_batch=0, warmup=0, delay=0)
    plane = CompiledPlane(iter(trace), machine, FifoRings(machine, CORES, table))
    balancer = _balancer(env, plane, trace)
    env.run()
    tally = plane.finish()
    latency = tally.latency
    p99 = latency.quantile(0.99) / US
    outcome = Outcome(tally.offered, latency.mean / US, p99, sum(tally.drops.values()) / tally.offered)
    return Fed(outcome, balancer.moves, table.tolist())


class SimpyServer:
    """The server as a SimPy user writes it: a resource per core, a process per packet.

    It also keeps the counters that the balancer reads, as `lbsim.engine.plane.Plane` names them.
    """

    def __init__(self, env: Clock) -> None:
        self.env, self.table = env, round_robin_table(BUCKETS, CORES)
        self.cores = [simpy.Resource(env) for _ in range(CORES)]
        self.busy, self.start, self.cost = [0] * CORES, [0] * CORES, [0] * CORES
        self.processed, self.dropped, self.polled = [0] * CORES, [0] * CORES, [0] * BUCKETS
        self.latencies: list[int] = []

    def source(self, trace: list[Packets]) -> Generator[simpy.Event, Any, None]:
        """Start the process of each packet at its time."""
        for chunk in trace:
            columns = (chunk.time.tolist(), chunk.bucket.tolist(), chunk.service.tolist())
            for time, bucket, service in zip(*columns, strict=True):
                yield self.env.timeout(time - self.env.now)
                number = int(self.table[bucket])
                core = self.cores[number]
                if core.count + len(core.queue) < RING:
                    self.env.process(self.packet(number, bucket, service))
                else:
                    self.dropped[number] += 1

    def packet(self, core: int, bucket: int, service: int) -> Generator[simpy.Event, Any, None]:
        """Wait for the core, be served, leave."""
        env, arrival = self.env, self.env.now
        with self.cores[core].request() as turn:
            yield turn
            self.start[core], self.cost[core] = env.now, service
            self.polled[bucket] += 1
            yield env.timeout(service)
            self.busy[core] += service
            self.cost[core] = 0
            self.processed[core] += 1
        self.latencies.append(env.now - arrival)

    def sync(self, now: int) -> None:
        """Nothing: every packet is on the clock."""

    def moved(self, now: int) -> None:
        """Nothing: buckets keep no state."""

    def in_transit(self) -> None:
        """Return None: buckets keep no state."""

    def counters(self, now: int) -> Counters:
        """Return the cumulative counters at now."""

        def column(values: list[int]) -> Int64s:
            return np.array(values, np.int64)

        done = [b + min(now - s, c) for b, s, c in zip(self.busy, self.start, self.cost, strict=True)]
        occupancy = [core.count + len(core.queue) for core in self.cores]
        return Counters(*map(column, (self.processed, done, self.dropped, occupancy, self.polled)))


def simpy_process_per_packet(trace: list[Packets]) -> Fed:
    """Run a trace through SimPy, a process per packet."""
    env = Clock()
    server = SimpyServer(env)
    env.process(server.source(trace))
    balancer = _balancer(env, server, trace)
    env.run()
    packets, latencies = sum(len(chunk.time) for chunk in trace), np.array(server.latencies)
    p99 = float(np.quantile(latencies, 0.99)) / US
    outcome = Outcome(packets, latencies.sum() / len(latencies) / US, p99, sum(server.dropped) / packets)
    return Fed(outcome, balancer.moves, server.table.tolist())
