"""Weighted round robin against a weighted hash, QUIC through a switch: ratios only, nothing here is measured.

Cheetah's journal version (ToN 2022) balances downloads of 1 MB over QUIC on a switch with four buckets, three
of one server and one of another, whose capacities are as different. Its values are not published in any file,
so there are no points and no claims here: the question is what the rule itself gives. The hash picks a bucket
at random, weighted round robin fills them in turn; both give the fast server three quarters. Downloads come
independently of each other, and a server shares its core among those under way.
"""

from __future__ import annotations

from typing import Any, Final

from lbsim.metrics import RequestResult
from lbsim.scenario import (
    Cpu,
    Fixed,
    Independent,
    RequestBalancer,
    RequestScenario,
    RequestServers,
    Sharing,
    Work,
)
from lbsim.study import Panel, Point, Study
from lbsim.units import MS, SECOND

NAME: Final = "cheetah-wrr"
SPEEDS: Final = (3.0, 1.0)
OBJECT: Final = 1_000_000  # bytes
SERVICE: Final = 4 * MS  # of an object on the slow server: 2 Gb/s of a software QUIC stack on a core, assumed
SERIES: Final[dict[str, dict[str, Any]]] = {
    "Hash, weighted": {"balancer.policy": "maglev"},
    "Cheetah, weighted RR": {"balancer.policy": "weighted_round_robin"},
}
LOADS: Final = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
QUICK: Final = (0.5, 0.8, 0.95)
RUNS: Final = {"full": 10, "quick": 3}


def base() -> RequestScenario:
    """Return independent downloads from two servers of unequal speed."""
    return RequestScenario(
        name=NAME,
        duration=60 * SECOND,
        warmup=5 * SECOND,
        clients=Independent(load=0.5),
        balancer=RequestBalancer(policy="weighted_round_robin"),
        servers=RequestServers(
            number=len(SPEEDS),
            speeds=SPEEDS,
            weights=SPEEDS,
            discipline=Sharing(slice=MS),
            service=Cpu(work=Fixed(time=Work(SERVICE))),
            response=OBJECT,
        ),
    )


def points(full: bool) -> list[Point]:
    """Return both ways at every load, several independent runs of each."""
    return [
        Point(
            {"series": series, "load": load, "replication": run},
            {**way, "clients.load": load, "replication": run},
        )
        for series, way in SERIES.items()
        for load in (LOADS if full else QUICK)
        for run in range(RUNS["full" if full else "quick"])
    ]


def measure(result: RequestResult) -> dict[str, float]:
    """Return the tail of completion times, and what was answered."""
    return {
        "p99_services": result.latency.quantile(0.99) / (SERVICE / max(SPEEDS)),
        "goodput_gbps": result.throughput * OBJECT * 8 / 1e9,
    }


STUDY: Final = Study(
    name=NAME,
    title="Weighted round robin against a weighted hash, servers of speed 3 and 1 (not measured)",
    base=base(),
    points=points,
    measure=measure,
    claims=(),
    panels=(
        Panel(
            x="load",
            y="p99_services",
            series=tuple(SERIES),
            xlabel="offered load",
            ylabel="p99 completion time (fast server alone = 1)",
            log=True,
        ),
    ),
)
