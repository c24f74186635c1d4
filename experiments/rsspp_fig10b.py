"""RSS++ Fig. 10b: packets dropped per second at 120, 130 and 140 % replay, 4 cores, Campus #4."""

from __future__ import annotations

import pandas as pd

from experiments import rsspp_testbed as rsspp
from experiments.rsspp_fig10a import CORES, DRAWS, SERIES
from lbsim.metrics.result import Result
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import SECOND

NAME = "rsspp-fig10b"
SPEEDS = (120, 130, 140)  # % of the trace's own speed
KEYS = rsspp.KEYS[:8]
WARMUP = {"full": 5 * SECOND, "quick": 2 * SECOND}
QUICK_END = 8 * SECOND  # full scale replays the whole trace


def points(full: bool) -> list[Point]:
    """Return every replay speed with eight hash keys."""
    return [
        Point(
            {"series": series, "key": key, "replay_pct": speed},
            {
                "duration": rsspp.TRACE_END * SECOND * 100 // speed if full else QUICK_END,
                "warmup": WARMUP["full" if full else "quick"],
                "arrivals.speed": speed / 100,
                "nic.dispatch": rsspp.dispatch(series, key),
            },
        )
        for speed in SPEEDS
        for series, key in rsspp.rivals(KEYS, SERIES)
    ]


def measure(result: Result) -> dict[str, float]:
    """Return thousands of packets offered and dropped per second."""
    thousands = 1e3 * result.span / SECOND
    dropped = sum(result.drops.values())
    return {"offered_kpps": result.offered / thousands, "drops_kpps": dropped / thousands}


def mean(tables: Tables, value: str, speed: int) -> pd.Series:
    """Return the mean over hash keys of `value` at a replay speed, by series."""
    return rsspp.by_key(tables[NAME], value, f"replay_pct == {speed}").mean(skipna=False)


def ratio(speed: int) -> Claim:
    """Return the claim on drop rate of RSS / drop rate of RSS++ at a replay speed."""

    def value(tables: Tables) -> float:
        drops = mean(tables, "drops_kpps", speed)
        return float(drops["RSS"] / drops["RSS++"])

    return Claim(f"RS-09-{speed}", value)


def share_dropped(tables: Tables) -> float:
    """Return the drops of RSS++ at 120 % in % of the packets offered."""
    drops, offered = (mean(tables, value, 120)["RSS++"] for value in ("drops_kpps", "offered_kpps"))
    return float(100 * drops / offered)


STUDY = Study(
    name=NAME,
    title="RSS++ Fig. 10b: drops at 120, 130 and 140 % replay, 4 cores",
    base=rsspp.base_scenario(
        NAME,
        cores=CORES,
        draws=DRAWS,
        arrivals=rsspp.replay(120),
        window={"warmup": WARMUP["full"], "duration": rsspp.TRACE_END * SECOND * 100 // 120},
    ),
    points=points,
    measure=measure,
    claims=(*(ratio(speed) for speed in SPEEDS), Claim("RS-09-abs", share_dropped)),
    published=rsspp.published(NAME),
    panels=(
        Panel(  # the published spread is over seconds, ours over hash keys
            x="replay_pct",
            y="drops_kpps",
            series=SERIES,
            xlabel="replay speed (% of real time)",
            ylabel="drops (thousand packets/s)",
            log=True,
            xticks=SPEEDS,
        ),
    ),
)
