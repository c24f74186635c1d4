"""RSS++ Fig. 12: how unevenly packets spread over 1 to 16 cores; what its two traces share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pandas as pd

from experiments import rsspp_testbed as rsspp
from lbsim.metrics.result import Result
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import SECOND

EVERY, SOME = (range(1, 17), (2, 4, 6, 8, 12, 16))


def panel(
    name: str,
    title: str,
    *,
    trace: Literal["campus", "campus-4"],
    draws: Callable[[int], int],
    quick_end: int,
    claims: tuple[Claim, ...],
) -> Study:
    """Return the study of one trace at its own speed; `draws(cores)` is the artificial work per packet.

    Full scale: 1 to 16 cores, seconds 5 to 50 as published. Quick: 2, 4 and 8 cores, up to `quick_end`.
    Every number of cores has a few hash keys, 8 cores have all of them. Traffic classes and the dispatchers
    in software, which take longest to simulate, have fewer numbers of cores.
    """

    def points(full: bool) -> list[Point]:
        few, many = (rsspp.KEYS[:3], rsspp.KEYS) if full else (rsspp.KEYS[:2], rsspp.KEYS[:8])
        deals = rsspp.DEALS[: 4 if full else 2]
        return [
            Point(
                {"series": series, "key": key, "cores": cores},
                {
                    "duration": (rsspp.WINDOW[1] if full else quick_end) * SECOND,
                    "server.cores": cores,
                    "server.cost": rsspp.cost(draws(cores)),
                    "nic.dispatch": rsspp.dispatch(series, key),
                },
            )
            for cores in (EVERY if full else (2, 4, 8))
            for series, key in rsspp.rivals(many if cores == 8 else few, deals=deals)
            if series in (rsspp.RSS, rsspp.RSSPP, rsspp.SPRAYER) or cores in (SOME if full else (8,))
        ]

    return Study(
        name=name,
        title=title,
        base=rsspp.base_scenario(
            name,
            trace=trace,
            draws=draws(8),
            arrivals=rsspp.replay(100),
            window=rsspp.trace_window(rsspp.WINDOW),
        ),
        points=points,
        measure=measure,
        claims=claims,
        published=rsspp.published(name),
        panels=(
            Panel(  # one core alone is even by definition; a shared queue and SW RR, too
                x="cores",
                y="imbalance_pct",
                series=rsspp.SERIES,
                xlabel="cores",
                ylabel="imbalance of packets per core (%)",
                log=True,
                ylim=(0.001, 3000),
                where="cores > 1",
            ),
        ),
    )


def measure(result: Result) -> dict[str, float]:
    """Return the median over seconds of (max - min) / min of packets per core, and the mean core load."""
    start = result.scenario.warmup / SECOND
    imbalance = pd.Series(result.imbalance(first=start + 0.5))
    load = result.series("core_load").loc[start + 0.5 :].iloc[:, : result.scenario.server.cores]
    return {"imbalance_pct": float(imbalance.median()), "core_load": float(load.mean().mean())}


def at_8_cores(tables: Tables, name: str, series: str) -> float:
    """Return the imbalance of a series at 8 cores in %, median over the keys."""
    return rsspp.median_of(tables[name], "imbalance_pct", "cores == 8", series)
