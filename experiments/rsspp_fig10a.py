"""RSS++ Fig. 10a: throughput and core load over the offered load, 4 cores, Campus #4 replayed ever faster."""

from __future__ import annotations

import pandas as pd

from experiments import rsspp_testbed as rsspp
from lbsim.metrics.result import Result
from lbsim.study import Panel, Point, Study, Tables
from lbsim.units import SECOND

NAME = "rsspp-fig10a"
SERIES = ("RSS", "RSS++")
CORES, DRAWS = 4, 400
JUDGED = 160  # % replay at which the claim compares, with every hash key
SPEEDS = {"full": range(90, 171, 10), "quick": (100, 130, JUDGED)}  # % of the trace's own speed
WINDOW = {"full": (2, rsspp.TRACE_END), "quick": (2, 12)}
"""Seconds of the trace that count; the published offered rate is that of about the whole trace."""


def points(full: bool) -> list[Point]:
    """Return every replay speed with a few hash keys, the judged one with all of them."""
    scale = "full" if full else "quick"
    few = rsspp.KEYS[: 4 if full else 2]
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
        for series, key in rsspp.rivals(rsspp.KEYS if speed == JUDGED else few, SERIES)
    ]


def measure(result: Result) -> dict[str, float]:
    """Return rates in Gb/s, the sum of core loads, the share dropped and the median latency."""
    counted = result.series("core_load").loc[result.scenario.warmup / SECOND + 1 :]
    return {
        "offered_gbps": result.offered_gbps,
        "throughput_gbps": result.throughput_gbps,
        "load_sum": float(counted.mean().sum()),
        "drop_share": result.drop_share,
        "p50_us": result.latency_us(0.5),
    }


def gains(tables: Tables) -> pd.Series:
    """Return throughput of RSS++ / RSS at the judged speed, one a hash key."""
    rates = rsspp.by_key(tables[NAME], "throughput_gbps", f"replay_pct == {JUDGED}")
    return rates["RSS++"] / rates["RSS"]


def panel(y: str, ylabel: str, ylim: tuple[float, float]) -> Panel:
    """Return the panel of one quantity over the replay speed; its range, as the schemes differ by a few %."""
    return Panel(
        x="replay_pct", y=y, series=SERIES, xlabel="replay speed (% of real time)", ylabel=ylabel, ylim=ylim
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
        panel("throughput_gbps", "throughput (Gb/s)", (12, 24)),
        panel("load_sum", f"sum of core loads (of {CORES})", (2.8, 4.1)),
    ),
)
