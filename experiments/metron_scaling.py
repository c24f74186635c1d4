"""Metron's scaling at 10 and 100 Gb/s: cores over time under its controller, its agent, and RSS++.

The dynamic scaling of Metron was shown at 10 Gb/s (NSDI 2018) and again at 100 Gb/s (TOCS 2021); neither's
numbers were published, so there is nothing to compare with, and no claim. The load rises, stays and falls; a
packet's work is assumed, and is such that the peak needs the same number of cores at both rates. What differs
is how many packets come while a controller waits for its fifth sample, and how evenly they fall on classes.
"""

from __future__ import annotations

from typing import Any, Final

from experiments import rsspp_testbed as rsspp
from lbsim.metrics.result import Result
from lbsim.scenario import (
    AnyDispatch,
    Batched,
    Campus,
    Cost,
    Fixed,
    Measure,
    Metron,
    Nic,
    Profile,
    Rate,
    Rsspp,
    Scaling,
    Scenario,
    Server,
    Work,
)
from lbsim.study import Panel, Point, Study
from lbsim.units import MS, SECOND, wire_bits

NAME: Final = "metron-scaling"
CORES: Final = 16
PEAK: Final = 7.0  # cores of work at the peak; assumed
MEAN_FRAME: Final = 1002  # bytes, of Campus #4
RATES: Final = (10, 100)  # Gb/s of the line
FULL: Final = 0.99  # of the line at the peak
LENGTH: Final = {"full": {10: 60, 100: 60}, "quick": {10: 40, 100: 8}}  # s, by rate
RUNS: Final = {"full": 2, "quick": 1}  # deals of the classes, or keys
LOW: Final = 0.1  # of the peak, at both ends
ONE: Final = Scaling(start=1)


def rivals(luck: int) -> dict[str, AnyDispatch]:
    """Return who scales; `luck` deals the traffic classes, or draws the hash key.

    1 ms a rule is assumed, as nothing was published.
    """
    return {
        "Metron, controller": Metron(deal=luck, scaling=ONE),
        "Metron, controller, 1 ms a rule": Metron(deal=luck, scaling=ONE, per_rule=MS),
        "Metron, agent": Metron(deal=luck, scaling=ONE, controller="agent"),
        "RSS++": Rsspp(key=f"random:{luck}", threshold=rsspp.THRESHOLD, scaling=ONE),
    }


SERIES: Final = tuple(rivals(0))


def points(full: bool) -> list[Point]:
    """Return every rival at both rates."""
    scale = "full" if full else "quick"
    length = LENGTH[scale]
    return [
        Point(
            {"series": series, "gbps": gbps, "key": key},
            {
                "duration": length[gbps] * SECOND,
                "arrivals": arrivals(gbps, length[gbps]),
                "server.cost": cost(gbps),
                "nic.dispatch": dispatch,
            },
        )
        for gbps in RATES
        for key in range(RUNS[scale])
        for series, dispatch in rivals(key).items()
    ]


def arrivals(gbps: float, length: int) -> Batched:
    """Return a load that rises for 3/8 of the time, stays for 1/4, and falls for the rest."""
    rise, fall = length * 3 // 8, length * 5 // 8
    factors = tuple(
        LOW + (1 - LOW) * min(second / rise, 1.0, (length - 1 - second) / (length - 1 - fall))
        for second in range(length)
    )
    return Batched(
        rate=Rate(FULL * gbps * 1e9, "bps"),
        batch=rsspp.TRACE_BATCH,
        profile=Profile(every=SECOND, factors=factors),
    )


def cost(gbps: float) -> Cost:
    """Return the cost of a packet that makes the peak of that rate fill `PEAK` cores."""
    work = PEAK * SECOND * wire_bits(MEAN_FRAME) / (FULL * gbps * 1e9)
    return Cost(work=Fixed(time=Work(round(work))))


def measure(result: Result) -> list[dict[str, Any]]:
    """Return what happened in each half second: load, cores, the busiest core, drops, and the tail."""
    load, drops, packets = (result.series(name) for name in ("core_load", "drops", "packets"))
    used, tail = result.series("cores").iloc[:, 0], result.series("latency_us")["p99"]
    return [
        {
            "time_s": end,
            "work_cores": load.loc[end].sum(),
            "cores": int(used[end]),
            "busiest": load.loc[end].max(),
            "drops_pct": 100 * drops.loc[end].sum() / max(1.0, (drops.loc[end] + packets.loc[end]).sum()),
            "p99_us": tail[end],
        }
        for end in load.index
    ]


def panel(y: str, ylabel: str, gbps: int, **more: Any) -> Panel:
    """Return the picture of a quantity over time at one rate."""
    return Panel(
        x="time_s",
        y=y,
        series=SERIES,
        xlabel="time (s)",
        ylabel=f"{gbps} Gb/s: {ylabel}",
        step=True,
        where=f"gbps == {gbps}",
        **more,
    )


STUDY: Final = Study(
    name=NAME,
    title="Metron's scaling at 10 and 100 Gb/s, beside RSS++",
    base=Scenario(
        name=NAME,
        duration=LENGTH["full"][100] * SECOND,
        traffic=Campus(trace="campus-4"),
        arrivals=arrivals(100, LENGTH["full"][100]),
        nic=Nic(dispatch=rivals(0)[SERIES[0]]),
        server=Server(cores=CORES, ring=rsspp.RING, burst=rsspp.BURST, cost=cost(100)),
        measure=Measure(interval=SECOND // 2, latency=True),
    ),
    points=points,
    measure=measure,
    claims=(),
    panels=tuple(
        panel(y, label, gbps, **more)
        for y, label, more in (
            ("cores", f"cores in use (of {CORES})", {}),
            ("drops_pct", "dropped (%)", {"symlog": 1}),
            ("p99_us", "p99 latency (µs)", {"log": True}),
        )
        for gbps in RATES
    ),
)
