"""Closed-form theory of requests: servers, policies and disciplines, at three loads each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

import lbsim
from lbsim.balancer.cost import request_cost
from lbsim.engine.request.service import is_urgent
from lbsim.engine.request.source import source_of
from lbsim.scenario import (
    BalancerCost,
    Bimodal,
    Cpu,
    Exponential,
    Fixed,
    Independent,
    Law,
    Lognormal,
    Priority,
    RequestBalancer,
    RequestMeasure,
    RequestScenario,
    RequestServers,
    Sharing,
    Users,
)
from lbsim.units import MS, SECOND, US

LOADS = pytest.mark.parametrize("load", [0.5, 0.7, 0.9])
SERVICE = MS
EXPONENTIAL = Exponential(mean="1ms")
REPLICATIONS = 10


def runs(
    load: float, requests: int = 300_000, policy: str = "uniform", **parts: Any
) -> list[lbsim.RequestResult]:
    """Independent replications of Poisson requests to some servers, a tenth of them left out at the start."""
    measure = parts.pop("measure", RequestMeasure())
    balancer = RequestBalancer(policy=policy, cost=parts.pop("cost", None), choices=parts.pop("choices", 2))
    servers = RequestServers(**{"number": 1, "service": Cpu(work=EXPONENTIAL), **parts})
    duration = round(requests * servers.service.mean_ps / (load * servers.capacity))
    return [
        lbsim.run(
            RequestScenario(
                seed=11,
                replication=r,
                duration=duration,
                warmup=duration // 10,
                clients=Independent(load=load),
                balancer=balancer,
                servers=servers,
                measure=measure,
            )
        )
        for r in range(REPLICATIONS)
    ]


def within(samples: list[float], theory: float, width: float = 0.2) -> None:
    """The 99.9 % interval of the replications holds the theory's value, and is tight enough to say so."""
    interval = lbsim.mean_interval(samples, level=0.999)
    assert interval.low <= theory <= interval.high, f"{interval} does not hold {theory}"
    assert interval.high - interval.low < width * theory


def erlang_b(servers: int, offered: float) -> float:
    """Return the share of requests that find all servers busy and are lost (Erlang 1917)."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked


def erlang_c(servers: int, offered: float) -> float:
    """Return the share of requests that wait."""
    b = erlang_b(servers, offered)
    return b / (1 - offered / servers * (1 - b))


@LOADS
def test_m_m_c(load: float) -> None:
    cores = 4
    wait = SERVICE * erlang_c(cores, cores * load) / (cores * (1 - load))
    within([r.latency.mean for r in runs(load, cores=cores)], SERVICE + wait)


@LOADS
def test_erlang_b(load: float) -> None:
    cores = 5
    lost = [r.share("refused") for r in runs(load, cores=cores, backlog=cores)]
    within(lost, erlang_b(cores, cores * load))


@pytest.mark.slow
@LOADS
@pytest.mark.parametrize(
    "law",
    [
        EXPONENTIAL,
        Lognormal(mean="1ms", cv=2.0),
        Bimodal(short="500us", long="5500us", share_long=0.1),
        Fixed(time="1ms"),
    ],
    ids=lambda law: law.kind,
)
def test_a_shared_processor_is_insensitive_to_the_law(load: float, law: Law) -> None:
    """M/G/1-PS: the mean is that of M/M/1, whatever the law (Sakata, Noguchi and Oizumi 1971)."""
    done = runs(load, 150_000, service=Cpu(work=law), discipline=Sharing(slice=10 * US))
    within([r.latency.mean for r in done], SERVICE / (1 - load), 0.4)


@LOADS
def test_on_a_shared_processor_a_request_of_work_x_takes_x_over_what_is_left(load: float) -> None:
    """M/G/1-PS: the conditional mean is x / (1 - load), linear in x (Kleinrock 1967)."""
    law = Bimodal(short="500us", long="2500us", share_long=0.25)
    parts = {"service": Cpu(work=law), "discipline": Sharing(slice=20 * US)}
    done = runs(load, 40_000, measure=RequestMeasure(requests=True), **parts)
    for work in (500 * US, 2500 * US):
        means = []
        for result in done:
            frame = result.frame()
            drawn = np.concatenate([c.work for c in source_of(result.scenario).columns()])
            means.append(float(frame["latency_us"][drawn[frame.index] == work].mean()) * US)
        within(means, work / (1 - load), 0.4)


@LOADS
def test_the_urgent_wait_less(load: float) -> None:
    """M/G/1, two classes, nobody stopped: W = R / (1 - load before) / (1 - load with these) (Cobham 1954)."""
    share, law = 0.3, Bimodal(short="500us", long="3ms", share_long=0.2)
    square = 0.8 * (500 * US) ** 2 + 0.2 * (3 * MS) ** 2
    left = load * square / (2 * SERVICE)  # of the work in service that an arrival meets
    waits = {True: left / (1 - share * load), False: left / ((1 - share * load) * (1 - load))}
    rows = RequestMeasure(requests=True)
    done = runs(load, 150_000, measure=rows, discipline=Priority(urgent=share), service=Cpu(work=law))
    for urgent, wait in waits.items():
        means = []
        for result in done:
            frame, seed = result.frame(), source_of(result.scenario).seed
            mine = np.array([is_urgent(seed, k, 1, share) == urgent for k in frame.index.to_numpy()])
            means.append(float(frame["latency_us"][mine].mean()) * US)
        within(means, SERVICE + wait)


@LOADS
@pytest.mark.parametrize("choices", [2, 3])
def test_the_shortest_of_d_queues(load: float, choices: int) -> None:
    """JSQ(d), n = 1000: the mean-field limit (Vvedenskaya, Dobrushin and Karpelevich 1996)."""
    done = runs(load, 1_500_000, "jsq", choices=choices, number=1000)
    queues = (load ** ((choices**k - choices) / (choices - 1)) for k in range(1, 60))
    mean = float(np.mean([r.latency.mean for r in done]))
    assert mean == pytest.approx(SERVICE * math.fsum(queues), rel=0.01)  # the limit is off by O(1 / n)


@LOADS
def test_with_idle_servers_known_nobody_waits(load: float) -> None:
    """JIQ, n = 1000, one balancer that knows all: requests find an idle server (Lu and others 2011)."""
    done = runs(load, 1_000_000, "join_idle", number=1000)
    within([r.latency.mean for r in done], SERVICE, 0.01)


@LOADS
def test_round_robin_makes_arrivals_regular(load: float) -> None:
    """E_n/M/1: each of n servers sees every n-th of Poisson requests."""
    n = 4

    def excess(sigma: float) -> float:  # transform of an Erlang-n gap of mean 1/load at 1 - sigma, less sigma
        rate = n * load
        return float((rate / (rate + 1 - sigma)) ** n - sigma)

    sigma = brentq(excess, 0, 1 - 1e-9)
    done = runs(load, 600_000, "round_robin", number=n)
    within([r.latency.mean for r in done], SERVICE / (1 - sigma))


@LOADS
def test_two_stations_in_a_row_wait_as_the_slower_alone(load: float) -> None:
    """Tandem of constant services: waits add up to those of M/D/1 at the slower (Friedman 1965)."""
    cost = BalancerCost(mode="stateless", cores=1, packets=1e4)
    done = runs(load, cost=cost, service=Cpu(work=Fixed(time="1ms")))
    first = request_cost(cost.mode, done[0].scenario.rate(), cost.packets, cost.clock)
    assert 0.05 * SERVICE < first < 0.9 * SERVICE
    wait = load * SERVICE / (2 * (1 - load))
    within([r.latency.mean for r in done], first + SERVICE + wait)


@LOADS
def test_users_that_think_are_a_machine_repair_shop(load: float) -> None:
    """M/M/1//N: throughput is that of a birth-death chain (Palm 1943)."""
    users, think = 20, round(20 * SERVICE / load)
    weight = [1.0]
    for k in range(users):
        weight.append(weight[-1] * (users - k) * SERVICE / think)
    busy = 1 - weight[0] / math.fsum(weight)
    rates = []
    for r in range(REPLICATIONS):
        scenario = RequestScenario(
            seed=5,
            replication=r,
            duration=100 * SECOND,
            warmup=SECOND,
            clients=Users(users=users, think=Exponential(mean=think)),
            balancer=RequestBalancer(policy="uniform"),
            servers=RequestServers(number=1, service=Cpu(work=EXPONENTIAL)),
        )
        rates.append(lbsim.run(scenario).throughput)
    within(rates, busy * SECOND / SERVICE)
