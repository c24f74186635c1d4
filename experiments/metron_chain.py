"""Metron's point: how many cores a service chain needs at 40 Gb/s, and how long packets then take.

Metron classifies in the NIC, merges what remains into one function, and gives every traffic class to one
core; its rivals run the same functions one after another behind RSS, as a pipeline with a core for each
(OpenBox), behind a core that dispatches in software, or with Flow Director's rules for single flows. Flows
are many and equal, so that chains are compared and not luck; each gets as many cores as it needs to lose next
to nothing.

The papers' curves are not published as numbers. The claims take the chains of Metron's later paper (TOCS
2021); the growing chain of one to ten functions is ours.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, NamedTuple

import pandas as pd

from experiments import packetmill_testbed as packetmill
from lbsim.chain.cost import framework
from lbsim.engine.run import run
from lbsim.metrics.result import Result
from lbsim.scenario import (
    AnyDispatch,
    AnyFunction,
    Backends,
    Batched,
    Chain,
    Dpi,
    Firewall,
    FlowDirector,
    Flows,
    Metron,
    Monitor,
    Napt,
    Nic,
    Rate,
    Router,
    Rss,
    Sanity,
    Scenario,
    Server,
    Software,
    Work,
)
from lbsim.study import Claim, Panel, Study, Tables
from lbsim.units import MS, NS

NAME: Final = "metron-chain"
RATE: Final = Rate.parse("40Gbps")
FLOWS: Final = 4096
MOST_CORES: Final = 48
LOSS: Final = 1e-3  # share of packets that may be lost
DURATION: Final = {"full": 100 * MS, "quick": 30 * MS}
WARMUP: Final = 10 * MS
CONFIGURATION: Final = "forwarder fosdem"  # what receiving and sending a packet costs, without a function

LINES: Final = 3  # of cache: the ring's slot, the packet's descriptor, its header. Assumed
HAND_OVER: Final = Work(LINES * packetmill.MACHINE.access_ps(4.0))
"""Of a core on each packet that another one hands to it: cache lines that the other core has written."""
DEAR: Final = Work(1325 * NS)
"""The same as calibrated on a software dispatcher of RSS++ at 1 GHz (`rsspp_testbed.HAND_OVER`): a bound."""

FW, ROUTE, NAPT, LB, MON = Firewall(rules=643), Router(routes=3117), Napt(), Backends(), Monitor()
PUBLISHED: Final[dict[str, tuple[AnyFunction, ...]]] = {
    "FW, NAPT": (FW, NAPT),
    "FW, router, NAPT": (FW, ROUTE, NAPT),
    "router, NAPT": (ROUTE, NAPT),
    "FW, monitor": (FW, MON),
    "FW, LB": (FW, LB),
    "router, monitor": (ROUTE, MON),
    "router, LB": (ROUTE, LB),
}
"""Chains of Metron's TOCS experiments (gkatsikas/onos, metron-ctrl, apps-tocs), with their rules and
routes."""
GROWING: Final[tuple[AnyFunction, ...]] = (
    *(FW, ROUTE, NAPT, MON, Sanity(), LB),
    *(Firewall(rules=64, seed=1), Monitor(), Router(routes=64, seed=1), Dpi()),
)

METRON, SWITCHED, TOGETHER = "Metron, NIC rules", "Metron, switch", "RSS"
PIPELINE, DEARER = "Pipeline", "Pipeline, dear hand-over"
DISPATCHER, DIRECTOR = "Software dispatcher", "Flow Director"
SERIES: Final = (METRON, SWITCHED, TOGETHER, DIRECTOR, DISPATCHER, PIPELINE, DEARER)


CHAINS: Final = PUBLISHED | {f"{n} functions": GROWING[:n] for n in range(1, len(GROWING) + 1)}


class Point(NamedTuple):
    """One chain, run in one way."""

    series: str
    chain: str  # its name
    functions: int
    growing: bool  # whether it is one of ours
    duration: int  # ps that count


def points(full: bool) -> list[Point]:
    """Return every way for the published chains and for the growing one, fewer at quick scale."""
    duration = DURATION["full" if full else "quick"]
    chains = CHAINS if full else [*PUBLISHED, *(f"{n} functions" for n in (1, 3, 10))]
    return [
        Point(series, chain, len(CHAINS[chain]), chain not in PUBLISHED, duration)
        for chain in chains
        for series in SERIES
    ]


def scenario(point: Point, cores: int) -> Scenario:
    """Return a chain on so many cores; a pipeline's are those of all its stages."""
    series, functions = point.series, CHAINS[point.chain]
    execution: Literal["together", "pipeline"] = "pipeline" if series in (PIPELINE, DEARER) else "together"
    offload: Any = {METRON: "nic", SWITCHED: "switch"}.get(series, "none")
    return Scenario(
        name=NAME,
        warmup=WARMUP,
        duration=WARMUP + point.duration,
        traffic=Flows(flows=FLOWS, frame="campus"),
        arrivals=Batched(rate=RATE),
        nic=Nic(dispatch=dispatch(series)),
        chain=Chain(
            functions=functions,
            execution=execution,
            synthesised=series in (METRON, SWITCHED),
            offload=offload,
            hand_over=DEAR if series == DEARER else HAND_OVER,
        ),
        server=Server(
            cores=cores,
            clock=packetmill.CLOCK,
            ring=packetmill.RING,
            burst=packetmill.BURST,
            cost=framework(CONFIGURATION),
        ),
    )


def dispatch(series: str) -> AnyDispatch:
    """Return who spreads packets over cores."""
    match series:
        case "Metron, NIC rules":
            return Metron(controller="none")
        case "Metron, switch":
            return Metron(scope="mac", controller="none")
        case "Software dispatcher":
            receive = framework(CONFIGURATION).per_packet
            return Software(capacity=packetmill.RING, per_packet=receive, hand_over=HAND_OVER)
        case "Flow Director":
            return FlowDirector()
    return Rss(key="mlx5")


def compute(point: Point) -> dict[str, Any]:
    """Return the fewest cores that lose next to nothing, and what packets experience on them.

    No core at all where every packet is dealt with before it reaches one; nan where even 48 do not do.
    """
    row = {
        "series": point.series,
        "chain": point.chain,
        "functions": point.functions,
        "growing": point.growing,
    }
    step = point.functions if point.series in (PIPELINE, DEARER) else 1
    for cores in range(step, MOST_CORES + 1, step):
        result = run(scenario(point, cores))
        if result.drop_share <= LOSS:
            return row | measure(result, cores)
    return row | dict.fromkeys(("cores", "p50_us", "p99_us", "hand_overs", "busy_cores"), math.nan)


def measure(result: Result, cores: int) -> dict[str, float]:
    """Return how many cores it takes, a dispatcher's own included, and how packets fare."""
    if result.offered == 0:
        return {"cores": 0.0, "p50_us": math.nan, "p99_us": math.nan, "hand_overs": 0.0, "busy_cores": 0.0}
    handed = result.control.get("hand_overs", 0)
    dispatched = len(result.processed) > result.workers
    if dispatched:
        handed = int(result.processed[: result.workers].sum())
    return {
        "cores": float(cores + dispatched),
        "p50_us": result.latency_us(0.5),
        "p99_us": result.latency_us(0.99),
        "hand_overs": handed / int(result.processed.max() if dispatched else handled(result)),
        "busy_cores": float(result.busy.sum()) / result.end,
    }


def handled(result: Result) -> int:
    """Return the packets of the whole run that entered a core, whichever was their first."""
    stages = len(result.scenario.chain.stages)
    return max(1, int(result.processed[::stages].sum()))


def rows(tables: Tables, series: str) -> pd.DataFrame:
    """Return the rows of a series on the published chains, by chain."""
    table = tables[NAME].query("not growing")
    return table[table["series"] == series].set_index("chain")


def hand_overs(tables: Tables) -> float:
    """Return the most hand-overs of a packet under Metron's dispatch, over all chains."""
    table = tables[NAME]
    return float(table[table["series"].isin((METRON, SWITCHED))]["hand_overs"].max(skipna=False))


def advantage(tables: Tables) -> pd.Series:
    """Return the cores of a pipeline / those of Metron, one a published chain."""
    return rows(tables, PIPELINE)["cores"] / rows(tables, METRON)["cores"]


def beside(tables: Tables) -> str:
    """Return the ratio of every chain."""
    dear = rows(tables, DEARER)["cores"] / rows(tables, METRON)["cores"]
    return "; ".join(
        f"{chain}: {ratio:.3g}, with a dear hand-over {dear[str(chain)]:.3g}"
        for chain, ratio in advantage(tables).items()
    )


STUDY = Study(
    name=NAME,
    title="Metron: cores that a service chain needs at 40 Gb/s",
    points=points,
    compute=compute,
    size=lambda point: float(point.functions),
    claims=(
        Claim("ME-08", hand_overs),
        Claim("ME-09", lambda tables: float(advantage(tables).max()), beside),
    ),
    panels=(
        Panel(
            x="functions",
            y="cores",
            series=SERIES,
            where="growing",
            xlabel="network functions in the chain",
            ylabel="cores for 40 Gb/s",
            symlog=1,
        ),
        Panel(
            x="functions",
            y="p99_us",
            series=SERIES,
            where="growing",
            xlabel="network functions in the chain",
            ylabel="p99 latency on these cores (µs)",
            log=True,
        ),
        Panel(
            x="cores",
            y="p50_us",
            series=(METRON, TOGETHER, PIPELINE),
            where="not growing",
            labels="chain",
            xlabel="cores for 40 Gb/s",
            ylabel="median latency (µs)",
        ),
    ),
)
