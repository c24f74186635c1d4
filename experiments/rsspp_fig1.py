"""RSS++ Fig. 1: CPU load of 18 cores under 100 TCP flows; RSS, then RSS++, then RSS++ that scales.

The flows are a closed loop with windows that do not adapt (`lbsim.scenario.Closed`). What is calibrated is
calibrated on the seconds under RSS alone; all that RSS++ does is predicted.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from experiments import rsspp_testbed as rsspp
from lbsim.engine import run
from lbsim.metrics.histogram import bin_middles
from lbsim.metrics.result import Int64s, Result
from lbsim.scenario import (
    Closed,
    Cost,
    Fixed,
    Flows,
    Measure,
    Nic,
    Rate,
    Rss,
    Rsspp,
    Scaling,
    Scenario,
    Server,
    Work,
    override,
)
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import MS, SECOND, US, wire_bits

NAME = "rsspp-fig1"
SERIES = "RSS++"
PHASES = {"full": (10, 20, 30), "quick": (2, 5, 7)}  # s: RSS until, RSS++ until, RSS++ that scales until
SETTLED = 2.5  # s after which RSS++ is judged

# --- Settings of the experiment (published test files) ---
CORES = 18
FLOWS = 100
TABLE = 128  # entries of the indirection table that the kernel driver offers
TICK, TICK_MAX = 200 * MS, 1000 * MS
TARGET_LOAD = 0.9
FRAME, PAYLOAD = 1514, 1448  # bytes of a full TCP segment with time stamps

# --- Measured under RSS, and calibrated on that ---
GOODPUT = 92.7e9  # bits of payload a second, the same in all phases
LINK = Rate(GOODPUT / (PAYLOAD * 8) * wire_bits(FRAME), "bps")
LOAD = 0.5215  # mean CPU load, seconds 1 to 9
SERVICE = round(LOAD * CORES * SECOND * PAYLOAD * 8 / GOODPUT)  # ps a packet: 1.173 us
WINDOW = 39.7
"""Packets: the mean round trip under RSS is 509 us, over flows; equal windows, as nothing says otherwise."""

# --- Assumed ---
DELAY = 50 * US  # of a round trip, apart from queues and the packet's own service
RING = 4096  # holds all windows together, so that nothing is dropped

DRAWS = (10, 17, 168, 103, 171, 130, 6, 53)
"""Draws of source ports and hash key: of 200 tried under RSS alone (`unevenness`) those whose standard
deviation over the cores is nearest to the published one, 36 points. The median of all is 15: which runs of
source ports crowd into few entries of the table is a matter of the key."""
MEASURED_SD = 36.1  # points, mean of the seconds 1 to 10 under RSS


def scenario() -> Scenario:
    """Return the device under test with all three phases."""
    return Scenario(
        name=NAME,
        duration=PHASES["full"][-1] * SECOND,
        traffic=Flows(flows=FLOWS, frame=FRAME, tuples="ports"),
        arrivals=Closed(link=LINK, window=WINDOW, delay=DELAY),
        nic=Nic(dispatch=dispatch(DRAWS[0], *PHASES["full"][:2])),
        server=Server(cores=CORES, ring=RING, burst=1, cost=Cost(work=Fixed(time=Work(SERVICE)))),
        measure=Measure(interval=SECOND, latency=True),
    )


def dispatch(draw: int, begin: int, scaling: int) -> Rsspp:
    """Return RSS++ as a kernel runs it; it and its scaling are switched on at these seconds."""
    return Rsspp(
        table=TABLE,
        key=f"random:{draw}",
        tick=TICK,
        tick_max=TICK_MAX,
        threshold=rsspp.THRESHOLD,
        target_load=TARGET_LOAD,
        load="cpu",
        begin=begin * SECOND,
        scaling=Scaling(begin=scaling * SECOND),
    )


def points(full: bool) -> list[Point]:
    """Return every draw; at quick scale three, with shorter phases."""
    begin, scaling, end = PHASES["full" if full else "quick"]
    return [
        Point(
            {"series": SERIES, "draw": draw, "begin_s": begin},
            {
                "replication": draw,
                "duration": end * SECOND,
                "nic.dispatch": dispatch(draw, begin, scaling),
            },
        )
        for draw in (DRAWS if full else DRAWS[:3])
    ]


def measure(result: Result) -> list[dict[str, Any]]:
    """Return the load of every core in every second, in %, with their standard deviation in that second."""
    load, used = 100 * result.series("core_load"), result.series("cores")["cores"]
    return [
        {
            "time_s": time,
            "core": core,
            "load_pct": load.at[time, core],
            "sd_pct": load.loc[time].std(ddof=0),
            "cores": used[time],
        }
        for time in load.index
        for core in load.columns
    ]


def cuts(tables: Tables) -> pd.DataFrame:
    """Return of every draw the standard deviation before RSS++ and after it has settled, and their ratio.

    Before: the mean over the seconds under RSS but the first. After: the last whole second that ends within
    `SETTLED` of the activation; the published one is the second from 0.9 to 1.9 s after it.
    """
    rows = tables[NAME].query("core == 0")
    since = rows["time_s"] - rows["begin_s"]
    before = rows[(rows["time_s"] > 1) & (since <= 0)].groupby("draw", sort=False)["sd_pct"].mean()
    after = rows[(since > 0) & (since <= SETTLED)].groupby("draw", sort=False)["sd_pct"].last()
    return pd.DataFrame({"before": before, "after": after, "ratio": before / after})


def spreads(tables: Tables) -> str:
    """Return the standard deviations of every draw as text."""
    lines = (f"{row.Index}: {row.before:.3g} to {row.after:.3g}" for row in cuts(tables).itertuples())
    return f"median of the draws; points before and after of every draw {', '.join(lines)}"


def unevenness(draws: range = range(200)) -> pd.DataFrame:
    """Return what draws are chosen and calibrated by, each of 80 ms under RSS alone; the chosen ones first.

    Columns: standard deviation and mean of the core loads in %, mean round trip over the flows in us (flows
    with equal windows: each round trip counts as long as it takes), packets dropped.
    """
    rss: dict[str, Any] = {"duration": 100 * MS, "warmup": 20 * MS, "measure.interval": 20 * MS}
    rows = []
    for draw in draws:
        changed = {**rss, "replication": draw, "nic.dispatch": Rss(table=TABLE, key=f"random:{draw}")}
        result = run(override(scenario(), changed))
        load = 100 * result.series("core_load").iloc[1:].mean()
        trip = time_weighted(result.latency.counts)[0]
        rows.append((draw, load.std(ddof=0), load.mean(), trip, sum(result.drops.values())))
    table = pd.DataFrame(rows, columns=["draw", "sd_pct", "load_pct", "trip_us", "drops"])
    distance = (table["sd_pct"] - MEASURED_SD).abs()
    return table.iloc[distance.argsort(kind="stable")].reset_index(drop=True)


def time_weighted(counts: Int64s) -> tuple[float, float, pd.Series]:
    """Return mean and standard deviation in us of the round trips under way at any instant, and their law.

    Published round trips are what the kernel's estimate of each flow says now and then, so one counts as long
    as it takes; `counts` is the histogram of packets, in ps. The law is the cumulative share by round trip.
    """
    trip = bin_middles() / US
    share = counts * trip
    share /= share.sum()
    mean = float((share * trip).sum())
    deviation = float(np.sqrt((share * (trip - mean) ** 2).sum()))
    return mean, deviation, pd.Series(share.cumsum(), trip)


def heat_map(shows: Literal["simulated", "published"], where: str = "") -> Panel:
    """Return the heat map of what was simulated or published."""
    return Panel(
        x="time_s",
        y="core",
        series=(SERIES,),
        xlabel="time (s)",
        ylabel="core",
        heat="load_pct",
        heat_label="CPU load (%)",
        heat_range=(0, 100),
        shows=shows,
        where=where,
    )


STUDY = Study(
    name=NAME,
    title="RSS++ Fig. 1: core loads under RSS, under RSS++ from 10 s, with scaling from 20 s",
    base=scenario(),
    points=points,
    measure=measure,
    claims=(Claim("RS-18", lambda tables: float(cuts(tables)["ratio"].median(skipna=False)), spreads),),
    published=rsspp.published(NAME),
    panels=(
        heat_map("simulated", f"draw == {DRAWS[0]}"),
        heat_map("published"),
        Panel(
            x="time_s",
            y="sd_pct",
            series=(SERIES,),
            xlabel="time (s)",
            ylabel="standard deviation over the cores (points)",
            ylim=(0, 40),
            where="core == 0",
        ),
    ),
)
