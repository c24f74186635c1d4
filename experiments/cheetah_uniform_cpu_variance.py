"""Cheetah, "uniform": how unequal the servers' loads are, second by second, under each way to pick.

100 requests a second and server. A hash of addresses and ports is as good as chance, but for Click's, which
clients with few addresses and even ports make uneven.
"""

from __future__ import annotations

from typing import Final

from experiments import cheetah_testbed as cheetah
from lbsim.metrics import RequestResult
from lbsim.study import Claim, Panel, Point, Study, Tables

NAME: Final = "cheetah-uniform-cpu-variance"
SERVERS: Final = (16, 32, 64)
RATE: Final = 100  # requests a second and server
RUNS: Final = {"full": 10, "quick": 2}


def points(full: bool) -> list[Point]:
    """Return every way to pick over every number of servers, several independent runs of each."""
    return [
        Point(
            {"series": series, "servers": servers, "replication": run},
            {**way, **cheetah.paced(servers, RATE, 16), "replication": run},
        )
        for series, way in cheetah.HASHES.items()
        for servers in SERVERS
        for run in range(RUNS["full" if full else "quick"])
    ]


def measure(result: RequestResult) -> list[dict[str, float]]:
    """Return the variance over the servers of their loads in %, of every second that counts."""
    variances = cheetah.READING**2 * result.cpu_variances()
    return [{"second": k, "variance": float(value)} for k, value in enumerate(variances)]


def median(tables: Tables, series: str, servers: int) -> float:
    """Return the median over seconds and runs."""
    return cheetah.median(tables[NAME], "variance", series=series, servers=servers)


CLAIMS: Final = (
    Claim("CH-FCT-07", lambda tables: median(tables, cheetah.RR, 64)),
    Claim("CH-FCT-08-16", lambda tables: median(tables, cheetah.RSS, 16)),
    Claim("CH-FCT-08-32", lambda tables: median(tables, cheetah.RSS, 32)),
    Claim("CH-FCT-08-64", lambda tables: median(tables, cheetah.RSS, 64)),
    Claim("CH-FCT-09", lambda tables: median(tables, cheetah.RSS, 64) / median(tables, cheetah.RR, 64)),
    Claim("CH-FCT-10", lambda tables: median(tables, cheetah.CLICK, 64) / median(tables, cheetah.RSS, 64)),
)

STUDY: Final = Study(
    name=NAME,
    title="Cheetah: variance of server loads, uniform workload, 100 requests/s/server",
    base=cheetah.scenario(NAME),
    points=points,
    measure=measure,
    claims=CLAIMS,
    published=cheetah.published(NAME),
    panels=(
        Panel(
            x="servers",
            y="variance",
            series=tuple(cheetah.HASHES),
            xlabel="servers",
            ylabel="variance of CPU load over servers (%²)",
            log=True,
            xticks=SERVERS,
        ),
    ),
)
