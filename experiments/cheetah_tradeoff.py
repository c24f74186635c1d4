"""Beyond the papers: broken connections, imbalance and memory of every way to balance, in one plane.

One cluster, one trace of connections and of servers that are updated one after the other (down-times of
SilkRoad, as in Cheetah's Section 2), for everyone. To the left is better (even loads), down is better (fewer
broken connections), and a smaller marker is better (less memory). What a stateless balancer can only have by
hashing, a cookie gives to any policy.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from lbsim.metrics import ConnectionResult
from lbsim.metrics.quantities import BY_NAME
from lbsim.scenario import (
    Balancer,
    ConnectionMeasure,
    ConnectionScenario,
    Open,
    Servers,
    Table,
    Updates,
    Work,
)
from lbsim.study import Panel, Point, Study
from lbsim.units import SECOND

NAME: Final = "cheetah-tradeoff"
SERVERS: Final = 468  # as in Cheetah's Section 2
CONNECTIONS: Final = 46_800  # 100 a server
HADOOP, DOWN_TIMES = "cheetah_hadoop_conn_duration_s", "silkroad_server_downtime_s"

REHASH, DAISY, JET, SILKROAD = "no memory", "daisy chain", "JET", "SilkRoad"
CUCKOO, COOKIE, CONNTABLE = "cuckoo table", "Cheetah, cookie", "Cheetah, table"
FAMILIES: Final[dict[str, dict[str, Any]]] = {
    REHASH: {"kind": "rehash"},
    DAISY: {"kind": "daisy_chain"},
    JET: {"kind": "jet"},
    SILKROAD: {"kind": "silkroad", "cells": 2 * CONNECTIONS},
    CUCKOO: {"kind": "flow_table", "capacity": 2 * CONNECTIONS},
    COOKIE: {"kind": "cookie"},
    CONNTABLE: {"kind": "conntable", "capacity": 2 * CONNECTIONS},
}


class Way(NamedTuple):
    """A policy with a scheme that keeps connections consistent."""

    family: str
    policy: str
    label: str
    quick: bool = False  # also at quick scale
    others: dict[str, Any] = {}  # noqa: RUF012  # of the scenario


WAYS: Final = (
    Way(REHASH, "hashed", "hash mod n", quick=True),
    Way(REHASH, "ring_published", "ring, as published"),
    Way(REHASH, "ring", "ring", quick=True),
    Way(REHASH, "uhashring", "uhashring"),
    Way(REHASH, "rendezvous", "rendezvous"),
    Way(REHASH, "maglev", "Maglev", quick=True),
    Way(REHASH, "maglev_large", "Maglev, large"),
    Way(DAISY, "beamer", "Beamer", quick=True, others={"balancer.slots": 46_800}),
    Way(DAISY, "faild", "Faild", others={"balancer.slots": 46_800}),
    Way(JET, "rendezvous", "rendezvous"),
    Way(JET, "ring", "ring", quick=True),
    Way(SILKROAD, "hashed", "hash mod n", quick=True),
    Way(CUCKOO, "round_robin", "round robin"),
    Way(CUCKOO, "least_loaded", "least loaded", quick=True),
    Way(COOKIE, "hashed", "hash mod n"),
    Way(COOKIE, "uniform", "random"),
    Way(COOKIE, "round_robin", "round robin", quick=True),
    Way(COOKIE, "round_robin_per_core", "round robin per core"),
    Way(COOKIE, "power_of_two", "power of two", quick=True),
    Way(COOKIE, "jsq", "best of 4", others={"balancer.choices": 4}),
    Way(COOKIE, "bounded_loads", "bounded loads"),
    Way(COOKIE, "least_loaded", "least loaded", quick=True),
    Way(CONNTABLE, "power_of_two", "power of two"),
    Way(CONNTABLE, "least_loaded", "least loaded", quick=True),
)

BASE: Final = ConnectionScenario(
    name="every way to balance under one churn",
    duration=1800 * SECOND,
    warmup=300 * SECOND,
    clients=Open(
        concurrent=CONNECTIONS,
        length=Table(table=HADOOP, mean=Work(21_334_000_000_000)),
        gap=SECOND,
    ),
    balancer=Balancer(policy="hashed"),
    servers=Servers(configured=SERVERS),
    churn=Updates(per_minute=2.0, do="drain", down=Table(table=DOWN_TIMES, mean=Work(1_786_000_000_000_000))),
    measure=ConnectionMeasure(),
)

COLUMNS: Final = (
    *("connections", "broken", "broken_pct", "excess_load_mean_pct", "excess_load_max_pct"),
    *("refused_pct", "live_peak", "memory_kb"),
)


def points(full: bool) -> list[Point]:
    """Return every way, with as many replications; few and short ones at quick scale."""
    short = {"duration": 400 * SECOND, "warmup": 200 * SECOND}
    return [
        Point(
            {"family": way.family, "policy": way.policy, "label": way.label, "replication": k},
            {
                "balancer.policy": way.policy,
                "balancer.consistency": FAMILIES[way.family],
                "replication": k,
                **way.others,
                **({} if full else short),
            },
        )
        for way in WAYS
        if full or way.quick
        for k in range(5 if full else 1)
    ]


def measure(result: ConnectionResult) -> dict[str, float]:
    """Return the numbers of a run."""
    return {name: BY_NAME[name].of(result) for name in COLUMNS}


STUDY = Study(
    name=NAME,
    title="Broken connections, imbalance and memory of every way to balance, 468 servers under updates",
    base=BASE,
    points=points,
    measure=measure,
    claims=(),  # CH-PCC-01 of cheetah-pcc reads this table, too
    panels=(
        Panel(
            x="excess_load_mean_pct",
            y="broken_pct",
            series=tuple(FAMILIES),
            by="family",
            xlabel="most loaded server, above the mean (%)",
            ylabel="broken connections (%)",
            xlog=True,
            symlog=0.01,
            labels="label",
            area="memory_kb",
            area_label="memory (kB)",
            band="interval",
        ),
    ),
)
