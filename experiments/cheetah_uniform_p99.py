"""Cheetah, "uniform": p99 of flow completion times over the load of 64 servers, requests that all spin 7 ms.

Hashing leaves some servers with more connections than others, round robin does not. Round robin at the two
ends is what the testbed is calibrated on (`cheetah_testbed`); between them, and hashing anywhere, is
predicted.
"""

from __future__ import annotations

from typing import Any, Final

from experiments import cheetah_testbed as cheetah
from lbsim.metrics import RequestResult
from lbsim.study import Claim, Panel, Point, Study, Tables

NAME: Final = "cheetah-uniform-p99"
SERVERS: Final = 64
RATES: Final = (100, 120, 140, 160, 180, 200)  # requests a second and server
QUICK: Final = (100, 140, 200)
RUNS: Final = {"full": 10, "quick": 2}


def points(full: bool) -> list[Point]:
    """Return every way to pick at every rate, several independent runs of each."""
    scale = "full" if full else "quick"
    return [
        Point(
            {"series": series, "rate": rate, "replication": run},
            {**way, **cheetah.paced(SERVERS, rate, 16), "replication": run},
        )
        for series, way in cheetah.HASHES.items()
        for rate in (RATES if full else QUICK)
        for run in range(RUNS[scale])
    ]


def measure(result: RequestResult) -> dict[str, float]:
    """Return the completion times of one run and the mean load of its servers."""
    return {**cheetah.completion_times(result), "load_pct": cheetah.load_pct(result)}


def median(tables: Tables, series: str, rate: int, column: str = "p99_ms") -> float:
    """Return the median over runs."""
    return cheetah.median(tables[NAME], column, series=series, rate=rate)


def ratio(id_: str, above: tuple[str, int], below: tuple[str, int]) -> Claim:
    """Return the claim on the ratio of two medians."""

    def beside(tables: Tables) -> str:
        return f"{median(tables, *above):.4g} ms over {median(tables, *below):.4g} ms"

    return Claim(id_, lambda tables: median(tables, *above) / median(tables, *below), beside)


CLAIMS: Final = (
    ratio("CH-FCT-01", (cheetah.RR, 200), (cheetah.RR, 100)),
    ratio("CH-FCT-02", (cheetah.RSS, 100), (cheetah.RR, 100)),
    ratio("CH-FCT-03", (cheetah.RSS, 200), (cheetah.RR, 200)),
    ratio("CH-FCT-04", (cheetah.DPDK, 100), (cheetah.RSS, 100)),
    ratio("CH-FCT-05", (cheetah.DPDK, 200), (cheetah.RSS, 200)),
    Claim("CH-FCT-06", lambda tables: median(tables, cheetah.RR, 100)),
    Claim("CH-FCT-11", lambda tables: median(tables, cheetah.RR, 100, "load_pct")),
    Claim("CH-FCT-12", lambda tables: median(tables, cheetah.RR, 200, "load_pct")),
)

AXIS: Final[dict[str, Any]] = {"x": "rate", "xlabel": "requests/s per server", "xticks": RATES}

STUDY: Final = Study(
    name=NAME,
    title="Cheetah: p99 of flow completion times, uniform workload, 64 servers",
    base=cheetah.scenario(NAME),
    points=points,
    measure=measure,
    claims=CLAIMS,
    published=cheetah.published(NAME),
    panels=(
        Panel(y="p99_ms", series=tuple(cheetah.HASHES), ylabel="p99 completion time (ms)", log=True, **AXIS),
        Panel(y="load_pct", series=(cheetah.RR,), ylabel="mean load of the servers (%)", **AXIS),
    ),
)
