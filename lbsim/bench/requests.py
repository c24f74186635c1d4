"""Requests per second: a closed loop under round robin, and an open one under the power of two choices.

100 servers of one core serve first come, first served. Work and thoughts are exponential; random generation
is included. The peers are two SimPy scripts with a process for each user, or for each request, and the same
draws, so they see the same latencies, to the last picosecond: one as SimPy's users write it, with a resource
for each server, and one as lean as we can write it, with one timeout for a request's whole stay.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import simpy

from lbsim.balancer import policies
from lbsim.balancer.balancer import Balancer
from lbsim.bench.peers import Outcome
from lbsim.engine.plane import Clock
from lbsim.engine.request.compiled import CompiledPlane
from lbsim.engine.request.fast import FastPlane
from lbsim.engine.request.plane import INDEPENDENT, Servers, Source, Tally
from lbsim.engine.request.reference import ReferencePlane
from lbsim.engine.request.source import servers_of, source_of
from lbsim.rng import coin
from lbsim.scenario import (
    Cpu,
    Exponential,
    FlowTable,
    Independent,
    RequestBalancer,
    RequestScenario,
    RequestServers,
    Users,
    Work,
)
from lbsim.scenario.request_clients import AnyRequestClients
from lbsim.units import MS, SECOND, US

SERVERS: Final = 100
USERS: Final = 1_000
LOAD: Final = 0.8
SERVICE: Final = MS  # mean
THINK: Final = 10 * MS  # mean

CASES: Final[dict[str, tuple[str, AnyRequestClients]]] = {
    "1,000 users in turn": ("round_robin", Users(users=USERS, think=Exponential(mean=Work(float(THINK))))),
    "power of two choices": ("power_of_two", Independent(load=LOAD)),
}
"""Policy and clients of each case."""


class Clients(NamedTuple):
    """What an engine is given."""

    policy: str
    source: Source
    servers: Servers
    seed: int  # of the policy's coins


def clients_of(case: str, requests: int, seed: int) -> Clients:
    """Return the clients and servers of a case for about so many requests, in replication `seed`."""
    policy, clients = CASES[case]
    scenario = RequestScenario(
        replication=seed,
        duration=SECOND,
        clients=clients,
        balancer=RequestBalancer(policy=policy),
        servers=RequestServers(number=SERVERS, service=Cpu(work=Exponential(mean=Work(float(SERVICE))))),
    )
    rate = scenario.rate()
    assert rate is not None
    lasting = scenario.model_copy(update={"duration": max(1, round(requests * SECOND / rate))})
    coins = int(coin(scenario.seed, scenario.replication, 0))
    return Clients(policy, source_of(lasting), servers_of(lasting), coins)


def lbsim(plane: str, case: str, requests: int, seed: int) -> Outcome:
    """Run a case in one of lbsim's planes: "fast", "general" or "reference"."""
    policy, source, servers, coins = clients_of(case, requests, seed)
    balancer = Balancer(
        policies()[policy], SERVERS, SERVERS, np.ones(SERVERS), consistency=FlowTable(capacity=1), seed=coins
    )
    tally: Tally
    if plane == "reference":
        tally = ReferencePlane(Clock(), balancer, source, servers).finish()
    else:
        tally = (FastPlane if plane == "fast" else CompiledPlane)(balancer, source, servers).finish()
    latency = tally.latency
    return Outcome(latency.count, latency.mean / US, latency.quantile(0.99) / US, 0.0)


def simpy_process_each(case: str, requests: int, seed: int, desks: bool = False) -> Outcome:
    """Run a case in SimPy, a process for each user, or for each request where there are none.

    With `desks` servers are resources.
    """
    policy, source, _, coins = clients_of(case, requests, seed)
    latencies = (Desks if desks else Cluster)(source, POLICIES[policy], coins).run()
    exact = sum(latencies)
    return Outcome(len(latencies), exact / len(latencies) / US, float(np.quantile(latencies, 0.99)) / US, 0.0)


class Cluster:
    """The servers as a SimPy user writes them who knows that first come, first served needs no queue."""

    def __init__(self, source: Source, choose: Callable[[list[int], int, int], int], coins: int) -> None:
        self.env = Clock()
        self.source, self.choose, self.coins = source, choose, coins
        self.inside = [0] * SERVERS
        self.free = [0] * SERVERS  # ps at which each server is done with all it has
        self.latencies: list[int] = []
        self.index = -1
        self.rows: Iterator[tuple[int, ...]] = chain.from_iterable(map(self.rows_of, source.columns()))

    def rows_of(self, columns: Any) -> Iterator[tuple[int, ...]]:
        """Yield work and what follows it, or when it comes, request by request."""
        other = columns.time if self.source.kind == INDEPENDENT else columns.pause
        return zip(columns.work.tolist(), other.tolist(), strict=True)

    def run(self) -> list[int]:
        """Return the latencies in the order of answers."""
        env, source = self.env, self.source
        if source.kind == INDEPENDENT:
            env.process(self.arrivals())
        for first in source.first.tolist():
            env.process(self.user(first))
        env.run()
        return self.latencies

    def arrivals(self) -> Generator[simpy.Event, Any, None]:
        """Requests come by themselves."""
        for work, time in self.rows:
            yield self.env.timeout(time - self.env.now)
            self.env.process(self.visit(work))

    def user(self, first: int) -> Generator[simpy.Event, Any, None]:
        """A user sends, waits, thinks, and sends again."""
        yield self.env.timeout(first)
        while self.env.now < self.source.end:
            work, think = next(self.rows)
            yield from self.visit(work)
            yield self.env.timeout(think)

    def visit(self, work: int) -> Generator[simpy.Event, Any, None]:
        """A request's stay at the server that was chosen for it."""
        now = self.env.now
        self.index += 1
        server = self.choose(self.inside, self.index, self.coins)
        self.inside[server] += 1
        self.free[server] = end = max(now, self.free[server]) + work
        yield self.env.timeout(end - now)
        self.inside[server] -= 1
        self.latencies.append(end - now)


class Desks(Cluster):
    """The servers as resources."""

    def __init__(self, source: Source, choose: Callable[[list[int], int, int], int], coins: int) -> None:
        super().__init__(source, choose, coins)
        self.desks = [simpy.Resource(self.env) for _ in range(SERVERS)]

    def visit(self, work: int) -> Generator[simpy.Event, Any, None]:
        """A request waits for its server, and is served."""
        now = self.env.now
        self.index += 1
        server = self.choose(self.inside, self.index, self.coins)
        self.inside[server] += 1
        with self.desks[server].request() as turn:
            yield turn
            yield self.env.timeout(work)
        self.inside[server] -= 1
        self.latencies.append(self.env.now - now)


def in_turn(inside: list[int], index: int, seed: int) -> int:
    """Return the servers one after the other."""
    return index % SERVERS


def shorter(inside: list[int], index: int, seed: int) -> int:
    """Return the shorter of two random queues, the first at a tie."""
    a, b = int(coin(seed, index, 0)) % SERVERS, int(coin(seed, index, 1)) % SERVERS
    return a if inside[a] <= inside[b] else b


POLICIES: Final = {"round_robin": in_turn, "power_of_two": shorter}
"""The policies in plain Python."""
