"""PacketMill Fig. 6: a saturated router over the size of packets, all of one size.

A vanilla router costs 270 cycles whatever the size, PacketMill's 178: these are calibrated on 64 bytes. What
one receive queue hands over, and how long the sender's queue is, is calibrated on a few sizes (see the
machine's profile); the rest is predicted.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from experiments import packetmill_testbed as packetmill
from lbsim.chain.cost import framework
from lbsim.scenario import Rate
from lbsim.study import Claim, Panel, Point, Study
from lbsim.units import wire_bits

NAME: Final = "packetmill-fig6"
SERIES: Final = {
    packetmill.VANILLA: "router vanilla, fixed size",
    packetmill.PACKETMILL: "router packetmill, fixed size",
}
SIZES: Final = (64, 192, 320, 448, 576, 704, 832, 1088, 1344, 1472, 1500)  # bytes
FASTEST: Final = 45e6  # packets per second that the sender manages; up to 192 bytes it does not fill the wire


def points(full: bool) -> list[Point]:
    """Return both routers with every size, at the rate of the wire."""
    return [
        Point(
            {"series": series, "size": size},
            {
                "traffic": packetmill.fixed_size(size),
                "arrivals.rate": Rate(min(packetmill.LINE.value, FASTEST * wire_bits(size)), "bps"),
                "server.cost": framework(configuration),
                "measure.path_delay": path_delay(size),
            },
        )
        for (series, configuration), size in product(SERIES.items(), SIZES if full else SIZES[::2])
    ]


def path_delay(size: int) -> int:
    """Return the ps a packet spends outside the server, in a queue too where the sender waits."""
    held_up = packetmill.LINE.pps(size) < FASTEST
    return packetmill.MACHINE.path(size) if held_up else packetmill.MACHINE.path_delay


def panel(y: str, ylabel: str) -> Panel:
    """Return the panel of a quantity over the size."""
    return Panel(x="size", y=y, series=tuple(SERIES), xlabel="packet size (bytes)", ylabel=ylabel)


STUDY = Study(
    name=NAME,
    title="PacketMill Fig. 6: saturated router on one core over packet size",
    base=packetmill.saturated(NAME, SERIES[packetmill.VANILLA]),
    points=points,
    measure=packetmill.measure,
    claims=(Claim("PM-06", packetmill.reader(NAME, "p50_us", series=packetmill.VANILLA, size=64)),),
    published=packetmill.published(NAME),
    panels=(
        panel("throughput_gbps", "throughput (Gb/s)"),
        panel("rate_mpps", "rate (million packets/s)"),
        panel("p50_us", "median latency (µs)"),
    ),
)
