"""Beyond the papers: p99 over load for ten policies, where the balancer's knowledge of queues is old.

100 servers of one core, exponential service of 1 ms. "Live": the balancer counts itself. Otherwise every
machine reports the queues of its five servers every 10 ms, or every second, at its own times. A policy that
always takes the best then sends everything to whoever looked idle last; one that compares two keeps most of
its good at 10 ms, and none at a second. Policies that learn from answers or ask by probes need no reports.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final

from lbsim.metrics import RequestResult
from lbsim.scenario import (
    Adapt,
    Cpu,
    Exponential,
    Fcfs,
    Independent,
    RequestBalancer,
    RequestScenario,
    RequestServers,
    Signal,
    Work,
)
from lbsim.study import Panel, Point, Study
from lbsim.units import MS, SECOND

NAME: Final = "cheetah-stale"
SERVERS, SERVICE = 100, MS
MACHINES: Final = 20  # of five servers each, that report together
AGES: Final[dict[str, Signal]] = {
    "live": Signal(),
    "10 ms": Signal(metric="connections", period=10 * MS, machines=MACHINES),
    "1 s": Signal(metric="connections", period=SECOND, machines=MACHINES),
}
POLICIES: Final[dict[str, dict[str, Any]]] = {
    "random": {"balancer.policy": "uniform"},
    "round robin": {"balancer.policy": "round_robin"},
    "power of two": {"balancer.policy": "power_of_two"},
    "1 + β choice": {"balancer.policy": "one_plus_beta"},
    "least loaded": {"balancer.policy": "least_loaded"},
    "join idle": {"balancer.policy": "join_idle"},
    "adaptive WRR": {"balancer.policy": "adaptive_weighted_round_robin", "balancer.adapt": Adapt()},
    "peak EWMA": {"balancer.policy": "peak_ewma"},
    "C3": {"balancer.policy": "c3"},
    "Prequal": {"balancer.policy": "prequal"},
}
LOADS: Final = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
QUICK: Final = (0.5, 0.9)
QUICK_POLICIES: Final = ("random", "power of two", "least loaded", "adaptive WRR", "C3", "Prequal")
SECONDS: Final = {"full": 20, "quick": 2}
RUNS: Final = {"full": 2, "quick": 1}
WORST_MS: Final = 30_000.0  # top of the pictures


def base() -> RequestScenario:
    """Return the cluster under a live signal."""
    return RequestScenario(
        name=NAME,
        duration=10 * SECOND,
        warmup=SECOND,
        clients=Independent(load=0.8),
        balancer=RequestBalancer(policy="power_of_two"),
        servers=RequestServers(
            number=SERVERS, discipline=Fcfs(), service=Cpu(work=Exponential(mean=Work(SERVICE)))
        ),
    )


def points(full: bool) -> list[Point]:
    """Return every policy at every age and load, a few independent runs of each; fewer at quick scale."""
    scale = "full" if full else "quick"
    return [
        Point(
            {"series": series, "age": age, "load": load, "replication": run},
            {
                **way,
                "balancer.signal": signal,
                "clients.load": load,
                "duration": SECONDS[scale] * SECOND,
                "warmup": SECONDS[scale] * SECOND // 4,
                "replication": run,
            },
        )
        for (series, way), (age, signal) in product(POLICIES.items(), AGES.items())
        if full or series in QUICK_POLICIES
        for load in (LOADS if full else QUICK)
        for run in range(RUNS[scale])
    ]


def measure(result: RequestResult) -> dict[str, float]:
    """Return middle and tail of response times in ms."""
    return {"p50_ms": result.latency_us(0.5) / 1000, "p99_ms": result.latency_us(0.99) / 1000}


def panel(age: str) -> Panel:
    """Return the picture of one age of the signal."""
    return Panel(
        x="load",
        y="p99_ms",
        series=tuple(POLICIES),
        xlabel=f"load (queues known: {age})",
        ylabel="p99 response time (ms)",
        log=True,
        ylim=(1, WORST_MS),
        where=f"age == '{age}'",
    )


STUDY: Final = Study(
    name=NAME,
    title="p99 over load of ten policies, queues known live, 10 ms old and 1 s old",
    base=base(),
    points=points,
    measure=measure,
    claims=(),
    panels=tuple(map(panel, AGES)),
)
