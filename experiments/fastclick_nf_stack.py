"""FastClick (FOSDEM 2021): network functions stacked one on another, on 1 to 8 cores at 1.2 GHz.

What each function costs is the difference that it makes on one core, so that column checks an input; more
cores are predicted: packets of the campus trace at 100 Gb/s, spread by RSS.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from experiments import packetmill_testbed as packetmill
from lbsim.metrics.result import Result
from lbsim.scenario import AnyFunction, Backends, Chain, Dpi, Monitor, Router, Rss, Sanity
from lbsim.study import Claim, Panel, Point, Study
from lbsim.units import SECOND

NAME: Final = "fastclick-nf-stack"
CLOCK: Final = 1.2e9
CONFIGURATION: Final = "forwarder fosdem"
CORES: Final = tuple(range(1, 9))
STACK: Final[dict[str, AnyFunction]] = {
    "Router": Router(routes=4),
    "+ sanity check": Sanity(),
    "+ balancer": Backends(),
    "+ monitor": Monitor(),
    "+ DPI": Dpi(),
}
SERIES: Final = tuple(STACK)


def points(full: bool) -> list[Point]:
    """Return every stack on every number of cores with some hash keys."""
    keys = packetmill.KEYS if full else packetmill.KEYS[:2]
    functions = tuple(STACK.values())
    return [
        Point(
            {"series": series, "cores": cores, "key": key},
            {
                "nic.dispatch": Rss(key=key),
                "server.cores": cores,
                "chain": Chain(functions=functions[: k + 1]),
            },
        )
        for (k, series), cores, key in product(enumerate(SERIES), CORES if full else CORES[::3], keys)
        if cores > 1 or key == keys[0]
    ]


def measure(result: Result) -> dict[str, float]:
    """Return rates and latency, and the cycles that a core spent on a packet."""
    cycles = result.busy.sum() / result.processed.sum() * CLOCK / SECOND
    return packetmill.measure(result) | {"cycles": float(cycles)}


def panel(y: str, ylabel: str) -> Panel:
    """Return the panel of a quantity over the number of cores."""
    return Panel(x="cores", y=y, series=SERIES, xlabel="cores", ylabel=ylabel)


STUDY = Study(
    name=NAME,
    title="FastClick: stacked network functions over the number of cores, 1.2 GHz",
    base=packetmill.saturated(NAME, CONFIGURATION, clock=CLOCK),
    points=points,
    measure=measure,
    claims=(Claim("PM-05", packetmill.reader(NAME, "cycles", series=SERIES[-1], cores=1)),),
    published=packetmill.published(NAME),
    panels=(panel("rate_mpps", "rate (million packets/s)"), panel("p50_us", "median latency (µs)")),
)
