"""PacketMill Fig. 10: NAT on 1 to 8 cores, packets of the campus trace spread by RSS at 100 Gb/s.

The cost of a packet is calibrated on one core. There is no constant for more: that two cores do less than
twice as much is the imbalance of RSS, which leaves some of them idle while others lose packets.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from experiments import packetmill_testbed as packetmill
from lbsim.chain.cost import framework
from lbsim.scenario import Rss
from lbsim.study import Claim, Panel, Point, Study

NAME: Final = "packetmill-fig10"
SERIES: Final = {packetmill.VANILLA: "nat vanilla", packetmill.PACKETMILL: "nat packetmill"}
CORES: Final = tuple(range(1, 9))


def points(full: bool) -> list[Point]:
    """Return both on every number of cores with all hash keys, a few at quick scale."""
    keys = packetmill.KEYS if full else packetmill.KEYS[:4]
    return [
        Point(
            {"series": series, "cores": cores, "key": key},
            {
                "nic.dispatch": Rss(key=key),
                "server.cores": cores,
                "server.cost": framework(configuration),
            },
        )
        for (series, configuration), cores, key in product(SERIES.items(), CORES, keys)
        if cores > 1 or key == keys[0]  # one core knows no luck
    ]


def panel(y: str, ylabel: str) -> Panel:
    """Return the panel of a quantity over the number of cores."""
    return Panel(x="cores", y=y, series=tuple(SERIES), xlabel="cores", ylabel=ylabel)


STUDY = Study(
    name=NAME,
    title="PacketMill Fig. 10: NAT over the number of cores, RSS",
    base=packetmill.saturated(NAME, SERIES[packetmill.VANILLA]),
    points=points,
    measure=packetmill.measure,
    claims=tuple(
        Claim(
            f"PM-04-{cores}",
            packetmill.reader(NAME, "rate_mpps", series=packetmill.VANILLA, cores=cores),
        )
        for cores in (1, 2, 3, 4)
    ),
    published=packetmill.published(NAME),
    panels=(panel("rate_mpps", "rate (million packets/s)"), panel("throughput_gbps", "throughput (Gb/s)")),
)
