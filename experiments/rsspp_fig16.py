"""RSS++ Fig. 16: one flow table per RSS bucket against one for all cores, a core added every 2 s."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments import rsspp_nf as nf
from experiments import rsspp_testbed as rsspp
from lbsim.metrics.result import Result
from lbsim.scenario import Flows, Grow, Measure, Nic, Rss, Scenario, Server
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import MS, NS, SECOND, wire_bits

NAME = "rsspp-fig16"
SERIES: tuple[nf.Home, ...] = ("per bucket", "shared")
CORES = 15
FLOWS, FRAME = 1024, 1500  # published test file
FRAME_GAP = 122 * NS  # on the wire at 100 Gb/s
EVERY = {"full": 2 * SECOND, "quick": 160 * MS}  # published 2 s; queues settle within 10 ms
SLICES = 4  # of the time with so many cores; the first of them is left out of its middle
KEYS = {"full": rsspp.KEYS[:3], "quick": rsspp.KEYS[:1]}


def points(full: bool) -> list[Point]:
    """Return both tables with all hash keys."""
    scale = "full" if full else "quick"
    every = EVERY[scale]
    return [
        Point(
            {"series": home, "key": key},
            {
                "duration": CORES * every,
                "measure.interval": every // SLICES,
                "nic.dispatch": dispatch(key, every),
                "server.state": nf.table(home, nf.LOOKUP),
            },
        )
        for home in SERIES
        for key in KEYS[scale]
    ]


def dispatch(key: int, every: int) -> Rss:
    """Return RSS whose table is written anew for one core more and more."""
    return Rss(table=rsspp.TABLE, key=f"random:{key}", grow=Grow(start=1, every=every))


def measure(result: Result) -> list[dict[str, Any]]:
    """Return throughput and median latency: a row for each interval, then one for each number of cores.

    Time is that of the published schedule, a core every 2 s.
    """
    gbps = result.series("packets").sum(axis=1).to_numpy() * wire_bits(FRAME) / 1e9
    p50 = result.series("latency_us")["p50"].to_numpy()
    step = EVERY["full"] / SECOND / SLICES
    rows: list[dict[str, Any]] = [
        {"time_s": k * step, "gbps_over_time": gbps[k], "p50_over_time_us": p50[k]}
        for k in range(CORES * SLICES)
    ]
    settled = [slice(n * SLICES + 1, (n + 1) * SLICES) for n in range(CORES)]
    return rows + [
        {"cores": n, "throughput_gbps": gbps[part].mean(), "p50_us": float(np.median(p50[part]))}
        for n, part in enumerate(settled, 1)
    ]


def throughput(tables: Tables, home: nf.Home, cores: int) -> float:
    """Return the throughput of a table on so many cores in Gb/s, median over the hash keys."""
    rows = tables[NAME].query(f"series == '{home}' and cores == {cores}")
    return float(rows["throughput_gbps"].median(skipna=False))


def linear(tables: Tables) -> float:
    """Return the throughput of per-bucket tables on 4 cores / 4 times that of one."""
    return throughput(tables, "per bucket", 4) / (4 * throughput(tables, "per bucket", 1))


def gain(tables: Tables) -> float:
    """Return the throughput of per-bucket tables / that of a shared one on 5 cores."""
    return throughput(tables, "per bucket", 5) / throughput(tables, "shared", 5)


STUDY = Study(
    name=NAME,
    title="RSS++ Fig. 16: per-bucket tables against a shared one, 1 to 15 cores",
    base=Scenario(
        name=NAME,
        duration=CORES * EVERY["full"],
        traffic=Flows(flows=FLOWS, frame=FRAME),
        arrivals=nf.at_line_rate(FRAME_GAP),
        nic=Nic(dispatch=dispatch(rsspp.KEYS[0], EVERY["full"])),
        server=Server(
            cores=CORES,
            ring=rsspp.RING,
            burst=rsspp.BURST,
            cost=rsspp.cost(nf.DRAWS),
            state=nf.table("per bucket", nf.LOOKUP),
            stalls=rsspp.STALLS,
        ),
        measure=Measure(interval=EVERY["full"] // SLICES, latency=True, path_delay=nf.LINE_DELAY),
    ),
    points=points,
    measure=measure,
    claims=(Claim("RS-16", linear), Claim("RS-17", gain)),
    published=rsspp.published(NAME),
    panels=(
        *(
            Panel(x="cores", y=y, series=SERIES, xlabel="cores", ylabel=ylabel, xticks=(1, 5, 10, 15))
            for y, ylabel in (
                ("throughput_gbps", "throughput (Gb/s)"),
                ("p50_us", "median latency (µs)"),
            )
        ),
        *(
            Panel(
                x="time_s", y=y, series=SERIES, xlabel="time (s), a core every 2 s", ylabel=ylabel, step=True
            )
            for y, ylabel in (
                ("gbps_over_time", "throughput (Gb/s)"),
                ("p50_over_time_us", "median latency (µs)"),
            )
        ),
    ),
)
