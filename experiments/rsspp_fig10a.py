"""RSS++ Fig. 10a: throughput, core load and latency over the offered load, 4 cores, Campus #4 ever faster."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments import rsspp_testbed as rsspp
from lbsim.metrics.result import Result
from lbsim.study import Panel, Point, Study, Tables
from lbsim.units import SECOND

NAME = "rsspp-fig10a"
SERIES = (rsspp.RSS, rsspp.RSSPP)
CORES, DRAWS = 4, 400
JUDGED = 160  # % replay at which the claim compares, with every hash key
SPEEDS = {"full": range(90, 171, 10), "quick": (100, 130, JUDGED)}  # % of the trace's own speed
WINDOW = {"full": (2, rsspp.TRACE_END), "quick": (2, 9)}
"""Seconds of the trace that count; the published offered rate is that of about the whole trace."""


def points(full: bool) -> list[Point]:
    """Return every replay speed with a few hash keys, the judged one with all of them."""
    scale = "full" if full else "quick"
    few, many = (rsspp.KEYS[:3], rsspp.KEYS) if full else (rsspp.KEYS[:2], rsspp.KEYS[:8])
    return [
        Point(
            {"series": series, "key": key, "replay_pct": speed},
            {
                **rsspp.trace_window(WINDOW[scale], speed),
                "arrivals.speed": speed / 100,
                "nic.dispatch": rsspp.dispatch(series, key),
            },
        )
        for speed in SPEEDS[scale]
        for series, key in rsspp.rivals(many if speed == JUDGED else few, SERIES)
    ]


def measure(result: Result) -> dict[str, float]:
    """Return rates in Gb/s, the sum of core loads, the share dropped and latency.

    The quartiles of latency are, as published, those of what is left without the tenth at either end.
    """
    counted = result.series("core_load").loc[result.scenario.warmup / SECOND + 1 :]
    return {
        "offered_gbps": result.offered_gbps,
        "throughput_gbps": result.throughput_gbps,
        "load_sum": float(counted.mean().sum()),
        "drop_share": result.drop_share,
        "p25_us": result.latency_us(0.3),
        "p50_us": result.latency_us(0.5),
        "p75_us": result.latency_us(0.7),
    }


def gains(tables: Tables) -> pd.Series:
    """Return throughput of RSS++ / RSS at the judged speed, one a hash key."""
    rates = rsspp.by_key(tables[NAME], "throughput_gbps", f"replay_pct == {JUDGED}")
    return rates[rsspp.RSSPP] / rates[rsspp.RSS]


def panel(y: str, ylabel: str, **more: Any) -> Panel:
    """Return the panel of one quantity over the replay speed."""
    return Panel(
        x="replay_pct", y=y, series=SERIES, xlabel="replay speed (% of real time)", ylabel=ylabel, **more
    )


STUDY = Study(
    name=NAME,
    title="RSS++ Fig. 10a: throughput over offered load, 4 cores",
    base=rsspp.base_scenario(
        NAME,
        cores=CORES,
        draws=DRAWS,
        arrivals=rsspp.replay(100),
        window=rsspp.trace_window(WINDOW["full"]),
    ),
    points=points,
    measure=measure,
    claims=(rsspp.over_uneven_keys("RS-10", gains),),
    needs=("rsspp-fig12b",),
    published=rsspp.published(NAME),
    panels=(
        panel("throughput_gbps", "throughput (Gb/s)", ylim=(12, 24)),  # the schemes differ by a few %
        panel("load_sum", f"sum of core loads (of {CORES})", ylim=(2.8, 4.1)),
        panel("p50_us", "median latency (µs)", log=True),
    ),
)
