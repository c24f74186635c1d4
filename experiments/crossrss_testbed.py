"""The testbed of CrossRSS (CoNEXT 2020, poster): four servers of four cores, fed with eight replays at once.

Settings are those of the published test files (tbarbette/crossrss). The twin of the trace is chosen by
the variance over cores under round robin and hashing at half speed and nothing else, see
`calibrate_crossrss.py`; everything else is predicted.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lbsim.metrics.result import Result
from lbsim.scenario import (
    Campus,
    Choosing,
    Cluster,
    Cost,
    CrossRss,
    Fixed,
    Measure,
    Nic,
    Recorded,
    Rss,
    Scenario,
    Server,
    Work,
)
from lbsim.units import SECOND, US

SERVERS, CORES, BUCKETS = 4, 4, 128
WORK: Final = 4 * US  # of a packet: a core does 250,000 a second
BURST: Final = 32  # packets of a batch
THREADS: Final = 8  # that replay, each a part of the trace
RING: Final = THREADS * 128
"""Packets that wait at a core. The published capacity is 128, of packets or of batches, in a queue for each
replaying thread (FastClick's Pipeliner): here one queue holds what eight of them hold at least."""
SECONDS: Final = 11  # of a run; the first sample is skipped, nine are kept
TWIN: Final = 6
"""The recording that plays the part of the published runs' one trace, which is not public: of 16 the one most
like it in the variance over cores under RR and HASH at 50 %, 7.24 and 7.75 %
(results/calibration/crossrss.csv)."""
OTHER_TWINS: Final = (3, 5, 13, 15)
"""The next ones: how much of a result is the luck of a trace."""
REPLICATIONS: Final = 5  # of what draws at random: Pow2 alone

CROSSRSS, RR, POW2, HASH = "CrossRSS", "RR", "Pow2", "HASH"
SCHEMES: Final[dict[str, CrossRss | Choosing]] = {
    CROSSRSS: CrossRss(),
    RR: Choosing(policy="round_robin"),
    POW2: Choosing(policy="power_of_two"),
    HASH: Choosing(policy="hashed_folded", hash="click"),
}


def traffic(recording: int = TWIN) -> Campus:
    """Return a twin of the trace."""
    return Campus(trace="campus-8", recording=recording)


def base_scenario(figure: str) -> Scenario:
    """Return the cluster under CrossRSS at half the trace's speed."""
    return Scenario(
        name=figure,
        warmup=SECOND,
        duration=SECONDS * SECOND,
        traffic=traffic(),
        arrivals=Recorded(speed=0.5),
        cluster=Cluster(servers=SERVERS, balancer=SCHEMES[CROSSRSS]),
        nic=Nic(dispatch=Rss(table=BUCKETS, hash="byte_sum", fill="random")),
        server=Server(cores=CORES, ring=RING, burst=BURST, cost=Cost(work=Fixed(time=Work(WORK)))),
        measure=Measure(interval=SECOND),
    )


def plays(schemes: Iterable[str], full: bool, others: int) -> list[tuple[str, int, int]]:
    """Return every (scheme, recording, replication): the twin, and so many of the other twins once."""
    twin = [
        (scheme, TWIN, replication)
        for scheme in schemes
        for replication in range(REPLICATIONS if full and scheme == POW2 else 1)
    ]
    return twin + [(scheme, other, 0) for other in OTHER_TWINS[:others] for scheme in schemes]


def named(scheme: str, recording: int) -> str:
    """Return the name of a scheme's series, on the twin or on the others."""
    return scheme if recording == TWIN else f"{scheme}, other twins"


def measure(result: Result) -> dict[str, Any]:
    """Return how even servers and cores are in the nine kept seconds, and what gets through."""
    first, last = 2, SECONDS - 1
    length = result.scenario.duration // SECOND
    if length < SECONDS:
        first, last = 2, length
    return {
        "core_variance_pct": result.core_variance(first, last),
        "server_variance_pct": result.server_variance(first, last),
        "throughput_gbps": result.throughput_gbps,
        "offered_gbps": result.offered_gbps,
        "drop_pct": 100 * result.drop_share,
    }


def mean(table: pd.DataFrame, column: str, scheme: str, **where: Any) -> float:
    """Return the mean of a column over a scheme's runs on the twin, where columns have these values."""
    return float(_rows(table, {"series": scheme, **where})[column].mean(skipna=False))


def others(table: pd.DataFrame, column: str, scheme: str, **where: Any) -> str:
    """Return the same of the other twins, as text."""
    rows = _rows(table, {"series": named(scheme, OTHER_TWINS[0]), **where})
    each = ", ".join(f"{r}: {value:.3g}" for r, value in zip(rows["recording"], rows[column], strict=True))
    return f"other twins {each}" if each else "one twin alone"


def _rows(table: pd.DataFrame, where: dict[str, Any]) -> pd.DataFrame:
    for name, value in where.items():
        table = table[table[name] == value]
    return table


def published(figure: str) -> Path:
    """Return the CSV of a figure's published points."""
    return Path(__file__).parent / "data" / f"{figure.replace('-', '_')}.csv"
