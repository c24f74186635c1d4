"""CrossRSS Fig. 1: how evenly four schemes load servers and their cores, at half the trace's speed."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

from experiments import crossrss_testbed as crossrss
from lbsim.metrics.result import Result
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import SECOND

NAME: Final = "crossrss-fig1"
QUICK_SECONDS: Final = 5


def points(full: bool) -> list[Point]:
    """Return every scheme on every twin of the trace, on one for fewer seconds at quick scale."""
    recordings = crossrss.RECORDINGS if full else crossrss.RECORDINGS[:1]
    length = {} if full else {"duration": QUICK_SECONDS * SECOND}
    return [
        Point(
            {"series": scheme, "scheme": scheme, "recording": recording},
            {
                "traffic": crossrss.traffic(recording),
                "cluster.balancer": crossrss.SCHEMES[scheme],
                **length,
            },
        )
        for recording, scheme in product(recordings, crossrss.SCHEMES)
    ]


def measure(result: Result) -> dict[str, Any]:
    """Return how even servers and cores are, and what gets through."""
    return crossrss.measure(result)


def mean(tables: Tables, column: str, scheme: str) -> float:
    """Return the mean of a column over the twins."""
    return crossrss.mean(tables[NAME], column, series=scheme)


def variance(id_: str, scheme: str) -> Claim:
    """Return the claim on the variance over cores of a scheme."""
    return Claim(
        id_,
        lambda tables: mean(tables, "core_variance_pct", scheme),
        lambda tables: crossrss.every(tables[NAME], "core_variance_pct", series=scheme),
    )


def ratio(tables: Tables) -> float:
    """Return the variance over cores of RR / CrossRSS, each a mean over the twins."""
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


STUDY = Study(
    name=NAME,
    title="CrossRSS Fig. 1: variance over servers and over cores, four schemes",
    base=crossrss.base_scenario(NAME),
    points=points,
    measure=measure,
    claims=(
        Claim("CR-01", ratio),
        variance("CR-02", crossrss.CROSSRSS),
        variance("CR-03", crossrss.RR),
        variance("CR-04", crossrss.HASH),
        Claim("CR-05", largest, each),
    ),
    published=crossrss.published(NAME),
    panels=(
        Panel(
            x="server_variance_pct",
            y="core_variance_pct",
            series=tuple(crossrss.SCHEMES),
            labels="scheme",
            xlabel="variance over servers (%)",
            ylabel="variance over cores (%)",
            log=True,
        ),
    ),
)
