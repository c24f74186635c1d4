"""RSS++ Fig. 14: throughput over 1 to 16 slow cores, Campus #4 as fast as the generator can."""

from __future__ import annotations

from experiments import rsspp_testbed as rsspp
from lbsim.metrics.result import Result
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import MS, SECOND

NAME = "rsspp-fig14"
DRAWS = 300
CORES = {"full": range(1, 17), "quick": (1, 2, 4, 5, 8)}
KEYS = {"full": rsspp.KEYS[:8], "quick": rsspp.KEYS[:2]}
DEALS = {"full": rsspp.DEALS[:4], "quick": rsspp.DEALS[:2]}
DURATION = {"full": 5 * SECOND, "quick": 1500 * MS}


def points(full: bool) -> list[Point]:
    """Return every number of cores with some hash keys."""
    scale = "full" if full else "quick"
    return [
        Point(
            {"series": series, "key": key, "cores": cores},
            {
                "duration": DURATION[scale],
                "server.cores": cores,
                "nic.dispatch": rsspp.dispatch(series, key, slowdown=rsspp.SLOW_CORE),
            },
        )
        for cores in CORES[scale]
        for series, key in rsspp.rivals(KEYS[scale], deals=DEALS[scale])
    ]


def measure(result: Result) -> dict[str, float]:
    """Return offered and received rates."""
    return {"offered_gbps": result.offered_gbps, "throughput_gbps": result.throughput_gbps}


def one_core(tables: Tables) -> float:
    """Return the throughput of RSS on one core, median over the hash keys."""
    return rsspp.median_of(tables[NAME], "throughput_gbps", "cores == 1", rsspp.RSS)


def five_cores(tables: Tables) -> float:
    """Return throughput of RSS++ / RSS on five cores, median over the hash keys."""
    rates = rsspp.by_key(tables[NAME], "throughput_gbps", "cores == 5")
    return float((rates[rsspp.RSSPP] / rates[rsspp.RSS]).median(skipna=False))


STUDY = Study(
    name=NAME,
    title="RSS++ Fig. 14: throughput over slow cores",
    base=rsspp.base_scenario(
        NAME,
        draws=DRAWS,
        slowdown=rsspp.SLOW_CORE,
        arrivals=rsspp.from_memory(rsspp.GENERATOR_LIMIT),
        window={"warmup": SECOND, "duration": DURATION["full"]},
    ),
    points=points,
    measure=measure,
    claims=(Claim("RS-19", one_core), Claim("RS-20", five_cores)),
    published=rsspp.published(NAME),
    panels=(
        Panel(
            x="cores",
            y="throughput_gbps",
            series=rsspp.SERIES,
            xlabel="cores at 1 GHz",
            ylabel="throughput (Gb/s)",
        ),
    ),
)
