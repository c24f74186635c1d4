"""Metron at 100 Gb/s: throughput of one chain on three generations of machines, over the number of cores.

Published are three numbers alone: 76, 85 and 100 Gb/s. The first two calibrate a limit each, of the older NIC
and of the older host (see `lbsim.chain.hardware`); the third, newer NIC and newer host, is predicted. Neither
the chain nor the frames were published: both are assumed, a firewall, NAPT and a load balancer, and the sizes
of the campus trace.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from experiments import packetmill_testbed as packetmill
from lbsim.chain.cost import framework
from lbsim.chain.hardware import machine
from lbsim.scenario import (
    Backends,
    Chain,
    Deterministic,
    Firewall,
    Flows,
    Metron,
    Napt,
    Nic,
    NicLimit,
    Rate,
    Scenario,
    Server,
)
from lbsim.study import Claim, Panel, Point, Study
from lbsim.units import MS

NAME: Final = "metron-100g"
SERIES: Final = {
    "Haswell, ConnectX-4": "haswell_connectx4",
    "Haswell, ConnectX-5": "haswell_connectx5",
    "Skylake, ConnectX-5": "skylake_connectx5",
}
CLAIMED: Final = dict(zip(("76", "85", "100"), SERIES, strict=True))
CORES: Final = (1, 2, 3, 4, 6, 8, 12, 16)
FLOWS: Final = 4096
LINE: Final = Rate.parse("100Gbps")
DURATION: Final = {"full": 500 * MS, "quick": 40 * MS}
WARMUP: Final = 20 * MS


def base() -> Scenario:
    """Return the chain under Metron's dispatch, fed at the rate of the wire."""
    return Scenario(
        name=NAME,
        warmup=WARMUP,
        duration=2 * WARMUP,
        traffic=Flows(flows=FLOWS, frame="campus"),
        arrivals=Deterministic(rate=LINE),
        nic=Nic(dispatch=Metron(controller="none")),
        chain=Chain(functions=(Firewall(), Napt(), Backends()), synthesised=True, offload="nic"),
        server=Server(
            cores=CORES[-1],
            hardware=SERIES["Skylake, ConnectX-5"],
            ring=packetmill.RING,
            burst=packetmill.BURST,
            cost=framework("forwarder fosdem"),
        ),
    )


def points(full: bool) -> list[Point]:
    """Return every machine with every number of cores."""
    scale = "full" if full else "quick"
    return [
        Point(
            {"series": series, "cores": cores},
            {
                "duration": WARMUP + DURATION[scale],
                "server.cores": cores,
                "server.hardware": name,
                "nic.limit": NicLimit(rate=machine(name).limit(packetmill.MEAN_FRAME)),
            },
        )
        for (series, name), cores in product(SERIES.items(), CORES)
    ]


STUDY = Study(
    name=NAME,
    title="Metron: one chain on three generations of machines",
    base=base(),
    points=points,
    measure=packetmill.measure,
    claims=tuple(
        Claim(
            f"ME-10-{gbps}",
            packetmill.reader(NAME, "throughput_gbps", series=series, cores=CORES[-1]),
        )
        for gbps, series in CLAIMED.items()
    ),
    panels=(
        Panel(
            x="cores",
            y="throughput_gbps",
            series=tuple(SERIES),
            xlabel="cores",
            ylabel="throughput (Gb/s)",
        ),
        Panel(
            x="cores",
            y="p99_us",
            series=tuple(SERIES),
            xlabel="cores",
            ylabel="p99 latency (µs)",
            log=True,
        ),
    ),
)
