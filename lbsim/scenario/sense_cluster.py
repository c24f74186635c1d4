"""What must hold between a cluster and the other parts of a scenario; see `lbsim.scenario.sense`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lbsim.scenario.churn import Pool, churn_problems
from lbsim.scenario.cluster import Cluster, CrossRss
from lbsim.scenario.dispatch import (
    PolicyDispatch,
    Rss,
    Rsspp,
    RssRoundRobin,
    Software,
    Sprayer,
    TrafficClasses,
)
from lbsim.scenario.machine import Server, Shared
from lbsim.scenario.metron import RSS_ENTRIES, FlowDirector, Metron
from lbsim.scenario.nic import AnyDispatch, Nic
from lbsim.scenario.traffic import AnyArrivals, Closed

MOST_CORES: Final = 4096
"""Cores of all servers."""

MOST_BUCKETS: Final = 2**20
"""Entries of the indirection tables of all servers."""


def cluster_problems(cluster: Cluster, arrivals: AnyArrivals | None, duration: int | None) -> Iterator[str]:
    """Yield what keeps a cluster from getting packets that come in this way, and churn that cannot be."""
    if isinstance(arrivals, Closed):
        yield (
            "cluster: given, but a closed loop runs on one server; leave it out, or write another kind of "
            "arrivals"
        )
    if cluster.churn is not None:
        pool = Pool(cluster.servers, cluster.initial, ("cluster.servers", "cluster.active"))
        yield from (f"cluster.{problem}" for problem in churn_problems(cluster.churn, pool, duration))


def nic_of_cluster_problems(nic: Nic, cluster: Cluster) -> Iterator[str]:
    """Yield what a NIC of each server of a cluster cannot do."""
    dispatch = nic.dispatch
    match dispatch:
        case Software() | PolicyDispatch() | FlowDirector():
            yield (
                f"nic.dispatch.kind: {dispatch.kind}, but servers of a cluster need a table of their own "
                "that names the core; write rss, rss++, rssrr, classes, metron or sprayer"
            )
        case Sprayer() if isinstance(cluster.balancer, CrossRss):
            yield (
                "nic.dispatch.kind: sprayer, but crossrss needs to know the bucket of a flow, and its "
                "packets have many; write rss, rss++ or rssrr, or a cluster.balancer of kind choosing"
            )
    if nic.limit is not None:
        yield (
            "nic.limit: given, but is simulated for one server alone; leave it out, or write nic.queue, "
            "which limits every core"
        )
    entries = _entries(dispatch)
    if cluster.servers * entries > MOST_BUCKETS:
        yield (
            f"cluster.servers: {cluster.servers} tables of {entries} entries are "
            f"{cluster.servers * entries}, at most {MOST_BUCKETS}; write {MOST_BUCKETS // entries} or less"
        )


def server_of_cluster_problems(server: Server, cluster: Cluster) -> Iterator[str]:
    """Yield what keeps a server from being one of a cluster."""
    cores = server.cores * cluster.servers
    if cores > MOST_CORES:
        yield (
            f"server.cores: {server.cores} cores of each of {cluster.servers} servers are {cores}, at most "
            f"{MOST_CORES}; write {MOST_CORES // cluster.servers} or less"
        )
    if isinstance(server.state, Shared):
        yield (
            "server.state.kind: shared is not simulated in a cluster; leave server.state out, or write "
            "per_bucket"
        )


def _entries(dispatch: AnyDispatch) -> int:
    """Return the most entries of the table of a dispatch."""
    match dispatch:
        case Rss(table=entries) | Rsspp(table=entries) | RssRoundRobin(table=entries):
            return entries
        case Metron(scope="rss"):
            return RSS_ENTRIES
        case TrafficClasses(rules=rules) | Metron(rules=rules):
            return rules
    return 256
