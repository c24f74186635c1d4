"""Cheetah, Section 2, "DIP updates": connections broken over the rate of server updates.

The legend of the published plot is swapped: by the names in the code and by the authors' description, the
upper curve is without daisy chaining. Its numbers were counted by a rule that the published code no longer
has: the code counts every move to a server that comes back, the numbers agree with counting the moves to
servers where the connection had not been. Both are here, and what is intended: a connection breaks once, when
the balancer no longer reaches the server that holds its state; breaks that no balancer can avoid, because
that server itself goes down, are counted apart. In all of them an update may hit a server that is down
already: with a mean down-time of half an hour, updates of servers that are up would empty the cluster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from experiments import cheetah_sim as cheetah
from experiments.cheetah_sim import AS_PUBLISHED, INTENDED
from lbsim.engine.section2.dip import Churn, dip
from lbsim.engine.section2.groups import Rule
from lbsim.study import Claim, Panel, Study

NAME = "cheetah-sim-dip"
WITHOUT, WITH = "without daisy chaining", "with daisy chaining"
EVERY_MOVE = "without, every move counted"
VNODES = 30  # command line of the published results
UPDATES = (1.56, 3.12, 7.8, 15.6, 31.2, 78.0)  # a minute: 1/300, 1/150, 1/60, 1/30, 1/15, 1/6 of the servers
JUDGED = (15.6, 78.0)
QUICK = (3.12, *JUDGED)
HOUR = 10_000.0  # s, end_time column of the published results
LONG = 68_528.0  # s; without chaining their 224,850,000 connections took that long
RULES: dict[tuple[str, str], tuple[Rule, float]] = {
    (WITH, AS_PUBLISHED): ("chain", HOUR),
    (WITHOUT, AS_PUBLISHED): ("new-server", LONG),
    (EVERY_MOVE, AS_PUBLISHED): ("every-move", HOUR),
    (WITH, INTENDED): ("chain-once", HOUR),
    (WITHOUT, INTENDED): ("once", HOUR),
}
QUICK_TARGET = cheetah.TARGET // 20  # each connection meets the same updates, however many others there are


class Point(NamedTuple):
    """One run."""

    series: str
    counted: str
    updates: float  # a minute
    seed: int
    target: int  # connections active at a time
    end: float  # s
    most: int  # connections


def points(full: bool) -> list[Point]:
    """Return every rule at every update rate; at quick scale few rates and a twentieth of the connections."""
    return [
        Point(series, counted, updates, seed, target, end, round(end * target / cheetah.MEAN_DURATION))
        for (series, counted), (_, end) in RULES.items()
        for updates in (UPDATES if full else QUICK)
        for seed in cheetah.SEEDS[: 5 if full and counted == AS_PUBLISHED and updates in JUDGED else 1]
        for target in [cheetah.TARGET if full else QUICK_TARGET]
    ]


def row(point: Point) -> dict[str, Any]:
    """Return the connections broken in one run, % of those started."""
    rule, _ = RULES[point.series, point.counted]
    end = 2 * point.end  # the number of connections ends the run
    churn = Churn(point.updates, rule, point.target, cheetah.SERVERS, VNODES, end, point.most)
    seen = dip(churn, point.seed)
    return {
        **point._asdict(),
        "connections": seen.connections,
        "broken_pct": seen.percent,
        "forced_pct": 100 * seen.forced / seen.connections,
        "servers_up": seen.up,
    }


def claim(id_: str, series: str, updates: float) -> Claim:
    """Return the claim on the share broken as published."""
    query = f"counted == '{AS_PUBLISHED}' and series == '{series}' and updates == {updates}"
    return cheetah.over_seeds(id_, NAME, query, "broken_pct")


def panel(counted: str, series: tuple[str, ...]) -> Panel:
    """Return the panel of one way to count."""
    return Panel(
        x="updates",
        y="broken_pct",
        series=series,
        xlabel="server updates per minute",
        ylabel=f"broken (%), {counted}",
        log=True,
        xlog=True,
        ylim=(1e-4, 10),
        where=f"counted == '{counted}'",
        band="interval",
    )


STUDY = Study(
    name=NAME,
    title="Cheetah, Section 2: connections broken by server updates, 468 servers",
    points=points,
    compute=row,
    size=lambda point: point.most,
    claims=(
        claim("CH-SIM-18", WITH, 15.6),
        claim("CH-SIM-19", WITH, 78),
        claim("CH-SIM-20", WITHOUT, 15.6),
        claim("CH-SIM-21", WITHOUT, 78),
    ),
    published=cheetah.published(NAME),
    panels=(panel(AS_PUBLISHED, (WITHOUT, WITH, EVERY_MOVE)), panel(INTENDED, (WITHOUT, WITH))),
)
