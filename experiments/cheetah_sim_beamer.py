"""Cheetah, Section 2, "broken connections": what dynamic Beamer breaks, over its threshold.

The published runs were stopped by hand, each at another minute, and count from the empty start, where small
loads differ by much; so they are compared at the same minute, and with seed 1 they agree to the connection.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from experiments import cheetah_sim as cheetah
from experiments.cheetah_sim import AS_PUBLISHED, INTENDED, PUBLISHED_SEED
from lbsim.engine.section2 import dynamic_beamer as section2
from lbsim.engine.section2.dynamic_beamer import Beamer, dynamic_beamer
from lbsim.study import Claim, Panel, Study, Tables

NAME = "cheetah-sim-beamer"
SERIES = ("dynamic Beamer",)
STOPPED = {10: 15, 15: 32, 20: 34, 25: 52, 30: 20, 35: 177, 40: 273}
"""Minute of the published row, by threshold in % above the mean."""
JUDGED = (10, 15, 25, 30, 40)
WARMUP, STEADY = 10, 20  # minutes: intended runs leave out the first and count the others


class Point(NamedTuple):
    """One run."""

    series: str
    counted: str
    threshold: int  # % above the mean
    seed: int
    minutes: int


def points(full: bool) -> list[Point]:
    """Return the published runs, with other seeds beside them at full scale, and the intended ones."""
    return [
        *(
            Point(SERIES[0], AS_PUBLISHED, threshold, seed, STOPPED[threshold])
            for threshold in (STOPPED if full else JUDGED)
            for seed in (cheetah.SEEDS if full else [PUBLISHED_SEED])
        ),
        *(
            Point(SERIES[0], INTENDED, threshold, seed, WARMUP + (STEADY if full else 1))
            for threshold in (STOPPED if full else (25, 40))
            for seed in cheetah.SEEDS[: 2 if full else 1]
        ),
    ]


def simulated(threshold: int, minutes: int, counted: str) -> Beamer:
    """Return the simulation of a point."""
    ratio, end = 1 + threshold / 100, 60.0 * minutes
    if counted == INTENDED:
        return section2.intended(ratio, end)
    return Beamer(ratio, cheetah.TARGET, cheetah.SERVERS, cheetah.BEAMER_BUCKETS, end)


def row(point: Point) -> dict[str, Any]:
    """Return the connections started and broken, and their share; as intended without the warm-up."""
    minutes = dynamic_beamer(simulated(point.threshold, point.minutes, point.counted), point.seed)
    last = minutes.iloc[-1]
    if point.counted == INTENDED:
        last = last - minutes.loc[WARMUP]
    return {
        **point._asdict(),
        "connections": int(last.connections),
        "broken": int(last.broken),
        "broken_pct": 100 * last.broken / last.connections,
    }


def exactly(id_: str, threshold: int, column: str) -> Claim:
    """Return the claim on a count of the published run, to the last one."""
    query = f"counted == '{AS_PUBLISHED}' and threshold == {threshold} and seed == {PUBLISHED_SEED}"

    def value(tables: Tables) -> float:
        return float(cheetah.values(tables, NAME, query, column).iloc[0])

    return Claim(id_, value)


def panel(counted: str) -> Panel:
    """Return the panel of one way to run."""
    return Panel(
        x="threshold",
        y="broken_pct",
        series=SERIES,
        xlabel="threshold (% above the mean)",
        ylabel=f"broken (%), {counted}",
        log=True,
        where=f"counted == '{counted}'",
        band="interval",
    )


STUDY = Study(
    name=NAME,
    title="Cheetah, Section 2: connections broken by dynamic Beamer, 468 servers",
    points=points,
    compute=row,
    size=lambda point: point.minutes,
    claims=(
        exactly("CH-SIM-01", 10, "connections"),
        exactly("CH-SIM-02", 10, "broken"),
        exactly("CH-SIM-04", 25, "broken"),
        exactly("CH-SIM-05", 15, "broken"),
        exactly("CH-SIM-06", 30, "broken"),
        exactly("CH-SIM-07", 40, "broken"),
    ),
    published=cheetah.published(NAME),
    panels=(panel(AS_PUBLISHED), panel(INTENDED)),
)
