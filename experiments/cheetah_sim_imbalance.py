"""Cheetah, Section 2, "imbalance": the most loaded server above the mean, by placement, over connections."""

from __future__ import annotations

from typing import Any, NamedTuple

from experiments import cheetah_sim as cheetah
from experiments.cheetah_sim import AS_PUBLISHED, INTENDED
from lbsim.engine.section2 import imbalance as section2
from lbsim.engine.section2.imbalance import PLACEMENTS, Cluster, Placement, imbalance
from lbsim.study import Claim, Panel, Study, Tables

NAME = "cheetah-sim-imbalance"
METERS = {AS_PUBLISHED: section2.PUBLISHED, INTENDED: section2.INTENDED}
TARGETS = {"full": range(20_000, 200_001, 20_000), "quick": (20_000, 100_000, 120_000, 200_000)}
CONNECTIONS = 8_000_000  # of a run at full scale
QUICK = {"round-robin": 2000.0, "hash": 2000.0, "power-of-two": 800.0, "least-loaded": 800.0}
"""Seconds of a run at quick scale; 230 s of them pass until the load is steady, large imbalance lasts."""
SEEDS = {("full", AS_PUBLISHED): 5, ("full", INTENDED): 2, ("quick", AS_PUBLISHED): 1, ("quick", INTENDED): 1}


class Point(NamedTuple):
    """One run."""

    series: Placement
    counted: str
    target: int  # connections active at a time
    seed: int
    end: float  # s


def points(full: bool) -> list[Point]:
    """Return every placement at every target, measured as published and as intended."""
    scale = "full" if full else "quick"
    return [
        Point(series, counted, target, seed, duration(full, series, target))
        for counted in METERS
        for target in TARGETS[scale]
        for series in PLACEMENTS
        for seed in cheetah.SEEDS[: SEEDS[scale, counted]]
    ]


def duration(full: bool, series: str, target: int) -> float:
    """Return the seconds a run lasts."""
    return CONNECTIONS * cheetah.MEAN_DURATION / target if full else QUICK[series]


def row(point: Point) -> dict[str, Any]:
    """Return the imbalance of one run."""
    cluster = Cluster(point.target, cheetah.SERVERS, end=point.end)
    seen = imbalance(point.series, cluster, point.seed, METERS[point.counted])
    return {**point._asdict(), "connections": seen.connections, "imbalance_pct": seen.percent}


def claim(id_: str, series: str, target: int) -> Claim:
    """Return the claim on the imbalance of a placement."""
    return cheetah.over_seeds(id_, NAME, rows(series, target), "imbalance_pct")


def ratio(id_: str, series: str, other: str, target: int) -> Claim:
    """Return the claim on how many times more uneven a placement is than another."""

    def value(tables: Tables) -> float:
        one, two = (
            cheetah.values(tables, NAME, rows(name, target), "imbalance_pct") for name in (series, other)
        )
        return float(one.mean() / two.mean())

    return Claim(id_, value)


def rows(series: str, target: int) -> str:
    """Return the query of the runs as published."""
    return f"counted == '{AS_PUBLISHED}' and series == '{series}' and target == {target}"


def panel(counted: str) -> Panel:
    """Return the panel of one way to measure."""
    return Panel(
        x="target",
        y="imbalance_pct",
        series=PLACEMENTS,
        xlabel="active connections",
        ylabel=f"imbalance (%), {counted}",
        log=True,
        ylim=(0.1, 1000),
        where=f"counted == '{counted}'",
        band="interval",
    )


STUDY = Study(
    name=NAME,
    title="Cheetah, Section 2: imbalance of placements, 468 servers",
    points=points,
    compute=row,
    size=lambda point: point.target * point.end,
    claims=(
        claim("CH-SIM-08", "round-robin", 20_000),
        claim("CH-SIM-09", "round-robin", 120_000),
        claim("CH-SIM-10", "least-loaded", 20_000),
        claim("CH-SIM-11", "least-loaded", 200_000),
        claim("CH-SIM-12", "power-of-two", 20_000),
        claim("CH-SIM-13", "power-of-two", 200_000),
        claim("CH-SIM-14", "hash", 20_000),
        claim("CH-SIM-15", "hash", 100_000),
        ratio("CH-SIM-16", "hash", "power-of-two", 120_000),
        ratio("CH-SIM-17", "power-of-two", "least-loaded", 120_000),
    ),
    published=cheetah.published(NAME),
    panels=(panel(AS_PUBLISHED), panel(INTENDED)),
)
