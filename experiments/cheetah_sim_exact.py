"""Cheetah, Section 2, reduced runs: what the authors' own code printed for them, digit by digit."""

from __future__ import annotations

from typing import Any, NamedTuple

from lbsim.engine.section2.dip import Churn, dip
from lbsim.engine.section2.dynamic_beamer import Beamer, dynamic_beamer
from lbsim.engine.section2.groups import Rule
from lbsim.engine.section2.imbalance import Cluster, imbalance
from lbsim.study import Claim, Study

NAME = "cheetah-sim-exact"
SMALL = Cluster(4000, servers=100, buckets=100, end=300)


BROKEN: tuple[tuple[int, float, float, dict[Rule, int]], ...] = (
    (500, 78, 500, {"every-move": 441, "chain": 37}),
    (2000, 15.6, 200, {"every-move": 29, "chain": 1}),
    (8000, 15.6, 200, {"every-move": 187, "chain": 0}),
    (20000, 15.6, 200, {"every-move": 632, "chain": 3}),
)
"""Connections, updates a minute, seconds, and how many broke by rule."""


class Point(NamedTuple):
    """One run of the authors' code under Python 2.7, seed 1, and a number it printed."""

    simulated: Any  # the parameters
    what: str  # the placement, or what is counted
    printed: float


POINTS = (
    Point(SMALL, "least-loaded", 1.0286158378373202),
    Point(SMALL, "hash", 1.6575670289663802),
    Point(SMALL, "power-of-two", 1.1313387163082829),  # with the missing call that refreshes the loads
    Point(SMALL, "round-robin", 1.3774242679688689),
    *(
        Point(Churn(updates, rule, target, end=end), "broken", printed)
        for target, updates, end, by_rule in BROKEN
        for rule, printed in by_rule.items()
    ),
    Point(Beamer(1.5, 4000, end=120), "broken", 6),
    Point(Beamer(1.3, 4000, 100, 10000, end=50), "broken", 1566),
)


def points(full: bool) -> tuple[Point, ...]:
    """Return every run, at either scale."""
    return POINTS


def row(point: Point) -> dict[str, Any]:
    """Return what the authors' code printed and what is computed here."""
    what = point.simulated
    if isinstance(what, Cluster):
        computed: float = imbalance(point.what, what).mean  # type: ignore[arg-type]
    elif isinstance(what, Churn):
        computed = dip(what).broken
    else:
        computed = int(dynamic_beamer(what).broken.iloc[-1])
    return {
        "run": f"{type(what).__name__} " + " ".join(f"{k}={v}" for k, v in what._asdict().items()),
        "what": point.what,
        "printed": repr(point.printed),
        "computed": repr(computed),
        "equal": int(computed == point.printed),
    }


STUDY = Study(
    name=NAME,
    title="Cheetah, Section 2: reduced runs of the authors' code, to the last digit",
    points=points,
    compute=row,
    claims=(Claim("CH-SIM-22", lambda tables: float(tables[NAME].equal.min())),),
)
