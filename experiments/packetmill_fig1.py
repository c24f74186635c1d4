"""PacketMill Fig. 1: throughput and latency of a router on one core as the replay of the trace speeds up.

Costs come from the fits of Fig. 4 and 5a, nothing of this figure but the path's delay is calibrated. The
vanilla router, however, did not run in it as it did in Fig. 4: at 2.3 GHz it got no further than 6.1 million
packets per second, where Fig. 4 has 6.7 at 2.2 GHz. A third series has the cost of this figure; the claim has
that of Fig. 4.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import numpy as np

from experiments import packetmill_testbed as packetmill
from experiments import rsspp_testbed as rsspp
from lbsim.chain.cost import framework
from lbsim.scenario import Measure, Recorded
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import SECOND

NAME: Final = "packetmill-fig1"
SLOWER: Final = "Vanilla, as slow as here"
SERIES: Final = {
    packetmill.VANILLA: "router vanilla",
    packetmill.PACKETMILL: "router packetmill",
    SLOWER: "router vanilla, replay",
}
TRACE: Final = (1, 5)  # seconds of the trace that count; the published runs play its first 2 million packets
WINDOW_PPS: Final = 614_937  # packets per second of these seconds (rsspp/experiments)
REPLAY_PPS: Final = 630_000  # what the published runs sent at a replay speed of 100 %
GBPS: Final = 10.66951 / 200  # what 1 % is on the wire, by the throughput at 200 %
SPEEDS: Final = (200, 400, 600, 800, 1000, 1200, 1400, 1500, 1600, 1700, 1800, 1900, 2000)  # %
BETWEEN: Final = (850, 900, 950, 1050, 1100, 1150, 1650, 1750)  # %, where the knees may be
MARK: Final = 100.0  # us: where a knee is read


def points(full: bool) -> list[Point]:
    """Return both routers at every speed."""
    speeds = (*SPEEDS, *BETWEEN) if full else (200, 800, 1000, 1050, 1100, 1200, 1600, 1650, 1700, 2000)
    return [
        Point(
            {"series": series, "offered_gbps": round(speed * GBPS, 2)},
            {**window(speed), "server.cost": framework(configuration)},
        )
        for (series, configuration), speed in product(SERIES.items(), sorted(speeds))
    ]


def window(percent: float) -> dict[str, Any]:
    """Return what replays the window of the trace at `percent` of its published speed."""
    speed = percent / 100 * REPLAY_PPS / WINDOW_PPS
    first, last = (round(second * SECOND / speed) for second in TRACE)
    return {"arrivals.speed": speed, "warmup": first, "duration": last}


def knee(tables: Tables, series: str) -> float:
    """Return the throughput in Gb/s at which the median latency passes 100 us, its logarithm interpolated.

    nan where it does not.
    """
    rows = tables[NAME].query(f"series == '{series}'").sort_values("offered_gbps")
    latency, gbps = rows["p50_us"].to_numpy(), rows["throughput_gbps"].to_numpy()
    over = np.flatnonzero(latency >= MARK)
    if not len(over) or over[0] == 0:
        return float("nan")
    k = over[0]
    return float(np.interp(np.log(MARK), np.log(latency[k - 1 : k + 1]), gbps[k - 1 : k + 1]))


def panel(y: str, ylabel: str, **more: Any) -> Panel:
    """Return the panel of a quantity over the offered load."""
    return Panel(
        x="offered_gbps", y=y, series=tuple(SERIES), xlabel="offered load (Gb/s)", ylabel=ylabel, **more
    )


STUDY = Study(
    name=NAME,
    title="PacketMill Fig. 1: router on one core over offered load",
    base=packetmill.saturated(NAME, SERIES[packetmill.VANILLA]).model_copy(
        update={
            "arrivals": Recorded(speed=2.0, batch=rsspp.TRACE_BATCH),
            "measure": Measure(path_delay=packetmill.MACHINE.path_delay),
        }
    ),
    points=points,
    measure=packetmill.measure,
    claims=(
        Claim(
            "PM-07-v",
            lambda tables: knee(tables, packetmill.VANILLA),
            lambda tables: f"with the cost of this figure itself {knee(tables, SLOWER):.3g}",
        ),
        Claim("PM-07-p", lambda tables: knee(tables, packetmill.PACKETMILL)),
    ),
    published=packetmill.published(NAME),
    panels=(
        panel("throughput_gbps", "throughput (Gb/s)"),
        panel("p50_us", "median latency (µs)", log=True, rule=MARK),
        panel("p99_us", "p99 latency (µs)", log=True),
    ),
)
