"""The balancer of a cluster as a front: a server for every flow, then the server's own bucket."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer import Policy
from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import slots_of
from lbsim.balancer.pool import Pool
from lbsim.engine.front.choosers import ByPolicy, ByTable, Chooser
from lbsim.engine.front.cluster_kernels import BEGUN, BROKEN, GONE, UNKNOWN, Memory
from lbsim.engine.front.hashes import hashes_of
from lbsim.engine.named import policy_named, such_as
from lbsim.engine.plane import SERVER_DOWN
from lbsim.engine.reference import Packet
from lbsim.engine.source import Source
from lbsim.rng import coin
from lbsim.scenario import Choosing, Cluster, CrossRss, FlowTable, Scenario, ScenarioError
from lbsim.scenario.errors import refuse
from lbsim.workload.packets import Packets

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

POLICY_FIELD: Final = "cluster.balancer.policy"


class ClusterFront:
    """A balancer of servers with `buckets` each; see `lbsim.engine.front.Front`.

    A flow keeps the server that it was given while that lives, also one that drains. Where `remember` is
    false each packet is looked up, and a flow is broken whenever it changes its server. A server that is
    taken off the list while it is down, one removed or one whose crash is noticed, takes the state of its
    flows with it: each is broken when its next packet comes, and is given a server anew. Until a crash is
    noticed, what is sent there is lost.
    """

    def __init__(
        self, chooser: Chooser, buckets: int, flows: int, *, remember: bool = True, crashes: bool = True
    ) -> None:
        servers = chooser.pool.configured
        self.name = f"balancer of {servers} servers"
        self.causes: tuple[str, ...] = (SERVER_DOWN,) if crashes else ()
        self.chooser = chooser
        self.memory = Memory(
            np.full(flows, UNKNOWN, np.int32),
            np.zeros(servers * buckets, np.int64),
            np.zeros(servers, np.int64),
            chooser.pool.down,
            np.zeros(3, np.int64),
            buckets,
            remember,
        )

    @property
    def pool(self) -> Pool:
        """Which servers are on the list, which wait, which are down."""
        return self.chooser.pool

    # --- packets --------------------------------------------------------------------------------------------

    def steer_one(self, packet: Packet) -> int:
        """Return the entry of the whole table for a packet that arrives now, -1 where it is lost."""
        m, flow = self.memory, packet.flow
        server = int(m.owner[flow])
        if server < 0 or not m.remember:
            before, server = server, self.chooser.choose(packet, m)
            if before == UNKNOWN:
                m.counts[BEGUN] += 1
            elif server != before:
                m.counts[BROKEN] += 1
            if before >= 0:
                m.flows[before] -= 1
            m.flows[server] += 1
            m.owner[flow] = server
        entry = server * m.buckets + packet.bucket
        m.sent[entry] += 1
        return -1 if self.pool.down[server] else entry

    def steer(self, p: Packets, base: int) -> Int32s:
        """Return the entry of the whole table for each packet, -1 where it is lost."""
        entry = np.empty(len(p.flow), np.int32)
        self.chooser.steer(self.memory, p, entry)
        return entry

    def counted(self) -> dict[str, int]:
        """Return the flows that began, and how often one lost its server."""
        counts = self.memory.counts
        counted = {"flows_begun": int(counts[BEGUN]), "flows_broken": int(counts[BROKEN])}
        if isinstance(self.chooser, ByTable):
            counted["buckets_moved"] = self.chooser.moved
        return counted

    # --- servers, changed by control at times to which the plane has been synced ----------------------------

    def join(self, server: int | None, place: int | None, now: int) -> int:
        """Let a spare take flows, the first one where none is named; return its number."""
        pool = self.pool
        server = pool.spares[0] if server is None else server
        self.chooser.join(server, len(pool.active) if place is None else place, now)
        return server

    def leave(self, server: int, now: int) -> None:
        """Take a server off the list; if it is down, its flows have lost it."""
        self.chooser.leave(server, now)
        if self.pool.down[server]:
            self.memory.owner[self.memory.owner == server] = GONE
            self.memory.flows[server] = 0

    def crash(self, server: int, now: int) -> None:
        """Let a server die, noticed or not: what is sent there is lost; what is in its rings is served."""
        self.chooser.crash(server, now)


def cluster_front(source: Source, table: Int64s) -> ClusterFront:
    """Return the balancer of a scenario with a cluster, as it is at the start.

    `table` is the indirection table of all servers. Raises ScenarioError where the policy cannot do what is
    asked of it.
    """
    s, flows = source.scenario, source.traffic.flows
    cluster = s.cluster
    assert cluster is not None
    tables = table.reshape(cluster.servers, -1)
    match cluster.balancer:
        case CrossRss():
            maps = tables - np.arange(cluster.servers)[:, None] * s.server.cores
            load = np.zeros((cluster.servers, s.server.cores), np.int64)
            chooser: Chooser = ByTable(cluster.servers, cluster.initial, load, maps)
        case Choosing() as spec:
            hashes = hashes_of(spec.hash, flows, int(coin(s.seed, s.replication, 1)))
            chooser = ByPolicy(_balancer(s, cluster, spec), hashes, spec.signal == "flows")
    crashes = cluster.churn is not None
    return ClusterFront(chooser, tables.shape[1], len(flows), remember=cluster.remember, crashes=crashes)


def _balancer(s: Scenario, cluster: Cluster, spec: Choosing) -> Balancer:
    policy = prepare(s)
    assert policy is not None
    try:
        return Balancer(
            policy,
            cluster.servers,
            cluster.initial,
            np.ones(cluster.servers),
            consistency=FlowTable(capacity=1),  # the front itself remembers flows
            slots=spec.slots,
            choices=spec.choices,
            seed=int(coin(s.seed, s.replication, 0)),
        )
    except ValueError as error:
        raise ScenarioError([f"cluster.balancer: {error}"]) from error


def prepare(scenario: Scenario) -> Policy | None:
    """Return the policy of a scenario's cluster, checked; None where no policy chooses servers.

    Raises ScenarioError with every problem.
    """
    cluster = scenario.cluster
    if cluster is None or not isinstance(cluster.balancer, Choosing):
        return None
    spec, policy = cluster.balancer, policy_named(POLICY_FIELD, cluster.balancer.policy)
    problems = []
    if not cluster.remember and not policy.by_hash:
        problems.append(
            f"cluster.remember: false, but {policy.name!r} looks at more than the flow's hash, so packets of "
            f"a flow would scatter; write true, or policy {such_as(lambda p: p.by_hash)}"
        )
    if policy.done is not None or policy.reads in ("answers", "probes"):
        problems.append(
            f"{POLICY_FIELD}: {policy.name!r} rests on {policy.reads}, and packets have none; write another, "
            "e.g. power_of_two"
        )
    own = slots_of(policy, cluster.servers)
    if spec.slots is None and 0 < own < cluster.servers:
        problems.append(
            f"cluster.balancer.slots: {policy.name!r} has {own} slots for {cluster.servers} servers; "
            f"write slots = {4 * cluster.servers} or so"
        )
    if spec.slots is not None and policy.table is None and policy.buckets is None:
        problems.append(f"cluster.balancer.slots: {policy.name!r} has no table; leave it out")
    refuse(*problems)
    return policy
