"""Cheetah, "bimodal": p99 of flow completion times where one request in ten spins half a second.

The published generator draws from a seed that is a server's number and the second, so in one second all
requests of a server are long, or none is (`by_second`): that a server is slow can be known, if the balancer
looks. Servers report their CPU load every 10 ms, in ticks of 10 ms. Nothing here is calibrated on this
workload.
"""

from __future__ import annotations

from typing import Any, Final

from experiments import cheetah_testbed as cheetah
from lbsim.metrics import RequestResult
from lbsim.scenario import Adapt, Bimodal, Signal, Spin, Work
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import MS

NAME: Final = "cheetah-bimodal-p99"
SERVERS: Final = (16, 32, 64)
QUICK: Final = (16, 64)
RATE: Final = 100  # requests a second and server
SHORT, LONG, SHARE = 4 * MS, 500 * MS, 0.1  # spins; how many are long
RUNS: Final = {"full": 10, "quick": 2}
REPORTS: Final = Signal(metric="cpu", period=12 * MS, spread=3 * MS, machines=cheetah.MACHINES)
"""A loop that sleeps for 10 ms, then reads and posts for 2 to 5 ms (model page)."""
POLICIES: Final[dict[str, dict[str, Any]]] = {
    cheetah.AWRR: {
        "balancer.policy": "adaptive_weighted_round_robin",
        "balancer.adapt": Adapt(as_published=True),
        "balancer.signal": REPORTS,
    },
    cheetah.POW2: {"balancer.policy": "power_of_two", "balancer.signal": REPORTS},
    cheetah.RR: cheetah.HASHES[cheetah.RR],
    cheetah.RSS: cheetah.HASHES[cheetah.RSS],
    cheetah.LEAST: {"balancer.policy": "least_loaded", "balancer.signal": REPORTS},
}
SERVICE: Final = Spin(
    setup=cheetah.SETUP,
    wall=Bimodal(short=Work(SHORT), long=Work(LONG), share_long=SHARE),
    finish=cheetah.FINISH,
    by_second=True,
)


def points(full: bool) -> list[Point]:
    """Return every policy over every number of servers, several independent runs of each."""
    return [
        Point(
            {"series": series, "servers": servers, "replication": run},
            {
                **way,
                **cheetah.paced(servers, RATE, 64),
                "servers.service": SERVICE,
                "replication": run,
            },
        )
        for series, way in POLICIES.items()
        for servers in (SERVERS if full else QUICK)
        for run in range(RUNS["full" if full else "quick"])
    ]


def measure(result: RequestResult) -> dict[str, float]:
    """Return the completion times of one run and the mean load of its servers."""
    return {**cheetah.completion_times(result), "load_pct": cheetah.load_pct(result)}


def median(tables: Tables, series: str, servers: int) -> float:
    """Return the median over runs, ms."""
    return cheetah.median(tables[NAME], "p99_ms", series=series, servers=servers)


def ratio(id_: str, above: str, below: str, servers: int) -> Claim:
    """Return the claim on the ratio of two policies' medians."""

    def beside(tables: Tables) -> str:
        return f"{median(tables, above, servers):.4g} ms over {median(tables, below, servers):.4g} ms"

    return Claim(id_, lambda tables: median(tables, above, servers) / median(tables, below, servers), beside)


CLAIMS: Final = (
    ratio("CH-BIM-64-1", cheetah.RR, cheetah.AWRR, 64),
    ratio("CH-BIM-64-2", cheetah.POW2, cheetah.AWRR, 64),
    ratio("CH-BIM-64-3", cheetah.RSS, cheetah.RR, 64),
    ratio("CH-BIM-64-4", cheetah.LEAST, cheetah.AWRR, 64),
    ratio("CH-BIM-16-1", cheetah.RR, cheetah.AWRR, 16),
    ratio("CH-BIM-16-2", cheetah.RSS, cheetah.AWRR, 16),
    ratio("CH-BIM-16-3", cheetah.POW2, cheetah.AWRR, 16),
    ratio("CH-BIM-16-4", cheetah.LEAST, cheetah.AWRR, 16),
    Claim("CH-BIM-16-5", lambda tables: median(tables, cheetah.AWRR, 16)),
)

STUDY: Final = Study(
    name=NAME,
    title="Cheetah: p99 of flow completion times, bimodal workload, 100 requests/s/server",
    base=cheetah.scenario(NAME),
    points=points,
    measure=measure,
    claims=CLAIMS,
    published=cheetah.published(NAME),
    panels=(
        Panel(
            x="servers",
            y="p99_ms",
            series=tuple(POLICIES),
            xlabel="servers",
            ylabel="p99 completion time (ms)",
            log=True,
            xticks=SERVERS,
        ),
    ),
)
