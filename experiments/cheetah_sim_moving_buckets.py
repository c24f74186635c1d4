"""Cheetah, Section 2, "moving buckets": how many buckets a minute dynamic Beamer moves, over its threshold.

Each published point is the count of a single minute, the one at which its run was stopped; beside it stands
the mean over the minutes after the first ten. As intended, any overloaded server starts balancing, not only
the most loaded of all, and buckets that return count as moved too.
"""

from __future__ import annotations

from typing import Any

from experiments import cheetah_sim as cheetah
from experiments.cheetah_sim import AS_PUBLISHED, INTENDED, PUBLISHED_SEED
from experiments.cheetah_sim_beamer import SERIES, STEADY, STOPPED, WARMUP, Point, simulated
from lbsim.engine.section2.dynamic_beamer import dynamic_beamer
from lbsim.study import Claim, Panel, Study, Tables

NAME = "cheetah-sim-moving-buckets"
LAST, MEAN = SERIES[0], f"{SERIES[0]}, mean of minutes"
QUICK = {AS_PUBLISHED: (10, 25, 40), INTENDED: (25, 40)}  # low thresholds move buckets all the time
SEEDS = {(LAST, AS_PUBLISHED): 1, (MEAN, AS_PUBLISHED): 5, (MEAN, INTENDED): 2}


def points(full: bool) -> list[Point]:
    """Return the published runs, and longer ones to take the mean of; at quick scale short ones."""
    return [
        Point(series, counted, threshold, seed, minutes(full, series, threshold))
        for (series, counted), seeds in SEEDS.items()
        for threshold in (STOPPED if full else QUICK[counted])
        for seed in cheetah.SEEDS[: seeds if full else 1]
    ]


def minutes(full: bool, series: str, threshold: int) -> int:
    """Return how many minutes a run lasts."""
    if series == LAST:
        return STOPPED[threshold] if full else min(STOPPED[threshold], 15)
    return WARMUP + (STEADY if full else 2)


def row(point: Point) -> dict[str, Any]:
    """Return the buckets moved in a minute, the last one or their mean, and their share of all in %."""
    counts = dynamic_beamer(simulated(point.threshold, point.minutes, point.counted), point.seed)
    moved = counts.moved + counts.returned if point.counted == INTENDED else counts.moved
    number = moved.iloc[-1] if point.series == LAST else moved.loc[WARMUP + 1 :].mean()
    return {**point._asdict(), "moved": number, "moved_pct": 100 * number / cheetah.BEAMER_BUCKETS}


def last_minute(tables: Tables) -> float:
    """Return the buckets moved in the minute that is published for 10 %."""
    query = f"series == '{LAST}' and threshold == 10 and seed == {PUBLISHED_SEED}"
    return float(cheetah.values(tables, NAME, query, "moved").iloc[0])


def panel(counted: str) -> Panel:
    """Return the panel of one way to run and count."""
    return Panel(
        x="threshold",
        y="moved_pct",
        series=(LAST, MEAN),
        xlabel="threshold (% above the mean)",
        ylabel=f"moved buckets (%/min), {counted}",
        log=True,
        where=f"counted == '{counted}'",
        band="interval",
    )


STUDY = Study(
    name=NAME,
    title="Cheetah, Section 2: buckets moved by dynamic Beamer, 468 servers",
    points=points,
    compute=row,
    size=lambda point: point.minutes,
    claims=(Claim("CH-SIM-03", last_minute),),
    published=cheetah.published(NAME),
    panels=(panel(AS_PUBLISHED), panel(INTENDED)),
)
