"""Beyond the papers: balancers of servers and of cores together, on one cluster whose servers come and go.

Every pair of a balancer before the servers (round robin, power of two choices, CrossRSS) and a dispatcher
inside them (RSS, RSS++, Metron's classes) carries the same packets; servers drain, crash and come back. It
shows who wins when, and what it costs: rules and table entries rewritten, flows broken. CrossRSS goes by
the tables it knew at the start, or ("Live") is told those that RSS++ and Metron rewrite.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final

from experiments import crossrss_testbed as crossrss
from lbsim.metrics.result import Result
from lbsim.scenario import (
    AnyDispatch,
    Change,
    Choosing,
    Cluster,
    CrossRss,
    Metron,
    Rss,
    Rsspp,
    Schedule,
)
from lbsim.study import Panel, Point, Study
from lbsim.units import MS, SECOND, US

NAME: Final = "cluster-churn"
SERVERS, ACTIVE, CORES = 5, 4, 4
CAPACITY_PPS: Final = 250_000 * ACTIVE * CORES  # of the servers that are there at first
TRACE_PPS: Final = 4_062_400  # of the trace at its own speed
LOADS: Final = (50, 60, 70, 80, 90, 100)  # % of it
SECONDS: Final = {"full": 11, "quick": 4}
BALANCERS: Final[dict[str, Choosing | CrossRss]] = {
    "RR": Choosing(policy="round_robin"),
    "Pow2": Choosing(policy="power_of_two"),
    "CrossRSS": CrossRss(),
    "Live": CrossRss(maps="live"),
}
DISPATCHES: Final[dict[str, AnyDispatch]] = {
    "RSS": Rss(table=crossrss.BUCKETS, hash="byte_sum", fill="random"),
    "RSS++": Rsspp(table=crossrss.BUCKETS, hash="byte_sum"),
    "Metron": Metron(rule_latency=MS, per_rule=100 * US),
}
PAIRS: Final = (
    *(("RR", name) for name in DISPATCHES),
    *(("Pow2", name) for name in ("RSS", "RSS++")),
    *(("CrossRSS", name) for name in ("RSS", "RSS++")),
    ("Live", "RSS++"),
    ("Live", "Metron"),
)
SERIES: Final = tuple(f"{balancer} + {dispatch}" for balancer, dispatch in PAIRS)


def churn(seconds: int) -> Schedule:
    """Return a drain, a spare that comes, a crash that takes 200 ms to be noticed, and its return."""
    at = [round(share * seconds * SECOND) for share in (0.3, 0.3, 0.6, 0.8)]
    return Schedule(
        changes=(
            Change(at=at[0], do="add", server=4),
            Change(at=at[1], do="drain", server=0),
            Change(at=at[2], do="crash", server=1, detect=200 * MS),
            Change(at=at[3], do="add", server=1),
        )
    )


def points(full: bool) -> list[Point]:
    """Return every pair at every load."""
    seconds = SECONDS["full" if full else "quick"]
    return [
        Point(
            {"series": f"{balancer} + {dispatch}", "load_pct": load, "recording": recording},
            {
                "traffic": crossrss.traffic(recording),
                "duration": seconds * SECOND,
                "arrivals.speed": load / 100 * CAPACITY_PPS / TRACE_PPS,
                "nic.dispatch": DISPATCHES[dispatch],
                "cluster": Cluster(
                    servers=SERVERS,
                    active=ACTIVE,
                    balancer=BALANCERS[balancer],
                    churn=churn(seconds),
                ),
            },
        )
        for recording, (balancer, dispatch), load in product(
            (crossrss.TWIN, *crossrss.OTHER_TWINS[:2]) if full else (crossrss.TWIN,),
            PAIRS,
            LOADS if full else (60, 80, 100),
        )
    ]


def measure(result: Result) -> dict[str, Any]:
    """Return what packets and flows suffer, how even the cores are, and how much is rewritten."""
    control, seconds = result.control, result.span / SECOND
    rewritten = control.get("moves", 0) + control.get("buckets_moved", 0)
    return {
        "drop_pct": 100 * result.drops["ring full"] / result.offered,
        "crash_pct": 100 * result.drops["server down"] / result.offered,
        "p99_us": result.latency_us(0.99),
        "core_variance_pct": result.core_variance(),
        "broken_pct": 100 * control["flows_broken"] / max(1, control["flows_begun"]),
        "rewritten_per_s": rewritten / seconds,
    }


def panel(y: str, ylabel: str, **more: Any) -> Panel:
    """Return the panel of a quantity over the load."""
    return Panel(x="load_pct", y=y, series=SERIES, xlabel="load (% of 16 cores)", ylabel=ylabel, **more)


STUDY = Study(
    name=NAME,
    title="Balancers and dispatchers together, on a cluster under churn",
    base=crossrss.base_scenario(NAME),
    points=points,
    measure=measure,
    claims=(),
    panels=(
        panel("drop_pct", "packets lost to full rings (%)", symlog=0.1),
        panel("p99_us", "p99 latency (µs)", log=True),
        panel("core_variance_pct", "variance over cores (%)", log=True),
        panel("rewritten_per_s", "entries rewritten (1/s)", symlog=1),
    ),
)
