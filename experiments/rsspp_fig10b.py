"""RSS++ Fig. 10b: packets dropped in every second at 120, 130 and 140 % replay, 4 cores, Campus #4."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments import rsspp_testbed as rsspp
from experiments.rsspp_fig10a import CORES, DRAWS, SERIES
from lbsim.metrics.result import Result
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import SECOND

NAME = "rsspp-fig10b"
SPEEDS = (120, 130, 140)  # % of the trace's own speed
KEYS = {"full": rsspp.KEYS[:8], "quick": rsspp.KEYS[:4]}
WARMUP = {"full": 5 * SECOND, "quick": 2 * SECOND}
QUICK_END = 8 * SECOND  # full scale replays the whole trace


def points(full: bool) -> list[Point]:
    """Return every replay speed with some hash keys."""
    scale = "full" if full else "quick"
    return [
        Point(
            {"series": series, "key": key, "replay_pct": speed, "line": f"{series}, {speed} %"},
            {
                "duration": rsspp.TRACE_END * SECOND * 100 // speed if full else QUICK_END,
                "warmup": WARMUP[scale],
                "arrivals.speed": speed / 100,
                "nic.dispatch": rsspp.dispatch(series, key),
            },
        )
        for speed in SPEEDS
        for series, key in rsspp.rivals(KEYS[scale], SERIES)
    ]


def measure(result: Result) -> list[dict[str, float]]:
    """Return, for every second that counts, thousands of packets received by cores and dropped."""
    first = result.scenario.warmup / SECOND + 0.5
    received = result.series("packets").loc[first:].sum(axis=1) / 1e3
    dropped = result.series("drops").loc[first:].sum(axis=1) / 1e3
    seconds = pd.DataFrame({"received_kpps": received, "drops_kpps": dropped}).reset_index()
    return [{str(name): float(value) for name, value in row.items()} for _, row in seconds.iterrows()]


def mean(tables: Tables, value: str, series: str, speed: int) -> float:
    """Return the mean of `value` over hash keys and seconds at a replay speed."""
    rows = tables[NAME].query(f"series == '{series}' and replay_pct == {speed}")
    return float(rows[value].mean(skipna=False))


def ratio(speed: int) -> Claim:
    """Return the claim on drop rate of RSS / drop rate of RSS++ at a replay speed."""

    def value(tables: Tables) -> float:
        of_rss, of_rsspp = (mean(tables, "drops_kpps", series, speed) for series in SERIES)
        return of_rss / of_rsspp

    return Claim(f"RS-09-{speed}", value)


def share_dropped(tables: Tables) -> float:
    """Return the drops of RSS++ at 120 % in % of the packets offered."""
    received, dropped = (mean(tables, v, rsspp.RSSPP, 120) for v in ("received_kpps", "drops_kpps"))
    return 100 * dropped / (received + dropped)


def panel(x: str, xlabel: str, series: tuple[str, ...], **more: Any) -> Panel:
    """Return the panel of drops over the replay speed or over time."""
    return Panel(
        x=x,
        y="drops_kpps",
        series=series,
        xlabel=xlabel,
        ylabel="drops (thousand packets/s)",
        symlog=1,
        ylim=(0, 250),
        **more,
    )


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
        panel("replay_pct", "replay speed (% of real time)", SERIES, xticks=SPEEDS),
        *(
            panel("time_s", "time (s)", tuple(f"{series}, {speed} %" for series in SERIES), by="line")
            for speed in SPEEDS
        ),
    ),
)
