"""Connections per second at connection grain: each policy on one cluster, and one policy on growing clusters.

A unit is an event: a begin or an end. 468 servers and 70,000 connections under way are those of Cheetah's
Section 2; the clusters grow to 100,000 servers with 100 connections each. Random generation is included.
"""

from __future__ import annotations

import math
from typing import Any, Final

from lbsim.bench.peers import Outcome
from lbsim.engine.connection.run import run_connections
from lbsim.scenario import (
    Adapt,
    Balancer,
    ConnectionScenario,
    ConnTable,
    Cookie,
    DaisyChain,
    Exponential,
    FlowTable,
    Open,
    Rehash,
    Servers,
    Work,
)
from lbsim.units import SECOND

SERVERS: Final = 468
LIVE: Final = 70_000
CLUSTERS: Final = ((100, 10_000), (1_000, 100_000), (100, 10_000_000), (100_000, 10_000_000))
"""Servers and connections under way."""

GROWN: Final = ("hashed", "least_loaded")
MEAN_LENGTH: Final = SECOND

BY_HASH: Final = ("hashed", "ring", "rendezvous", "maglev_large")
BY_MEMORY: Final = (
    *("round_robin", "round_robin_per_core", "weighted_round_robin", "adaptive_weighted_round_robin"),
    *("uniform", "power_of_two", "power_of_two_distinct", "jsq"),
    *("least_loaded", "join_idle", "shortest_expected_delay", "bounded_loads"),
)
SCHEMES: Final[dict[str, Any]] = {
    "conntable": ConnTable(capacity=2 * LIVE),
    "flow_table": FlowTable(capacity=2 * LIVE),
}
WAYS: Final = (
    *(f"{policy}, rehash" for policy in BY_HASH),
    "beamer, daisy_chain",
    *(f"{policy}, cookie" for policy in BY_MEMORY),
    *(f"least_loaded, {scheme}" for scheme in SCHEMES),
)


def by_way(way: str, events: int, seed: int) -> Outcome:
    """Run about so many events of a policy and scheme, "policy, scheme", on the cluster of Section 2."""
    policy, _, scheme = way.partition(", ")
    consistency = {"rehash": Rehash(), "cookie": Cookie(), "daisy_chain": DaisyChain(), **SCHEMES}[scheme]
    adapt = Adapt(period=SECOND) if policy.startswith("adaptive") else None
    return _run(Balancer(policy=policy, consistency=consistency, adapt=adapt), SERVERS, LIVE, events, seed)


def by_size(policy: str, servers: int, live: int, events: int, seed: int) -> Outcome:
    """Run about so many events of a policy on a cluster; the first of them fill it."""
    fits = servers <= 1 << 16  # else two tiers of balancers would share the cookie
    consistency = (
        Rehash() if policy in BY_HASH else Cookie(carrier="quic") if fits else ConnTable(capacity=2 * live)
    )
    return _run(Balancer(policy=policy, consistency=consistency), servers, live, events, seed)


def _run(balancer: Balancer, servers: int, live: int, events: int, seed: int) -> Outcome:
    per_second = live * SECOND / MEAN_LENGTH
    result = run_connections(
        ConnectionScenario(
            seed=seed,
            duration=max(1, round(events / (2 * per_second) * SECOND)),
            clients=Open(per_second=per_second, length=Exponential(mean=Work(float(MEAN_LENGTH)))),
            balancer=balancer,
            servers=Servers(configured=servers),
        ),
        "compiled",
    )
    done = result.whole.begun + result.whole.completed
    return Outcome(done, result.imbalance_pct, math.nan, 0.0)
