"""The same 8-core RSS server in other simulators, each written in the style natural to it.

A packet belongs to one of 4096 flows, whose bucket names its core; the core serves its ring first come, first
served. Gaps are exponential, service is lognormal with mean 1 µs and coefficient of variation 1. Every peer
draws these itself and returns the mean and 99th percentile of the latency. Their clocks are float µs.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

SIGMA: Final = math.sqrt(math.log(2))  # lognormal with coefficient of variation 1 ...
MU: Final = -math.log(2) / 2  # ... and mean 1


class Server(NamedTuple):
    """What every engine simulates; `core_of[flow]` is what the indirection table says of its bucket."""

    core_of: list[int]
    cores: int = 8
    load: float = 0.8
    ring: int = 512

    @property
    def rate(self) -> float:
        """Packets per µs over all cores."""
        return self.cores * self.load

    @property
    def shares(self) -> list[float]:
        """Share of the packets that each core receives."""
        return [self.core_of.count(core) / len(self.core_of) for core in range(self.cores)]

    def mean_latency(self) -> float:
        """Return the exact mean latency in µs where no ring overflows (Pollaczek and Khinchine)."""
        second_moment = 2.0  # of the service time, µs²: mean² (1 + cv²)
        loads = [share * self.rate for share in self.shares]
        waits = (rho * second_moment / (2 * (1 - rho)) for rho in loads)
        return sum(share * (1 + wait) for share, wait in zip(self.shares, waits, strict=True))


class Outcome(NamedTuple):
    """What a run of an engine saw."""

    packets: int
    mean: float  # latency, µs
    p99: float  # µs
    drop_share: float


class Peer(NamedTuple):
    """Another simulator: the module it needs, and its model of the server as run(server, packets, seed)."""

    name: str
    module: str
    run: Callable[[Server, int, int], Outcome]


def simpy_process_per_packet(server: Server, packets: int, seed: int) -> Outcome:
    """SimPy as its documentation teaches it: a process per packet that requests a resource."""
    import simpy

    rng, env = random.Random(seed), simpy.Environment()
    cores = [simpy.Resource(env) for _ in range(server.cores)]
    latencies: list[float] = []

    def packet(core: Any, service: float) -> Generator[Any, Any, None]:
        arrival = env.now
        with core.request() as turn:
            yield turn
            yield env.timeout(service)
        latencies.append(env.now - arrival)

    def source() -> Generator[Any, Any, None]:
        for _ in range(packets):
            yield env.timeout(rng.expovariate(server.rate))
            core = cores[server.core_of[rng.randrange(len(server.core_of))]]
            service = rng.lognormvariate(MU, SIGMA)
            if core.count + len(core.queue) < server.ring:
                env.process(packet(core, service))

    env.process(source())
    env.run()
    return _outcome(packets, latencies)


def simpy_process_per_core(server: Server, packets: int, seed: int) -> Outcome:
    """SimPy as one writes it in a hurry: a process per core, rings as deques, no process per packet."""
    import simpy

    rng, env = random.Random(seed), simpy.Environment()
    rings: list[deque[tuple[float, float]]] = [deque() for _ in range(server.cores)]
    asleep: list[Any] = [None] * server.cores  # the event that an idle core waits for
    latencies: list[float] = []

    def core(k: int) -> Generator[Any, Any, None]:
        ring = rings[k]
        while True:
            if not ring:
                asleep[k] = env.event()
                yield asleep[k]
            arrival, service = ring[0]
            yield env.timeout(service)
            ring.popleft()
            latencies.append(env.now - arrival)

    def source() -> Generator[Any, Any, None]:
        for _ in range(packets):
            yield env.timeout(rng.expovariate(server.rate))
            k = server.core_of[rng.randrange(len(server.core_of))]
            service = rng.lognormvariate(MU, SIGMA)
            if len(rings[k]) < server.ring:
                rings[k].append((env.now, service))
                if asleep[k] is not None:
                    wake, asleep[k] = asleep[k], None
                    wake.succeed()

    for k in range(server.cores):
        env.process(core(k))
    env.process(source())
    env.run()
    return _outcome(packets, latencies)


def simpy_bare(server: Server, packets: int, seed: int) -> Outcome:
    """SimPy stripped to its event heap: two timeouts a packet, rings as deques, draws in NumPy blocks.

    The service of a ring's head is a bare timeout with a callback; a generator per core costs a fifth more.
    """
    import simpy

    rng, env = np.random.default_rng(seed), simpy.Environment()
    rings: list[deque[tuple[float, float]]] = [deque() for _ in range(server.cores)]
    latencies: list[float] = []
    timeout, record, core_of, size = simpy.Timeout, latencies.append, server.core_of, server.ring

    def served(event: Any) -> None:
        ring = event.value
        record(env.now - ring.popleft()[0])
        if ring:
            timeout(env, ring[0][1], ring).callbacks.append(served)

    def source() -> Generator[Any, Any, None]:
        for gap, flow, service in _draws(server, packets, rng):
            yield timeout(env, gap)
            ring = rings[core_of[flow]]
            if len(ring) < size:
                ring.append((env.now, service))
                if len(ring) == 1:
                    timeout(env, service, ring).callbacks.append(served)

    env.process(source())
    env.run()
    return _outcome(packets, latencies)


def _draws(server: Server, packets: int, rng: np.random.Generator) -> Generator[tuple[float, int, float]]:
    """Yield (gap, flow, service) of every packet."""
    block = 1 << 13
    for first in range(0, packets, block):
        n = min(block, packets - first)
        gaps = rng.exponential(1 / server.rate, n).tolist()
        flows = rng.integers(0, len(server.core_of), n).tolist()
        yield from zip(gaps, flows, rng.lognormal(MU, SIGMA, n).tolist(), strict=True)


def ciw_network(server: Server, packets: int, seed: int) -> Outcome:
    """Ciw: one network of a node per core.

    A random split of Poisson arrivals is a Poisson process per core, which is Ciw's own idiom and spares it
    a node that routes.
    """
    import ciw

    ciw.seed(seed)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate=server.rate * share) for share in server.shares],
        service_distributions=[ciw.dists.Lognormal(mean=MU, sd=SIGMA)] * server.cores,
        number_of_servers=[1] * server.cores,
        queue_capacities=[server.ring - 1] * server.cores,
        routing=[[0.0] * server.cores] * server.cores,
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(packets / server.rate)
    records = simulation.get_all_records()
    return _outcome(
        len(records), [r.exit_date - r.arrival_date for r in records if r.record_type == "service"]
    )


def salabim_components(server: Server, packets: int, seed: int) -> Outcome:
    """salabim: a component per packet, as generators (which need no greenlets), tracing and monitors off."""
    import salabim as sim

    sim.yieldless(False)
    env, rng = sim.Environment(trace=False), random.Random(seed)
    cores = [sim.Resource(monitor=False) for _ in range(server.cores)]
    latencies: list[float] = []

    class Packet(sim.Component):  # type: ignore[misc]
        def process(self) -> Generator[Any, Any, None]:
            arrival = env.now()
            core = cores[server.core_of[rng.randrange(len(server.core_of))]]
            service = rng.lognormvariate(MU, SIGMA)
            if len(core.claimers()) + len(core.requesters()) < server.ring:
                yield self.request(core)
                yield self.hold(service)
                self.release()
                latencies.append(env.now() - arrival)

    class Source(sim.Component):  # type: ignore[misc]
        def process(self) -> Generator[Any, Any, None]:
            for _ in range(packets):
                yield self.hold(rng.expovariate(server.rate))
                Packet()

    Source()
    env.run()
    return _outcome(packets, latencies)


PEERS: Final = (
    Peer("simpy process per packet", "simpy", simpy_process_per_packet),
    Peer("simpy process per core", "simpy", simpy_process_per_core),
    Peer("simpy bare events", "simpy", simpy_bare),
    Peer("ciw", "ciw", ciw_network),
    Peer("salabim", "salabim", salabim_components),
)


def _outcome(packets: int, latencies: Sequence[float]) -> Outcome:
    """Return the statistics; packets without a latency were dropped."""
    values = np.asarray(latencies)
    return Outcome(packets, float(values.mean()), float(np.quantile(values, 0.99)), 1 - len(values) / packets)
