"""The control plane of a cluster: what the balancer learns of its servers, and servers that come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lbsim.balancer import crossrss
from lbsim.engine.connection.control import Churn
from lbsim.engine.control.clockwork import Process
from lbsim.engine.control.dispatcher import Controller
from lbsim.engine.front.choosers import ByPolicy, ByTable
from lbsim.engine.front.cluster import ClusterFront
from lbsim.engine.plane import CONTROL, Clock, Int64s, Plane
from lbsim.rng import stream
from lbsim.scenario import Choosing, CrossRss, Scenario


class ClusterControl:
    """All controllers of a cluster: those of the servers, that of the balancer, and churn.

    `servers` are the controllers of the servers' own tables, None where a table stays as it is.
    """

    def __init__(
        self,
        env: Clock,
        plane: Plane,
        front: ClusterFront,
        scenario: Scenario,
        servers: Sequence[Controller | None],
        end: int,
    ) -> None:
        cluster = scenario.cluster
        assert cluster is not None
        self.servers, self.cores, self.pool = servers, scenario.server.cores, front.pool
        self.reports: CrossRssController | Reports | None = None
        chooser, spec = front.chooser, cluster.balancer
        if isinstance(chooser, ByTable) and isinstance(spec, CrossRss):
            self.reports = CrossRssController(env, plane, chooser, front.memory.sent, spec, end)
        elif isinstance(chooser, ByPolicy) and isinstance(spec, Choosing) and spec.signal != "flows":
            self.reports = Reports(env, plane, chooser, spec, self.cores, end)
        self.churn = None
        if cluster.churn is not None:
            rng = stream(scenario.seed, "churn", scenario.replication)
            self.churn = Churn(env, Synced(plane), front, cluster.churn, 0, rng, until=end)

    def used(self) -> int:
        """Return the number of cores in use, of the servers on the balancer's list."""
        owners = (self.servers[server] for server in self.pool.active)
        return sum(self.cores if owner is None else owner.used() for owner in owners)

    @property
    def counted(self) -> dict[str, int]:
        """What the servers' controllers did, summed; how often loads were read; changes that could not be."""
        total: dict[str, int] = {}
        for owner in self.servers:
            for name, count in (owner.counted if owner else {}).items():
                total[name] = total.get(name, 0) + count
        if self.reports is not None:
            total["reports"] = self.reports.count
        if self.churn is not None:
            total["undone"] = self.churn.undone
        return total


class Synced:
    """Lets the pool change when the data plane has run everything before."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    def change(self, now: int, apply: Callable[[], None]) -> None:
        """Sync, then let `apply` change the pool."""
        self.plane.sync(now)
        apply()


class Reports:
    """Servers that report their load every period: what their cores did since the last report, unsmoothed."""

    def __init__(
        self, env: Clock, plane: Plane, chooser: ByPolicy, spec: Choosing, cores: int, until: int
    ) -> None:
        self.env, self.plane, self.chooser, self.spec = env, plane, chooser, spec
        self.cores, self.until = cores, until
        self.count = 0
        env.process(self.report())

    def report(self) -> Process:
        """Report all servers once a period."""
        period, before = self.spec.period, self.read()
        while self.env.now + period < self.until:
            yield self.env.wait(period, CONTROL)
            now = self.read()
            self.chooser.report((now - before).reshape(-1, self.cores).sum(axis=1), self.env.now)
            self.count += 1
            before = now

    def read(self) -> Int64s:
        """Return what each core has done so far."""
        return work_of(self.env, self.plane, self.spec.signal)


class CrossRssController:
    """CrossRSS: every period the load of each core is smoothed, and each bucket given to a server anew.

    Counted are the packets that cores have processed, so that a saturated core looks just full; with
    `counted_by = "balancer"`, those that the balancer has sent to each bucket of each server, wherever that
    bucket leads by the maps of the moment. `sent` are its counters.
    """

    def __init__(
        self, env: Clock, plane: Plane, chooser: ByTable, sent: Int64s, spec: CrossRss, until: int
    ) -> None:
        self.env, self.plane, self.chooser, self.spec, self.until = env, plane, chooser, spec, until
        self.sent = sent.reshape(chooser.maps.shape)
        self.cores = chooser.load.shape[1]
        self.weight = np.zeros(chooser.maps.shape[1], np.int64)  # smoothed packets of each bucket
        self.count = 0
        env.process(self.watch())

    def watch(self) -> Process:
        """Tick once a period."""
        period = self.spec.period
        done, sent = self.read(), self.sent.copy()
        while self.env.now + period < self.until:
            yield self.env.wait(period, CONTROL)
            now_done, now_sent = self.read(), self.sent.copy()
            self.tick(now_done - done, now_sent - sent)
            done, sent = now_done, now_sent

    def read(self) -> Int64s:
        """Return what each core has done so far, by server."""
        return work_of(self.env, self.plane, self.spec.load).reshape(-1, self.cores)

    def tick(self, done: Int64s, sent: Int64s) -> None:
        """Act on what each core has done, and what was sent to each bucket of each server."""
        spec, chooser = self.spec, self.chooser
        if spec.maps == "live":
            table = self.plane.table.reshape(self.sent.shape)
            chooser.maps = table - np.arange(len(table))[:, None] * self.cores
        if spec.counted_by == "balancer":
            done = crossrss.per_core(sent, chooser.maps, self.cores)
        chooser.load = crossrss.smooth(chooser.load, done, spec.smoothing)
        self.weight = crossrss.smooth(self.weight, expected(sent, done), spec.smoothing)
        loads = chooser.load, chooser.maps, chooser.listed()
        if spec.credit:
            chooser.write(crossrss.assign_with_credit(*loads, chooser.table, self.weight))
        else:
            chooser.write(crossrss.assign(*loads))
        self.count += 1


def expected(sent: Int64s, done: Int64s) -> Int64s:
    """Return the load of each bucket, int64[buckets], in the unit of what the cores have done.

    A bucket has its share of the packets sent, and the same share of all that was done.
    """
    by_bucket, packets = sent.sum(axis=0), int(sent.sum())
    scaled: Int64s = np.rint(by_bucket * (int(done.sum()) / max(1, packets))).astype(np.int64)
    return scaled


def work_of(env: Clock, plane: Plane, what: str) -> Int64s:
    """Return the packets that each core has processed up to now, or with "cpu" its work in ps."""
    plane.sync(env.now)
    counters = plane.counters(env.now)
    return counters.busy if what == "cpu" else counters.processed
