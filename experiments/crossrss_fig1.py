"""CrossRSS Fig. 1: how evenly four schemes load servers and their cores, at half the trace's speed."""

from __future__ import annotations

from typing import Final

from experiments import crossrss_testbed as crossrss
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import SECOND

NAME: Final = "crossrss-fig1"
QUICK_SECONDS: Final = 5


def points(full: bool) -> list[Point]:
    """Return every scheme on the twin of the trace, and at full scale on others."""
    length = {} if full else {"duration": QUICK_SECONDS * SECOND}
    return [
        Point(
            {
                "series": crossrss.named(scheme, recording),
                "scheme": scheme,
                "recording": recording,
                "replication": replication,
            },
            {
                "traffic": crossrss.traffic(recording),
                "replication": replication,
                "cluster.balancer": crossrss.SCHEMES[scheme],
                **length,
            },
        )
        for scheme, recording, replication in crossrss.plays(crossrss.SCHEMES, full, 4 if full else 1)
    ]


def mean(tables: Tables, column: str, scheme: str) -> float:
    """Return the mean of a column over the runs on the twin."""
    return crossrss.mean(tables[NAME], column, scheme)


def variance(id_: str, scheme: str) -> Claim:
    """Return the claim on the variance over cores of a scheme."""
    return Claim(
        id_,
        lambda tables: mean(tables, "core_variance_pct", scheme),
        lambda tables: crossrss.others(tables[NAME], "core_variance_pct", scheme),
    )


def ratio(tables: Tables) -> float:
    """Return the variance over cores of RR / CrossRSS."""
    over = mean(tables, "core_variance_pct", crossrss.RR)
    return over / mean(tables, "core_variance_pct", crossrss.CROSSRSS)


def largest(tables: Tables) -> float:
    """Return the largest variance over servers of the four schemes."""
    return max(mean(tables, "server_variance_pct", scheme) for scheme in crossrss.SCHEMES)


def each(tables: Tables) -> str:
    """Return the variance over servers of every scheme."""
    return ", ".join(
        f"{scheme} {mean(tables, 'server_variance_pct', scheme):.3g}" for scheme in crossrss.SCHEMES
    )


def panel(recording: int, xlabel: str) -> Panel:
    """Return the panel of both variances, on the twin or on the others."""
    return Panel(
        x="server_variance_pct",
        y="core_variance_pct",
        series=tuple(crossrss.named(scheme, recording) for scheme in crossrss.SCHEMES),
        labels="scheme",
        xlabel=xlabel,
        ylabel="variance over cores (%)",
        log=True,
    )


STUDY = Study(
    name=NAME,
    title="CrossRSS Fig. 1: variance over servers and over cores, four schemes",
    base=crossrss.base_scenario(NAME),
    points=points,
    measure=crossrss.measure,
    claims=(
        Claim("CR-01", ratio),
        variance("CR-02", crossrss.CROSSRSS),
        variance("CR-03", crossrss.RR),
        variance("CR-04", crossrss.HASH),
        Claim("CR-05", largest, each),
    ),
    published=crossrss.published(NAME),
    panels=(
        panel(crossrss.TWIN, "variance over servers (%)"),
        panel(crossrss.OTHER_TWINS[0], "variance over servers (%), four other twins"),
    ),
)
