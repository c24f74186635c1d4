"""RSS++ Fig. 11: cores that RSS, RSS++ and traffic classes take as the load of a minute rises and falls.

Campus #4 on up to 15 cores. The load is an input: the throughput that the published runs had.
"""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from experiments import rsspp_testbed as rsspp
from lbsim.metrics.result import Result
from lbsim.scenario import Batched, Profile, Rate, Scaling
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import SECOND, WIRE_OVERHEAD

NAME: Final = "rsspp-fig11"
CORES, DRAWS = 15, 300
SERIES = (rsspp.RSS, rsspp.RSSPP, rsspp.CLASSES)
FEWER: Final = {f"RSS, {cores} cores": cores for cores in (5, 6, 7)}
START: Final = {rsspp.RSSPP: 1, rsspp.CLASSES: 2}  # cores in use at first, as in the first published second
OFFERED_GBPS: Final = (
    *(4.19, 5.83, 6.85, 8.63, 10.30, 11.77, 11.96, 12.75, 13.56, 15.54, 17.48, 16.87, 16.51, 15.86, 16.52),
    *(17.46, 15.94, 16.56, 17.34, 16.77, 17.11, 16.33, 15.90, 17.14, 16.29, 16.37, 15.58, 17.97, 17.63),
    *(16.81, 19.82, 16.02, 16.78, 16.42, 15.74, 14.77, 14.66, 15.15, 15.30, 14.88, 14.28, 13.60, 12.99),
    *(12.30, 11.71, 10.61, 10.45, 10.09, 9.27, 8.78, 7.84, 7.12, 6.34, 5.82, 4.82, 4.09, 3.25, 2.49, 1.79),
    *(1.60, 1.71, 1.68, 1.64, 1.66, 1.67, 1.71, 1.68, 1.64, 1.60, 1.66, 1.75, 1.68, 1.81, 1.74, 1.66),
)
"""Load of each second: the median of the published throughputs of RSS, RSS++ and Metron."""
MEAN_GBPS: Final = 15.17  # of the trace at its own speed
QUICK_SECONDS: Final = 60
PLATEAU: Final = (12, 34)  # s: where the published runs held their load
BUSY: Final = 0.05  # load from which on the published count takes a core as used


def points(full: bool) -> list[Point]:
    """Return the three rivals with some keys and deals, and RSS on fewer cores with one key."""
    keys, deals = (rsspp.KEYS[:4], rsspp.DEALS) if full else (rsspp.KEYS[:1], rsspp.DEALS[:2])
    length = {} if full else {"duration": QUICK_SECONDS * SECOND}
    few: list[Point] = [
        Point({"series": name, "key": 0}, {"server.cores": cores, **length}) for name, cores in FEWER.items()
    ]
    return [
        Point({"series": series, "key": key}, {"nic.dispatch": _dispatch(series, key), **length})
        for series, key in rsspp.rivals(keys, SERIES, deals)
    ] + (few if full else [])


def _dispatch(series: str, key: int) -> Any:
    start = START.get(series)
    return rsspp.dispatch(series, key, scaling=Scaling(start=start) if start else None)


def measure(result: Result) -> list[dict[str, float]]:
    """Return what happened in each second, from its start on.

    Throughput (frames taken at their mean length), drops, cores that were busy (as published: a load above
    5 %) and cores that the controller had in use at the end of the second.
    """
    load, packets, drops = (result.series(name) for name in ("core_load", "packets", "drops"))
    used = result.series("cores").iloc[:, 0]
    bits = (result.delivered_bytes / result.delivered + WIRE_OVERHEAD) * 8
    return [
        {
            "time_s": end - 1,
            "throughput_gbps": packets.loc[end].sum() * bits / 1e9,
            "drops_kpps": drops.loc[end].sum() / 1e3,
            "cores": float((load.loc[end] > BUSY).sum()),
            "in_use": float(used[end]),
        }
        for end in load.index
    ]


def mean(tables: Tables, value: str, series: str, start: float, end: float) -> pd.Series:
    """Return the mean of `value` over the seconds from `start` to `end`, one a key."""
    rows = tables[NAME].query(f"series == '{series}' and {start} <= time_s < {end}")
    return rows.groupby("key")[value].mean()


def cores(id_: str, series: str, start: float, end: float) -> Claim:
    """Return the claim on the mean number of cores over some seconds, median over the keys."""

    def values(tables: Tables) -> pd.Series:
        return mean(tables, "cores", series, start, end)

    def beside(tables: Tables) -> str:
        every = ", ".join(f"{key}: {value:.3g}" for key, value in values(tables).items())
        in_use = mean(tables, "in_use", series, start, end).median()
        return f"busy cores by key {every}; the controller had {in_use:.3g} in use"

    return Claim(id_, lambda tables: float(values(tables).median()), beside)


def ratio(tables: Tables) -> float:
    """Return mean cores of traffic classes / RSS++ in the first 40 s, of medians over their keys."""
    classes, of_rsspp = (mean(tables, "cores", s, 0, 40).median() for s in (rsspp.CLASSES, rsspp.RSSPP))
    return float(classes / of_rsspp)


def throughputs(tables: Tables) -> float:
    """Return the throughput of RSS++ / RSS on all cores in the first 60 s, of medians over the keys."""
    of_rss, of_rsspp = (mean(tables, "throughput_gbps", s, 0, 60).median() for s in (rsspp.RSS, rsspp.RSSPP))
    return float(of_rsspp / of_rss)


def panel(y: str, ylabel: str, series: tuple[str, ...] = SERIES, **more: Any) -> Panel:
    """Return the panel of a quantity over time."""
    return Panel(x="time_s", y=y, series=series, xlabel="time (s)", ylabel=ylabel, step=True, **more)


STUDY = Study(
    name=NAME,
    title="RSS++ Fig. 11: cores in use over a minute of load",
    base=rsspp.base_scenario(
        NAME,
        cores=CORES,
        draws=DRAWS,
        arrivals=Batched(
            rate=Rate(MEAN_GBPS * 1e9, "bps"),
            batch=rsspp.TRACE_BATCH,
            profile=Profile(every=SECOND, factors=tuple(g / MEAN_GBPS for g in OFFERED_GBPS)),
        ),
        window={"warmup": 0, "duration": len(OFFERED_GBPS) * SECOND},
    ),
    points=points,
    measure=measure,
    claims=(
        cores("RS-14", rsspp.RSSPP, 0, 60),
        Claim("RS-15", throughputs),
        cores("ME-03", rsspp.CLASSES, 0, 40),
        Claim("ME-04", ratio),
        cores("ME-05", rsspp.CLASSES, *PLATEAU),
    ),
    published=rsspp.published(NAME),
    panels=(
        panel("throughput_gbps", "throughput (Gb/s)"),
        panel("cores", f"busy cores (of {CORES})"),
        panel("drops_kpps", "drops (thousand packets/s)", (*SERIES, *FEWER), symlog=1),
    ),
)
