"""RSS++ Fig. 17: throughput of chains of network functions on 1 to 16 cores, Campus #4 at up to 100 Gb/s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments import rsspp_nf as nf
from experiments import rsspp_testbed as rsspp
from lbsim.metrics.quantities import BY_NAME
from lbsim.metrics.result import Result
from lbsim.scenario import Campus, Measure, Nic, Scenario
from lbsim.study import Claim, Panel, Point, Study, Tables
from lbsim.units import MS, NS, SECOND

NAME = "rsspp-fig17"
SERIES = ("RSS", "RSS++", "Sprayer")
CHAINS: tuple[nf.NF, ...] = ("FW", "FW+NAT", "FW+NAT+DPI")
FRAME_GAP = 82 * NS  # of 1002-byte frames on the wire at 100 Gb/s
CORES: dict[str, dict[nf.NF, Sequence[int]]] = {
    "full": {"FW": range(2, 17, 2), "FW+NAT": range(1, 17), "FW+NAT+DPI": range(2, 17, 2)},
    "quick": {"FW": (1, 8), "FW+NAT": (1, 4, 8, 9, 16), "FW+NAT+DPI": (1, 8)},
}
CLAIMED = (8, 9)  # cores of FW+NAT
WINDOW = {"full": (1 * SECOND, 3 * SECOND), "quick": (700 * MS, 1100 * MS), "rest": (100 * MS, 250 * MS)}
"""Warm-up and duration; published 10 s. RSS++ has balanced the cores after some ticks of 100 ms, and 2 s are
24 million packets: the hash key matters more than further seconds, so there are several keys instead. The
rest is what quick scale does not claim anything of."""


def points(full: bool) -> list[Point]:
    """Return every chain on its numbers of cores; FW+NAT, of which is known most, with several hash keys."""
    return [
        Point(
            {"series": series, "key": key, "nf": chain, "cores": cores},
            {
                **window(chain, cores, full),
                "nic.dispatch": rsspp.dispatch(series, key),
                "server": nf.server("shared" if series == "Sprayer" else "per bucket", chain, cores),
            },
        )
        for chain in CHAINS
        for cores in CORES["full" if full else "quick"][chain]
        for series, key in rsspp.rivals(keys(chain, cores, full), SERIES)
    ]


def window(chain: nf.NF, cores: int, full: bool) -> rsspp.Window:
    """Return which packets count."""
    scale = "full" if full else "quick" if claimed(chain, cores) else "rest"
    warmup, duration = WINDOW[scale]
    return {"warmup": warmup, "duration": duration}


def keys(chain: nf.NF, cores: int, full: bool) -> tuple[int, ...]:
    """Return the hash keys of a point: several for FW+NAT, of which most is known."""
    if full:
        return rsspp.KEYS[: 3 if chain == "FW+NAT" else 1]
    return rsspp.KEYS[: 2 if claimed(chain, cores) else 1]


def claimed(chain: nf.NF, cores: int) -> bool:
    """Whether a claim is made of a point."""
    return chain == "FW+NAT" and cores in CLAIMED


def measure(result: Result) -> dict[str, Any]:
    """Return throughput and the share of packets that left after a later one of their flow."""
    return {
        "throughput_gbps": result.throughput_gbps,
        "reordered_pct": BY_NAME["reordered_pct"].of(result),
    }


def throughput(tables: Tables, series: str, cores: int) -> float:
    """Return the throughput of FW+NAT in Gb/s, median over the hash keys."""
    rows = tables[NAME].query(f"nf == 'FW+NAT' and cores == {cores} and series == '{series}'")
    return float(rows["throughput_gbps"].median(skipna=False))


def ratio(id_: str, cores: int, above: str, below: str) -> Claim:
    """Return the claim on the throughput of FW+NAT under one dispatcher / that under another."""

    def value(tables: Tables) -> float:
        return throughput(tables, above, cores) / throughput(tables, below, cores)

    def beside(tables: Tables) -> str:
        rows = tables[NAME].query(f"nf == 'FW+NAT' and cores == {cores}").groupby("series")["throughput_gbps"]
        every = {name: ", ".join(f"{gbps:.4g}" for gbps in rows.get_group(name)) for name in (above, below)}
        return "every key in Gb/s: " + "; ".join(f"{name} {gbps}" for name, gbps in every.items())

    return Claim(id_, value, beside)


STUDY = Study(
    name=NAME,
    title="RSS++ Fig. 17: chains of network functions, 1 to 16 cores",
    base=Scenario(
        name=NAME,
        warmup=WINDOW["full"][0],
        duration=WINDOW["full"][1],
        traffic=Campus(trace="campus-4"),
        arrivals=nf.at_line_rate(FRAME_GAP),
        nic=Nic(dispatch=rsspp.dispatch("RSS", rsspp.KEYS[0])),
        server=nf.server("per bucket", "FW+NAT"),
        measure=Measure(reordering=True),
    ),
    points=points,
    measure=measure,
    claims=(ratio("RS-21", 9, "RSS++", "RSS"), ratio("RS-22", 8, "Sprayer", "RSS++")),
    published=rsspp.published(NAME),
    panels=(
        *(
            Panel(
                x="cores",
                y="throughput_gbps",
                series=SERIES,
                xlabel="cores",
                ylabel=f"{chain}: throughput (Gb/s)",
                xticks=(1, 4, 8, 12, 16),
                where=f"nf == '{chain}'",
            )
            for chain in CHAINS
        ),
        Panel(
            x="cores",
            y="reordered_pct",
            series=SERIES,
            xlabel="cores",
            ylabel="FW+NAT: reordered (% of packets)",
            xticks=(1, 4, 8, 12, 16),
            where="nf == 'FW+NAT'",
        ),
    ),
)
