"""FastClick against Click over kernel sockets: one core at 1.2 GHz, packets of the campus trace.

Each cost of a packet is read off its own measured rate, so the ratio checks an input; how rate and latency
follow the offered load is predicted.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final

from experiments import packetmill_testbed as packetmill
from lbsim.chain.cost import framework
from lbsim.scenario import Chain, Rate, Router
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import MS

NAME: Final = "fastclick-click"
CLOCK: Final = 1.2e9
FASTCLICK, ROUTER, CLICK = "FastClick, forwarding", "FastClick, routing", "Click, kernel sockets"
SERIES: Final[dict[str, dict[str, Any]]] = {
    FASTCLICK: {"server.cost": framework("forwarder fosdem")},
    ROUTER: {"server.cost": framework("forwarder fosdem"), "chain": Chain(functions=(Router(routes=4),))},
    CLICK: {"server.cost": framework("click kernel sockets")},
}
OFFERED: Final = (0.5, 1, 1.5, 2, 2.5, 5, 10, 20, 30, 40, 50, 60, 70, 85, 100)  # Gb/s
DURATION: Final = {"full": 500 * MS, "quick": 80 * MS}


def points(full: bool) -> list[Point]:
    """Return each of the three at every load."""
    loads = OFFERED if full else OFFERED[1::2]
    return [
        Point(
            {"series": series, "offered_gbps": load},
            {
                "duration": DURATION["full" if full else "quick"],
                "arrivals.rate": Rate(load * 1e9, "bps"),
                **differences,
            },
        )
        for (series, differences), load in product(SERIES.items(), sorted({*loads, OFFERED[-1]}))
    ]


def ratio(tables: Tables) -> float:
    """Return the link rate that FastClick forwards / that Click routes, each as fast as it can."""
    fast, slow = (
        packetmill.value(tables[NAME], "throughput_gbps", series=series, offered_gbps=OFFERED[-1])
        for series in (FASTCLICK, CLICK)
    )
    return fast / slow


STUDY = Study(
    name=NAME,
    title="FastClick and kernel-socket Click on one core at 1.2 GHz",
    base=packetmill.saturated(NAME, "forwarder fosdem", clock=CLOCK),
    points=points,
    measure=packetmill.measure,
    claims=(Claim("PM-08", ratio),),
    panels=(
        Panel(
            x="offered_gbps",
            y="throughput_gbps",
            series=tuple(SERIES),
            xlabel="offered load (Gb/s)",
            ylabel="throughput (Gb/s)",
            xlog=True,
            log=True,
        ),
        Panel(
            x="offered_gbps",
            y="p50_us",
            series=tuple(SERIES),
            xlabel="offered load (Gb/s)",
            ylabel="median latency (µs)",
            xlog=True,
            log=True,
        ),
    ),
)
