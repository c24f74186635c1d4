"""CrossRSS Fig. 2: what gets through as the replay of the trace speeds up beyond what the cores can do.

Beside the poster's four schemes: CrossRSS that credits a core with the buckets it was just given, and
CrossRSS that counts what it sends instead of reading the servers' counters.
"""

from __future__ import annotations

from typing import Any, Final

from experiments import crossrss_testbed as crossrss
from lbsim.scenario import Choosing, CrossRss
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import SECOND

NAME: Final = "crossrss-fig2"
SPEEDS: Final = (50, 60, 70, 80, 90, 100, 110)  # % of the trace's own
QUICK: Final = (50, 80, 110)
QUICK_SECONDS: Final = 3
CREDIT, COUNTING = "CrossRSS, credit", "CrossRSS, own counts"
SCHEMES: Final[dict[str, Choosing | CrossRss]] = {
    **crossrss.SCHEMES,
    CREDIT: CrossRss(credit=True),
    COUNTING: CrossRss(counted_by="balancer"),
}
SERIES: Final = tuple(SCHEMES)


def points(full: bool) -> list[Point]:
    """Return every scheme at every speed on the twin of the trace and on others; fewer at quick scale."""
    length = {} if full else {"duration": QUICK_SECONDS * SECOND}
    schemes = SCHEMES if full else crossrss.SCHEMES
    return [
        Point(
            {
                "series": crossrss.named(scheme, recording),
                "speed_pct": speed,
                "recording": recording,
                "replication": replication,
            },
            {
                "traffic": crossrss.traffic(recording),
                "replication": replication,
                "arrivals.speed": speed / 100,
                "cluster.balancer": SCHEMES[scheme],
                **length,
            },
        )
        for scheme, recording, replication in crossrss.plays(schemes, full, 4 if full else 0)
        for speed in (SPEEDS if full else QUICK)
    ]


def mean(tables: Tables, column: str, scheme: str, speed: int) -> float:
    """Return the mean of a column over the runs on the twin."""
    return crossrss.mean(tables[NAME], column, scheme, speed_pct=speed)


def gain(tables: Tables) -> float:
    """Return by how many % the throughput of CrossRSS is above that of HASH at 110 %."""
    ours, theirs = (
        mean(tables, "throughput_gbps", scheme, 110) for scheme in (crossrss.CROSSRSS, crossrss.HASH)
    )
    return 100 * (ours / theirs - 1)


def gains(tables: Tables) -> str:
    """Return what every scheme gains over HASH, and what each of two loses."""
    hashed = mean(tables, "throughput_gbps", crossrss.HASH, 110)
    others = [name for name in SCHEMES if name in set(tables[NAME]["series"])]
    return "over HASH: " + ", ".join(
        f"{name} {100 * (mean(tables, 'throughput_gbps', name, 110) / hashed - 1):.1f} % (loses "
        f"{mean(tables, 'drop_pct', name, 110):.1f} %)"
        for name in others
    )


def difference(tables: Tables) -> float:
    """Return the largest difference of throughput at 50 and 60 %, in % of the lower."""
    return max(differences(tables))


def differences(tables: Tables) -> list[float]:
    """Return the largest difference of throughput at each speed below the knee, in %."""
    schemes = (crossrss.CROSSRSS, crossrss.RR, crossrss.HASH)
    known = set(tables[NAME]["speed_pct"])
    rates = [
        [mean(tables, "throughput_gbps", s, speed) for s in schemes] for speed in (50, 60) if speed in known
    ]
    return [100 * (max(rate) / min(rate) - 1) for rate in rates]


def drops(id_: str, scheme: str) -> Claim:
    """Return the claim on what a scheme loses at 80 %."""
    return Claim(
        id_,
        lambda tables: mean(tables, "drop_pct", scheme, 80),
        lambda tables: crossrss.others(tables[NAME], "drop_pct", scheme, speed_pct=80),
    )


def panel(y: str, ylabel: str, series: tuple[str, ...] = SERIES, **more: Any) -> Panel:
    """Return the panel of a quantity over the replay speed."""
    return Panel(x="speed_pct", y=y, series=series, xlabel="replay speed (%)", ylabel=ylabel, **more)


STUDY = Study(
    name=NAME,
    title="CrossRSS Fig. 2: throughput as the replay speeds up",
    base=crossrss.base_scenario(NAME),
    points=points,
    measure=crossrss.measure,
    claims=(
        Claim("CR-06", gain, gains),
        Claim(
            "CR-07",
            difference,
            lambda tables: "at 50 and 60 %: " + ", ".join(f"{d:.3g}" for d in differences(tables)),
        ),
        drops("CR-08-x", crossrss.CROSSRSS),
        drops("CR-08-rr", crossrss.RR),
        drops("CR-08-hash", crossrss.HASH),
    ),
    published=crossrss.published(NAME),
    panels=(
        panel("throughput_gbps", "throughput (Gb/s)"),
        panel("drop_pct", "packets lost (%)", symlog=0.01),
        panel("core_variance_pct", "variance over cores (%)", log=True),
    ),
)
