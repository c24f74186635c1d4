"""Metron's controller and agent after a step of load: cores and the load of the busiest core over time.

The server is idle for a second, then gets the work of 1.2, 3 or 6 cores, then a twentieth of it. The
controller splits a core whose load is 1.0 at the fifth sample that sees it, and again at the second sample
after a change; by then the core has worked off its ring, which looks like load, so that 1.2 cores of work end
up on three. A split halves the number of a core's traffic classes: with few flows, all alike, every flow
is a class of its own, so the share of packets that a core still gets tells how many classes it kept.
"""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from lbsim.metrics.result import Result
from lbsim.scenario import (
    Cost,
    Fixed,
    Flows,
    Measure,
    Metron,
    Nic,
    Poisson,
    Profile,
    Rate,
    Scaling,
    Scenario,
    Server,
    Work,
)
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import MS, SECOND, US

NAME: Final = "metron-controller"
CORES: Final = 8
FLOWS: Final = 4096  # of the steps
WORK: Final = 5 * US  # of a packet; assumed
STEP: Final = 1  # s at which the load comes
FALL: Final = {"full": 16, "quick": 9}  # s at which nearly all of it goes
LENGTH: Final = {"full": 32, "quick": 18}  # s
REST: Final = 0.05  # of the load that stays
PERIOD: Final = 100 * MS  # of the controller
LOOK: Final = 50 * MS  # period of the time series
SETTLED: Final = 100 * MS  # after the split, by when the ring of the split core has emptied
SPLIT: Final = STEP * SECOND + 5 * PERIOD  # when it comes
CLASSES: Final = {"full": (1, 2, 3, 4, 5, 7, 8, 16, 33, 64), "quick": (1, 2, 3, 5, 8)}
JUST_FULL: Final = 1.2  # cores of work that fill one core and then leave two alone for at least a second
SERIES: Final[dict[str, tuple[float, Metron]]] = {
    "controller, 1.2 cores": (JUST_FULL, Metron(scaling=Scaling(start=1))),
    "controller, 3 cores": (3, Metron(scaling=Scaling(start=1))),
    "controller, 6 cores": (6, Metron(scaling=Scaling(start=1))),
    "controller, 6 cores, 1 ms a rule": (6, Metron(scaling=Scaling(start=1), per_rule=MS)),
    "agent, 3 cores": (3, Metron(scaling=Scaling(start=1), controller="agent")),
}
"""Work offered, in cores, and who answers; 1 ms a rule is assumed, as nothing was published."""


def points(full: bool) -> list[Point]:
    """Return the steps, and steps of few flows that end before a second split."""
    scale = "full" if full else "quick"
    return [
        Point(
            {"series": series, "part": "step"},
            {
                "arrivals": step(work, FALL[scale], LENGTH[scale]),
                "nic.dispatch": dispatch,
                "duration": LENGTH[scale] * SECOND,
            },
        )
        for series, (work, dispatch) in SERIES.items()
    ] + [
        Point(
            {"series": f"{classes} classes", "part": "split"},
            {"traffic.flows": classes, "server.ring": 256, "duration": SPLIT + SECOND - LOOK},
        )
        for classes in CLASSES[scale]
    ]


def step(work: float, fall: int, length: int) -> Poisson:
    """Return arrivals that bring nothing, then the work of that many cores, then nearly nothing."""
    factors = (0.0,) * STEP + (1.0,) * (fall - STEP) + (REST,) * (length - fall)
    rate = Rate(work * SECOND / WORK, "pps")
    return Poisson(rate=rate, profile=Profile(every=SECOND, factors=factors))


def measure(result: Result) -> list[dict[str, Any]]:
    """Return cores in use and the busiest core's load over time, or who kept how many classes in a split."""
    if result.scenario.traffic.flows < FLOWS:
        return [shares(result)]
    load, used = result.series("core_load"), result.series("cores").iloc[:, 0]
    drops = result.series("drops")
    return [
        {
            "time_s": end,
            "cores": int(used[end]),
            "load": float(load.loc[end].max()),
            "drops_kpps": drops.loc[end].sum() / 1e3,
        }
        for end in load.index
    ]


def shares(result: Result) -> dict[str, Any]:
    """Return the classes, how many the first core kept by its share of packets, and how many rules moved."""
    flows = result.scenario.traffic.flows
    packets = result.series("packets").loc[(SPLIT + SETTLED) / SECOND :].sum()
    return {
        "classes": flows,
        "kept": float(flows * packets[0] / packets.sum()),
        "moved": result.control["moves"],
        "cores": result.series("cores").iloc[-1, 0],
    }


def first_splits(tables: Tables) -> pd.Series:
    """Return how many samples saw the load until the first split was in force, one a series."""
    rows = tables[NAME].query("part == 'step' and cores > 1")
    seen = rows[rows["series"].str.startswith("controller")].groupby("series")["time_s"].min()
    # The split comes with a sample, the time series shows it at its next look.
    return ((seen - STEP) * SECOND / PERIOD + 1e-6).astype(int)


def first_split(tables: Tables) -> float:
    """Return that number where the rules take effect at once; ValueError where the steps do not agree."""
    splits = first_splits(tables)
    at_once = splits[[name for name in splits.index if SERIES[name][1].per_rule == 0]]
    if at_once.nunique() != 1:
        raise ValueError(f"first splits differ or are missing: {at_once.to_dict()}")
    return float(at_once.iloc[0])


def halves(tables: Tables) -> float:
    """Return 1 where every split kept ceil(m / 2) classes and moved the rest, and none split a single one."""
    rows = tables[NAME].query("part == 'split'")
    m, kept, moved = (rows[name] for name in ("classes", "kept", "moved"))
    larger = abs(kept - (m - m // 2)) < 0.5  # shares of random packets
    return float(
        len(rows) > 0 and larger.all() and (moved == m // 2).all() and (m > 1).eq(rows["cores"] > 1).all()
    )


def panel(y: str, ylabel: str, where: str = "part == 'step'", **more: Any) -> Panel:
    """Return a picture over time."""
    return Panel(
        x="time_s",
        y=y,
        series=tuple(SERIES),
        xlabel="time (s)",
        ylabel=ylabel,
        step=True,
        where=where,
        **more,
    )


STUDY: Final = Study(
    name=NAME,
    title="Metron's controller after a step of load: the fifth sample, then halves of the classes",
    base=Scenario(
        name=NAME,
        duration=LENGTH["full"] * SECOND,
        traffic=Flows(flows=FLOWS),
        arrivals=step(JUST_FULL, FALL["full"], LENGTH["full"]),
        nic=Nic(dispatch=Metron(scaling=Scaling(start=1))),
        server=Server(cores=CORES, cost=Cost(work=Fixed(time=Work(WORK)))),
        measure=Measure(interval=LOOK),
    ),
    points=points,
    measure=measure,
    claims=(
        Claim("ME-01", first_split, lambda tables: f"in force after {first_splits(tables).to_dict()}"),
        Claim(
            "ME-02",
            halves,
            lambda tables: (
                "classes kept + moved: "
                + ", ".join(
                    f"{row.classes:.0f}: {row.kept:.2f} + {row.moved:.0f}"
                    for row in tables[NAME].query("part == 'split'").itertuples()
                )
            ),
        ),
    ),
    panels=(
        panel("cores", f"cores in use (of {CORES})"),
        panel("cores", "cores in use", f"part == 'step' and time_s < {STEP + 3}"),
        panel("load", "load of the busiest core", f"part == 'step' and time_s < {STEP + 3}", rule=0.75),
        panel("drops_kpps", "drops (thousand packets/s)"),
    ),
)
