"""Cheetah, "cycles": what the balancer spends on a packet, and what that does to latency and capacity.

The cycles are measured ones (`lbsim.balancer.cost`), so the left picture and the claims check an input. The
right one is a prediction: requests through a balancer of four cores, with RSS in front, to servers that are
never busy. No rate above 640,000 a second was measured; beyond it cycles stay as they are there. What is
spent on receiving and sending packets is not in the published numbers and not here.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any, Final

from experiments import cheetah_testbed as cheetah
from lbsim.balancer.cost import cycles
from lbsim.metrics import RequestResult
from lbsim.scenario import (
    BalancerCost,
    Cpu,
    Fixed,
    Independent,
    RequestBalancer,
    RequestScenario,
    RequestServers,
    Work,
)
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import MS, SECOND

NAME: Final = "cheetah-cycles"
MODES: Final = {
    "Stateful cuckoo": "cuckoo",
    "Beamer": "beamer",
    "Cheetah stateful": "stateful",
    "Hash DPDK": "hash_dpdk",
    "Cheetah stateless": "stateless",
    "Hash RSS": "hash_rss",
}
MEASURED: Final = tuple(5_000 * 2**k for k in range(8))  # requests a second
BEYOND: Final = (2_500_000, 4_000_000, 5_000_000, 7_000_000, 9_000_000, 12_000_000, 15_000_000, 18_000_000)
REQUESTS: Final = {"full": 2_000_000, "quick": 100_000}
LONGEST: Final = MS  # mean latency beyond which the balancer is overloaded, and not drawn


def base() -> RequestScenario:
    """Return a cluster whose servers never make anyone wait."""
    return RequestScenario(
        name=NAME,
        duration=SECOND,
        clients=Independent(per_second=5000.0, hash="toeplitz", addresses=256),
        balancer=RequestBalancer(policy="round_robin", cost=BalancerCost(mode="stateless", cores=4)),
        servers=RequestServers(number=64, cores=64, service=Cpu(work=Fixed(time=Work(0)))),
    )


def points(full: bool) -> list[Point]:
    """Return every way to keep a connection on its server at every rate, measured and beyond."""
    requests = REQUESTS["full" if full else "quick"]
    return [
        Point(
            {"series": series, "rate": rate},
            {
                "balancer.cost.mode": mode,
                "clients.per_second": float(rate),
                "duration": max(10 * MS, requests * SECOND // rate),
            },
        )
        for (series, mode), rate in product(MODES.items(), (*MEASURED, *BEYOND))
    ]


def measure(result: RequestResult) -> dict[str, Any]:
    """Return cycles a packet, and the latency that the balancer adds where it keeps up."""
    cost, rate = result.scenario.balancer.cost, result.scenario.clients.per_second
    overloaded = result.latency.mean > LONGEST
    return {
        "cycles": cycles(cost.mode, rate),
        "p99_us": math.nan if overloaded else result.latency_us(0.99),
    }


def ratio(id_: str, above: str, rate: int) -> Claim:
    """Return the claim on the cycles of a way over those of stateless Cheetah."""

    def value(tables: Tables) -> float:
        rows = tables[NAME]
        cost = rows[rows["rate"] == rate].set_index("series")["cycles"].to_dict()
        return float(cost[above] / cost["Cheetah stateless"])

    return Claim(id_, value)


STUDY: Final = Study(
    name=NAME,
    title="Cheetah: the balancer's cycles per packet, and the latency they add",
    base=base(),
    points=points,
    measure=measure,
    claims=(
        ratio("CH-CYC-1", "Stateful cuckoo", 5_000),
        ratio("CH-CYC-2", "Cheetah stateful", 80_000),
        ratio("CH-CYC-3", "Hash DPDK", 80_000),
        ratio("CH-CYC-4", "Hash RSS", 80_000),
    ),
    published=cheetah.published(NAME),
    panels=(
        Panel(
            x="rate",
            y="cycles",
            series=tuple(MODES),
            xlabel="requests/s",
            ylabel="cycles per packet, forward",
            log=True,
            xlog=True,
            where=f"rate <= {MEASURED[-1]}",
        ),
        Panel(
            x="rate",
            y="p99_us",
            series=tuple(MODES),
            xlabel="requests/s",
            ylabel="p99 latency added by the balancer (µs)",
            log=True,
            xlog=True,
        ),
    ),
)
