"""Beyond the paper: how many cores every dispatcher needs, and for which tail of latency, over a day of load.

The load of Campus #4 rises from a fifth at night to its peak and falls again, a day in a minute. To the left
is better (fewer cores on average), down is better (a shorter tail), and a small marker is better (fewer
packets lost). A fixed number of cores must suffice for the peak; RSS++ and traffic classes may also scale.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from experiments import rsspp_testbed as rsspp
from lbsim.metrics.result import Result
from lbsim.scenario import Batched, Profile, Rate, Scaling
from lbsim.study import Panel, Point, Study
from lbsim.units import MS, SECOND

NAME: Final = "rsspp-frontier"
CORES, DRAWS = 15, 600
PEAK: Final = Rate(24e9, "bps")
NIGHT, HOURS, BEFORE = 0.2, 60, 5  # share of the peak; steps of the day, and of the night before it
DAY: Final = tuple(
    (1 + NIGHT) / 2 - (1 - NIGHT) / 2 * math.cos(math.tau * (hour + 0.5) / HOURS) for hour in range(HOURS)
)
HOUR: Final = {"full": SECOND, "quick": 150 * MS}
KEYS: Final = {"full": 2, "quick": 1}
START: Final = 3  # cores in use at first where they scale


class Way(NamedTuple):
    """A dispatcher on a number of cores, or one that scales it."""

    series: str
    cores: int | None  # None: it scales
    label: str
    quick: bool = False  # also at quick scale
    others: dict[str, Any] = {}  # noqa: RUF012  # of the scenario


def fixed(series: str, *cores: int, quick: tuple[int, ...] = ()) -> list[Way]:
    """Return a dispatcher on some fixed numbers of cores."""
    return [Way(series, n, str(n), n in quick) for n in cores]


WAYS: Final = (
    *fixed(rsspp.RSS, 8, 10, 12, 15, quick=(10,)),
    *fixed(rsspp.RSSPP, 7, 8, 10, 12, quick=(8,)),
    Way(rsspp.RSSPP, None, "scaling to 0.6", others={"nic.dispatch.target_load": 0.6}),
    Way(rsspp.RSSPP, None, "scaling to 0.7", others={"nic.dispatch.target_load": 0.7}),
    Way(rsspp.RSSPP, None, "scaling to 0.8", quick=True),
    Way(rsspp.RSSPP, None, "scaling to 0.9", others={"nic.dispatch.target_load": 0.9}),
    *fixed(rsspp.SPRAYER, 7, 8, 10, 12, quick=(8,)),
    *(way for name in rsspp.QUEUES for way in fixed(name, 8, 12, quick=(8,))),
    *fixed(rsspp.CLASSES, 10, 15, quick=(10,)),
    Way(rsspp.CLASSES, None, "scaling", quick=True),
)


def points(full: bool) -> list[Point]:
    """Return every way with a few keys; at quick scale fewer ways and a shorter day."""
    scale = "full" if full else "quick"
    hour, keys = HOUR[scale], range(KEYS[scale])
    return [
        Point(
            {"series": way.series, "label": way.label, "key": key},
            {
                "warmup": BEFORE * hour,
                "duration": (BEFORE + HOURS) * hour,
                "arrivals.profile.every": hour,
                "server.cores": way.cores or CORES,
                "nic.dispatch": rsspp.dispatch(
                    way.series, key, scaling=None if way.cores else Scaling(start=START)
                ),
                "measure.interval": hour,
                **way.others,
            },
        )
        for way in WAYS
        if full or way.quick
        for _, key in rsspp.rivals(keys, (way.series,), keys)
    ]


def measure(result: Result) -> dict[str, float]:
    """Return the mean number of cores in use, a dispatching one included, the tail and what was lost."""
    return {
        "cores": result.cores_used,
        "p99_us": result.latency_us(0.99),
        "p50_us": result.latency_us(0.5),
        "drop_pct": 100 * result.drop_share,
        "throughput_gbps": result.throughput_gbps,
    }


STUDY = Study(
    name=NAME,
    title="Cores used and tail latency of every dispatcher over a day of load, Campus #4",
    base=rsspp.base_scenario(
        NAME,
        cores=CORES,
        draws=DRAWS,
        arrivals=Batched(
            rate=PEAK,
            batch=rsspp.TRACE_BATCH,
            profile=Profile(every=HOUR["full"], factors=(NIGHT,) * BEFORE + DAY),
        ),
        window={"warmup": BEFORE * SECOND, "duration": (BEFORE + HOURS) * SECOND},
    ),
    points=points,
    measure=measure,
    claims=(),
    panels=(
        Panel(
            x="cores",
            y="p99_us",
            series=rsspp.SERIES,
            xlabel="mean cores in use",
            ylabel="p99 latency (µs)",
            log=True,
            labels="label",
            area="drop_pct",
            area_label="packets dropped (%)",
        ),
    ),
)
