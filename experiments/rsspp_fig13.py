"""RSS++ Fig. 13: 95th percentile of latency over offered load, 8 cores, Campus #4 at a constant rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from experiments import rsspp_testbed as rsspp
from lbsim.metrics.result import Result
from lbsim.scenario import Rate
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import MS, SECOND

NAME = "rsspp-fig13"
DRAWS = 600
LOADS = {"full": range(2, 35, 2), "quick": (10, 16, 18, 20, 22, 24, 26, 28, 34)}  # Gb/s
DURATION = {"full": 5 * SECOND, "quick": 1500 * MS}
DEEP = 30  # Gb/s from which on all rings are full
SLOW = (10, 18, 22, 26, 34)  # loads of software dispatchers, which take longest to simulate, at quick scale
KNEE_US = 1000  # the latency at which the knee is read


def points(full: bool) -> list[Point]:
    """Return every offered load with all hash keys, deep overload with few; fewer at quick scale."""
    scale = "full" if full else "quick"
    many, few = (rsspp.KEYS, rsspp.KEYS[:4]) if full else (rsspp.KEYS[:8], rsspp.KEYS[:2])
    deals = rsspp.DEALS[: 4 if full else 2]
    return [
        Point(
            {"series": series, "key": key, "load_gbps": load},
            {
                "duration": DURATION[scale],
                "arrivals.rate": Rate(load * 1e9, "bps"),
                "nic.dispatch": rsspp.dispatch(series, key),
            },
        )
        for load in LOADS[scale]
        for series, key in rsspp.rivals(many if load < DEEP else few, deals=deals)
        if full or series not in rsspp.QUEUES or load in SLOW
    ]


def measure(result: Result) -> dict[str, float]:
    """Return the 95th percentile and median of latency, and the received rate."""
    return {
        "p95_us": result.latency_us(0.95),
        "p50_us": result.latency_us(0.5),
        "throughput_gbps": result.throughput_gbps,
    }


def knee(p95: pd.Series) -> float:
    """Return the load at which p95 (indexed by load) first reaches 1 ms, by interpolation of its logarithm.

    nan where no load is below or none is above.
    """
    over = np.flatnonzero(p95.to_numpy() >= KNEE_US)
    if not len(over) or over[0] == 0:
        return float("nan")
    k = over[0]
    x, y = p95.index[k - 1 : k + 1], np.log(p95.iloc[k - 1 : k + 1])
    return float(np.interp(np.log(KNEE_US), y, x))


def knees(tables: Tables, series: str) -> pd.Series:
    """Return the load in Gb/s at p95 = 1 ms of every key."""
    rows = tables[NAME].query(f"series == '{series}'")
    return rows.pivot(index="load_gbps", columns="key", values="p95_us").sort_index().apply(knee)


def p95_ratio(load: int) -> Claim:
    """Return the claim on p95 of RSS / p95 of RSS++ at an offered load."""

    def ratios(tables: Tables) -> pd.Series:
        p95 = rsspp.by_key(tables[NAME], "p95_us", f"load_gbps == {load}")
        return p95[rsspp.RSS] / p95[rsspp.RSSPP]

    return rsspp.over_uneven_keys(f"RS-13-{load}", ratios)


def p95(tables: Tables, series: str, load: int) -> float:
    """Return p95 of a series at an offered load in us, median over its keys."""
    return rsspp.median_of(tables[NAME], "p95_us", f"load_gbps == {load}", series)


def over_deals(id_: str, values: Callable[[Tables], pd.Series]) -> Claim:
    """Return the claim on the median of `values` (one a deal of traffic classes), all beside it."""

    def beside(tables: Tables) -> str:
        every = ", ".join(f"{deal}: {value:.3g}" for deal, value in values(tables).items())
        return f"median of the deals of traffic classes, {every}"

    return Claim(id_, lambda tables: float(values(tables).median(skipna=False)), beside)


def classes_at_10(tables: Tables) -> pd.Series:
    """Return p95 of traffic classes / median p95 of RSS at 10 Gb/s, one a deal."""
    p95s = rsspp.by_key(tables[NAME], "p95_us", "load_gbps == 10", (rsspp.CLASSES,))[rsspp.CLASSES]
    return p95s / p95(tables, rsspp.RSS, 10)


STUDY = Study(
    name=NAME,
    title="RSS++ Fig. 13: p95 latency over offered load, 8 cores",
    base=rsspp.base_scenario(
        NAME,
        draws=DRAWS,
        arrivals=rsspp.from_memory(Rate(24e9, "bps")),
        window={"warmup": SECOND, "duration": DURATION["full"]},
    ),
    points=points,
    measure=measure,
    claims=(
        Claim("RS-02", lambda t: p95(t, rsspp.RSS, 34) / 1e3),
        rsspp.over_uneven_keys("RS-11", lambda t: knees(t, rsspp.RSSPP) / knees(t, rsspp.RSS)),
        rsspp.over_uneven_keys("RS-12", lambda t: knees(t, rsspp.SPRAYER).iloc[0] / knees(t, rsspp.RSSPP)),
        *(p95_ratio(load) for load in (24, 26, 10)),
        over_deals("ME-06", classes_at_10),
        over_deals("ME-07-m", lambda t: knees(t, rsspp.CLASSES)),
        rsspp.over_uneven_keys("ME-07-r", lambda t: knees(t, rsspp.RSS)),
        Claim("ME-07-p", lambda t: float(knees(t, rsspp.RSSPP).median(skipna=False))),
    ),
    needs=("rsspp-fig12b",),
    published=rsspp.published(NAME),
    panels=(
        Panel(
            x="load_gbps",
            y="p95_us",
            series=rsspp.SERIES,
            xlabel="offered load (Gb/s)",
            ylabel="p95 latency (µs)",
            log=True,
            rule=KNEE_US,
        ),
    ),
)
