"""The testbed of RSS++ (CoNEXT 2019): one set of constants for all of its figures, each with its source.

"Published" means the measurements and scripts of rsspp/experiments (BSD 3-Clause, (c) 2019 RSS++). What is
calibrated says on what; everything else is predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, TypedDict

import pandas as pd

from lbsim.scenario import (
    AnyDispatch,
    Batch,
    Batched,
    Campus,
    Cost,
    Fixed,
    Measure,
    Nic,
    Rate,
    Recorded,
    Rss,
    Rsspp,
    Scaling,
    Scenario,
    Server,
    Software,
    Sprayer,
    Stalls,
    TrafficClasses,
    Work,
)
from lbsim.study import Claim, Tables
from lbsim.units import MS, NS, SECOND, US

# --- Settings of the experiments (published test files) ---
RING = 4096  # descriptors per receive queue
BURST = 32  # packets a poll takes
TABLE = 512  # entries of the indirection table
TICK = 100 * MS  # period of RSS++
THRESHOLD = 0.02  # cores of imbalance that RSS++ leaves alone
WINDOW = (5, 50)  # seconds of the trace that count
TRACE_END = 55  # seconds of trace there are
QUEUE = 4096  # packets in each queue of a software dispatcher

# --- What a packet costs ---
SATURATED = {400: 1460 * NS, 600: 2077 * NS}
"""Draws of artificial work W -> time per packet of a saturated core.

W = 400: busy time per packet of RSS++ at 160 % replay, load 0.983 (Fig. 10a); the full ring of that figure
says 1.448 us. W = 600: the 31.62 Gb/s that 8 evenly loaded cores received under Sprayer at 34 Gb/s offered
(Fig. 13), frames of 1002 + 24 bytes; the full ring of that figure says 2.07 to 2.09 us.
"""
PER_BATCH = 4 * US  # per poll; fitted together with MEMORY_BATCH
PER_DRAW = (SATURATED[600] - SATURATED[400]) / 200
PER_PACKET = SATURATED[400] - 400 * PER_DRAW - PER_BATCH / BURST
SLOW_CORE = 1750 * NS / (SATURATED[400] - 100 * PER_DRAW)
"""How much longer all work takes at 1 GHz: one core of Fig. 14 spends 1.75 us on a packet of W = 300."""
STALLS = Stalls(rate=0.25, length=14_400 * US)
"""What a core does besides: the rate is assumed, the length calibrated on the 0.102 % that RSS++ lost at 90 %
replay (Fig. 10a), where no queue can explain a loss."""

# --- What it costs to hand packets over from one core to another ---
HAND_OVER = 1325 * NS / SLOW_CORE  # of a worker, per packet that it takes from a queue
CONTENTION = 205 * NS / SLOW_CORE  # per packet, and worker that polls in vain or shares the queue
"""Calibrated on SW RR of Fig. 14 alone (calibrate_software.py, at 1 GHz), where 16 workers come out within
10 %. The dispatcher polls its ring at the cost of any poll; its own work on a packet comes out as 0."""

# --- What the generator and the wire do ---
PATH_DELAY = round(22.9 * US)
MEMORY_BATCH = Batch(base=16.9, timer=round(98.5 * US), cap=246)
"""PER_BATCH, PATH_DELAY and MEMORY_BATCH are the fit of a prototype of this model to Sprayer's p95 at 2 to 24
Gb/s (Fig. 13); here the same points come out within 11 %, from 4 Gb/s on within 5 %."""
TRACE_BATCH = Batch(base=54)
"""Calibrated on RSS++'s busy time per packet at 90 % replay, 1.7585 us at 13.9 Gb/s (Fig. 10a), over 9 s of
the trace at 13.6 Gb/s; the whole trace at 14.2 Gb/s gives 1.74 us."""
GENERATOR_LIMIT = Rate.parse("22.4Gbps")  # best plateau of Sprayer (Fig. 14)

RSS, RSSPP, SPRAYER, CLASSES = "RSS", "RSS++", "Sprayer", "Traffic class"
QUEUES: Final[dict[str, Literal["shared", "round_robin", "stateful_rr", "stateful_load"]]] = {
    "SW shared queue": "shared",
    "SW RR": "round_robin",
    "SW stateful RR": "stateful_rr",
    "SW stateful load": "stateful_load",
}
"""Software dispatchers; one more core than a figure counts does the dispatching."""
SERIES = (RSS, RSSPP, SPRAYER, *QUEUES, CLASSES)
KEYS = tuple(range(32))
"""Hash keys "random:0" to "random:31": one key is one draw of the luck of RSS."""
DEALS = tuple(range(8))
"""Orders in which the rules of traffic classes are dealt to the cores: the luck of theirs."""
UNEVEN = (35, 75)
"""The keys that claims on the knee of Fig. 10a and 13 take: RSS imbalance of Fig. 12b at 8 cores, in %."""


def base_scenario(
    figure: str,
    *,
    draws: int,
    arrivals: Recorded | Batched,
    window: Window,
    cores: int = 8,
    trace: Literal["campus", "campus-4"] = "campus-4",
    slowdown: float = 1.0,
) -> Scenario:
    """Return the device under test with RSS, fed with a campus trace."""
    return Scenario(
        name=figure,
        **window,
        traffic=Campus(trace=trace),
        arrivals=arrivals,
        nic=Nic(dispatch=dispatch(RSS, KEYS[0])),
        server=Server(cores=cores, ring=RING, burst=BURST, cost=cost(draws, slowdown), stalls=STALLS),
        measure=Measure(interval=SECOND, path_delay=PATH_DELAY),
    )


def cost(draws: int, slowdown: float = 1.0) -> Cost:
    """Return the cost of a packet with `draws` of artificial work."""
    return Cost(
        per_batch=Work(round(PER_BATCH * slowdown)),
        per_packet=Work(round(PER_PACKET * slowdown)),
        work=Fixed(time=Work(round(PER_DRAW * draws * slowdown))),
    )


def dispatch(
    series: str, luck: int = 0, *, slowdown: float = 1.0, scaling: Scaling | None = None
) -> AnyDispatch:
    """Return who spreads packets over cores; `luck` is a hash key, or how classes are dealt.

    Only RSS++ and traffic classes can scale the number of cores. Raises ValueError for an unknown series.
    """
    key = f"random:{luck}"
    match series:
        case "RSS":
            return Rss(table=TABLE, key=key)
        case "RSS++":
            return Rsspp(table=TABLE, key=key, tick=TICK, threshold=THRESHOLD, scaling=scaling)
        case "Sprayer":
            return Sprayer()
        case "Traffic class":
            return TrafficClasses(deal=luck, scaling=scaling)
        case name if name in QUEUES:
            return Software(
                queues=QUEUES[name],
                capacity=QUEUE,
                per_batch=Work(round(PER_BATCH * slowdown)),
                hand_over=Work(round(HAND_OVER * slowdown)),
                contention=Work(round(CONTENTION * slowdown)),
            )
    raise ValueError(f"series {series!r} is unknown: choose from {', '.join(SERIES)}")


def replay(percent: int) -> Recorded:
    """Return the timed replay of the trace at `percent` of its speed (Fig. 10 and 12)."""
    return Recorded(speed=percent / 100, batch=TRACE_BATCH)


def from_memory(rate: Rate) -> Batched:
    """Return the replay from memory at a constant rate (Fig. 13 and 14)."""
    return Batched(rate=rate, batch=MEMORY_BATCH)


class Window(TypedDict):
    """The two fields of a scenario that say which packets count, in ps."""

    warmup: int
    duration: int


def trace_window(seconds: tuple[int, int], percent: int = 100) -> Window:
    """Return what counts these seconds of the trace when it is replayed at `percent` of its speed."""
    first, last = (second * SECOND * 100 // percent for second in seconds)
    return {"warmup": first, "duration": last}


def rivals(
    keys: Sequence[int], series: Sequence[str] = SERIES, deals: Sequence[int] = DEALS
) -> list[tuple[str, int]]:
    """Return every (series, key) to compare: hash keys, deals of classes, one 0 where there is no luck."""
    luck = {RSS: keys, RSSPP: keys, CLASSES: deals}
    return [(name, key) for name in series for key in luck.get(name, (0,))]


def published(figure: str) -> Path:
    """Return the CSV of a figure's published points."""
    return Path(__file__).parent / "data" / f"{figure.replace('-', '_')}.csv"


def by_key(table: pd.DataFrame, value: str, query: str, series: Sequence[str] = (RSS, RSSPP)) -> pd.DataFrame:
    """Return `value` in the rows that match, one row a key, one column a series; nan where one has no run."""
    rows = table.query(query)
    return rows[rows["series"].isin(series)].pivot(index="key", columns="series", values=value)[list(series)]


def median_of(table: pd.DataFrame, value: str, query: str, series: str) -> float:
    """Return the median of `value` over the runs of a series that match."""
    return float(by_key(table, value, query, (series,))[series].median(skipna=False))


def uneven_keys(tables: Tables) -> list[int]:
    """Return the keys whose RSS imbalance in Fig. 12b at 8 cores is within `UNEVEN`; ValueError for none."""
    imbalance = by_key(tables["rsspp-fig12b"], "imbalance_pct", "cores == 8", (RSS,))[RSS]
    keys = [int(key) for key in imbalance.index[imbalance.between(*UNEVEN)]]
    if not keys:
        raise ValueError(f"no hash key has an RSS imbalance of {UNEVEN[0]} to {UNEVEN[1]} % at 8 cores")
    return keys


def over_uneven_keys(id_: str, values: Callable[[Tables], pd.Series]) -> Claim:
    """Return the claim on the median of `values` (one a hash key) over the uneven keys, all beside it."""

    def median(tables: Tables) -> float:
        return float(values(tables)[uneven_keys(tables)].median(skipna=False))

    def beside(tables: Tables) -> str:
        every = ", ".join(f"{key}: {value:.3g}" for key, value in values(tables).items())
        return f"median of keys {' '.join(map(str, uneven_keys(tables)))}; every key {every}"

    return Claim(id_, median, beside)
