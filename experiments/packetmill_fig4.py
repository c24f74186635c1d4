"""PacketMill Fig. 4: what optimising the source of a router brings, over the clock of its core.

Costs are fits to these very points between 1.2 and 2.2 GHz; above, they are extrapolated.
"""

from __future__ import annotations

from typing import Final

from experiments import packetmill_testbed as packetmill
from lbsim.chain.cost import framework
from lbsim.study import Claim, Panel, Point, Study

NAME: Final = "packetmill-fig4"
CLOCKS: Final = (1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0)  # GHz
SERIES: Final = {
    "Vanilla": "router vanilla",
    "Devirtualised": "router devirtualised",
    "Constants": "router constants",
    "Static graph": "router static graph",
    "All": "router all",
}


def points(full: bool) -> list[Point]:
    """Return every configuration at every clock."""
    return [
        Point(
            {"series": series, "clock_ghz": clock},
            {"server.clock": clock * 1e9, "server.cost": framework(configuration)},
        )
        for series, configuration in SERIES.items()
        for clock in (CLOCKS if full else CLOCKS[::3])
    ]


def panel(y: str, ylabel: str, series: dict[str, str] = SERIES) -> Panel:
    """Return the panel of a quantity over the clock."""
    return Panel(x="clock_ghz", y=y, series=tuple(series), xlabel="clock (GHz)", ylabel=ylabel)


STUDY = Study(
    name=NAME,
    title="PacketMill Fig. 4: router on one core, source optimisations over clock",
    base=packetmill.saturated(NAME, SERIES["Vanilla"]),
    points=points,
    measure=packetmill.measure,
    claims=(
        *(
            Claim(
                f"PM-01-{clock}",
                packetmill.reader(NAME, "rate_mpps", series="Vanilla", clock_ghz=clock),
            )
            for clock in (1.2, 1.8, 2.4, 3.0)
        ),
        Claim("PM-02", packetmill.reader(NAME, "rate_mpps", series="All", clock_ghz=3.0)),
    ),
    published=packetmill.published(NAME),
    panels=(panel("rate_mpps", "rate (million packets/s)"), panel("p50_us", "median latency (µs)")),
)
