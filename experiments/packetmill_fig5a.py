"""PacketMill Fig. 5a: what each way to keep packets' metadata costs a forwarder, over the clock of its core.

Costs are fits to these very points between 1.2 and 2.2 GHz. Where the curves end is predicted: what a receive
queue hands over at most is calibrated on packets of one size (Fig. 6).
"""

from __future__ import annotations

from itertools import product
from typing import Final

from experiments import packetmill_fig4
from experiments import packetmill_testbed as packetmill
from lbsim.chain.cost import framework
from lbsim.study import Claim, Point, Study

NAME: Final = "packetmill-fig5a"
SERIES: Final = {
    "Copying": "forwarder copying",
    "Overlaying": "forwarder overlaying",
    "X-Change": "forwarder xchange",
}
CLAIMED: Final = 2.0  # GHz


def points(full: bool) -> list[Point]:
    """Return every way at every clock."""
    clocks = packetmill_fig4.CLOCKS if full else (1.2, 2.0, 2.4, 3.0)
    return [
        Point(
            {"series": series, "clock_ghz": clock},
            {"server.clock": clock * 1e9, "server.cost": framework(configuration)},
        )
        for (series, configuration), clock in product(SERIES.items(), clocks)
    ]


STUDY = Study(
    name=NAME,
    title="PacketMill Fig. 5a: forwarder on one core, metadata management over clock",
    base=packetmill.saturated(NAME, SERIES["Copying"]),
    points=points,
    measure=packetmill.measure,
    claims=tuple(
        Claim(
            f"PM-03-{series.lower() if series != 'X-Change' else series}",
            packetmill.reader(NAME, "rate_mpps", series=series, clock_ghz=CLAIMED),
        )
        for series in SERIES
    ),
    published=packetmill.published(NAME),
    panels=(
        packetmill_fig4.panel("rate_mpps", "rate (million packets/s)", SERIES),
        packetmill_fig4.panel("p50_us", "median latency (µs)", SERIES),
    ),
)
