"""RSS++ Fig. 3: round-trip times of the 100 TCP flows of Fig. 1, second by second.

The published mean falls from 509 to 394 us while the bandwidth stays. Windows that do not adapt cannot show
that: by Little's law the mean over packets is all windows / throughput, whoever spreads them. What they do
show is how round trips on saturated cores come down to those of the others. TCP adapts its windows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments import rsspp_testbed as rsspp
from experiments.rsspp_fig1 import PAYLOAD, SERIES, points, scenario, time_weighted
from lbsim.metrics.result import Int64s, Result
from lbsim.study import Panel, Study

NAME = "rsspp-fig3"
QUANTILES = (0.25, 0.5, 0.75, 0.99)


def measure(result: Result) -> list[dict[str, Any]]:
    """Return the round-trip times of every second in us, and the goodput of all flows in Gb/s."""
    assert result.latencies is not None
    packets = result.series("packets").sum(axis=1)
    return [
        {"time_s": time, **trips(counts), "goodput_gbps": packets[time] * PAYLOAD * 8 / 1e9}
        for time, counts in zip(packets.index, result.latencies, strict=True)
    ]


def trips(counts: Int64s) -> dict[str, float]:
    """Return mean, standard deviation and quantiles in us of the round trips under way at any instant."""
    mean, deviation, law = time_weighted(counts)
    quantiles = {f"p{100 * q:g}_us": float(law.index[int(np.searchsorted(law, q))]) for q in QUANTILES}
    return {"mean_us": mean, "sd_us": deviation, **quantiles}


STUDY = Study(
    name=NAME,
    title="RSS++ Fig. 3: round-trip times under RSS, under RSS++ from 10 s, with scaling from 20 s",
    base=scenario(),
    points=points,
    measure=measure,
    claims=(),
    published=rsspp.published(NAME),
    panels=(
        Panel(
            x="time_s",
            y="p50_us",
            series=(SERIES,),
            xlabel="time (s)",
            ylabel="round trip (µs)",
            box=("p25_us", "p75_us", "p99_us"),
        ),
        Panel(  # the published values are means over seconds 1 to 10, 18 to 20 and 20 to 30
            x="time_s",
            y="mean_us",
            series=(SERIES,),
            xlabel="time (s)",
            ylabel="mean round trip (µs)",
            ylim=(0, 700),
        ),
        Panel(
            x="time_s",
            y="p99_us",
            series=(SERIES,),
            xlabel="time (s)",
            ylabel="p99 round trip (µs)",
            ylim=(0, 1600),
        ),
    ),
)
