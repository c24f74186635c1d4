"""Clusters: what the balancer does with flows, against rules told by hand; churn; and what results say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fluid import Fluid

import lbsim
from lbsim.balancer import Unit, View, policies, policy
from lbsim.balancer.hashing.flows import click_hash, dpdk_hash
from lbsim.balancer.policies import _REGISTRY
from lbsim.engine.control import OneServer, initial_table
from lbsim.engine.front.choosers import ByTable
from lbsim.engine.front.hashes import hashes_of
from lbsim.engine.source import open_source
from lbsim.metrics.result import Result
from lbsim.nic import MICROSOFT_KEY, flow_hashes
from lbsim.rng import coin
from lbsim.scenario import (
    Change,
    Choosing,
    Cluster,
    Cost,
    CrossRss,
    Exponential,
    Flows,
    Measure,
    Nic,
    OnOff,
    PerBucket,
    Poisson,
    Rss,
    Rsspp,
    RssRoundRobin,
    Scaling,
    Scenario,
    ScenarioError,
    Schedule,
    Server,
    Sprayer,
    TrafficClasses,
    Updates,
)
from lbsim.units import MS, US
from lbsim.workload.packets import FlowTable

SERVERS, CORES = 3, 2


def scenario(balancer: CrossRss | Choosing | str = "round_robin", **changes: Any) -> Scenario:
    """Two milliseconds of a busy cluster, every packet logged."""
    if isinstance(balancer, str):
        balancer = Choosing(policy=balancer, period="100us")
    base = Scenario(
        seed=7,
        duration="2ms",
        traffic=Flows(flows=120, popularity=0.8),
        arrivals=Poisson(rate="1.5Mpps"),
        cluster=Cluster(servers=SERVERS, balancer=balancer),
        nic=Nic(dispatch=Rss(table=16, key="random:1")),
        server=Server(cores=CORES, ring=16, cost=Cost(per_packet="500ns", work=Exponential(mean="3us"))),
        measure=Measure(interval="100us", packets=True),
    )
    return lbsim.override(base, changes)


def log_of(result: Result) -> tuple[list[int], list[int], list[int], list[int]]:
    """Arrival, flow, core and departure of every packet."""
    assert result.packets is not None
    arrival, flow, core, departure = (column.tolist() for column in result.packets)
    return arrival, flow, core, departure


def servers_of(result: Result) -> list[int]:
    """The server of every packet, -1 where it was lost on the way."""
    return [core // CORES for core in log_of(result)[2]]


# --- what the balancer decides, against plain loops over the log --------------------------------------------


def crossrss_oracle(s: Scenario, result: Result) -> list[int]:
    """The server of every packet by the rules of CrossRSS, from departures alone."""
    assert s.cluster is not None
    spec = s.cluster.balancer
    assert isinstance(spec, CrossRss)
    bucket_of = open_source(s).buckets.tolist()
    table = initial_table(s).tolist()
    buckets = len(table) // SERVERS
    core_of = [[table[k * buckets + b] - k * CORES for b in range(buckets)] for k in range(SERVERS)]
    load = [[0] * CORES for _ in range(SERVERS)]
    weight, sent = [0] * buckets, [0] * buckets
    owner: dict[int, int] = {}
    where, tick, before, found = [b % SERVERS for b in range(buckets)], spec.period, 0, []
    arrivals, flows, cores, departures = log_of(result)
    for arrival, flow in zip(arrivals, flows, strict=True):
        while tick <= arrival:
            done = [[0] * CORES for _ in range(SERVERS)]
            for core, departure in zip(cores, departures, strict=True):
                if departure >= 0 and before < departure <= tick:
                    done[core // CORES][core % CORES] += 1
            load = [
                [(d + old) // 2 for d, old in zip(*rows, strict=True)]
                for rows in zip(done, load, strict=True)
            ]
            scale = sum(map(sum, done)) / sum(sent) if any(sent) else 0
            weight = [(round(n * scale) + w) // 2 for n, w in zip(sent, weight, strict=True)]
            rising = [list(row) for row in load]
            for b in range(buckets):
                best = min(range(SERVERS), key=lambda k: (rising[k][core_of[k][b]], k))
                if spec.credit and best != where[b]:
                    rising[best][core_of[best][b]] += weight[b]
                where[b] = best
            sent, before, tick = [0] * buckets, tick, tick + spec.period
        b = bucket_of[flow]
        owner.setdefault(flow, where[b])
        sent[b] += 1
        found.append(owner[flow])
    return found


@pytest.mark.parametrize("credit", [False, True])
def test_crossrss_decides_by_the_book(credit: bool) -> None:
    s = scenario(
        CrossRss(period="100us", credit=credit), **{"traffic.flows": 2000, "traffic.popularity": 0.3}
    )
    result = lbsim.run(s)
    assert servers_of(result) == crossrss_oracle(s, result)
    assert result.control["reports"] == 19
    assert result.control["buckets_moved"] > 30


def test_counting_by_itself_a_balancer_knows_what_it_sent() -> None:
    # Between what was sent and what was done are the packets in rings: the counts are close, not the same.
    both = [
        lbsim.run(
            scenario(
                CrossRss(period="200us", counted_by=who), **{"arrivals.rate": "0.5Mpps", "traffic.flows": 900}
            )
        )
        for who in ("servers", "balancer")
    ]
    agree = np.mean([a == b for a, b in zip(*map(servers_of, both), strict=True)])
    assert 0.5 < agree < 1
    assert both[0].control["flows_begun"] == both[1].control["flows_begun"]


def reported(result: Result, at: int, period: int) -> list[int]:
    """Packets that each server processed in the period before the last report at or before `at`."""
    last = at // period * period
    counts = [0] * SERVERS
    for core, departure in zip(*log_of(result)[2:], strict=True):
        if departure >= 0 and last - period < departure <= last:
            counts[core // CORES] += 1
    return counts if last else [0] * SERVERS


def test_two_choices_rest_on_the_last_report() -> None:
    s = scenario("power_of_two", **{"traffic.flows": 2000})
    result = lbsim.run(s)
    seed, owner = int(coin(s.seed, s.replication, 0)), {}
    for arrival, flow, server in zip(*log_of(result)[:2], servers_of(result), strict=True):
        if flow not in owner:
            a, b = (int(coin(seed, len(owner), k)) % SERVERS for k in (0, 1))
            load = reported(result, arrival, 100 * US)
            owner[flow] = a if load[a] <= load[b] else b
        assert server == owner[flow]
    assert result.control["reports"] == 19
    assert result.control["flows_begun"] == len(owner)


def test_flows_are_counted_live() -> None:
    result = lbsim.run(scenario(Choosing(policy="least_loaded", signal="flows")))
    owner: dict[int, int] = {}
    for flow, server in zip(log_of(result)[1], servers_of(result), strict=True):
        wanted = len(owner) % SERVERS  # the fewest flows, the lowest of equals: in turn
        assert server == owner.setdefault(flow, wanted)
    assert "reports" not in result.control


@pytest.fixture
def by_age() -> Iterator[str]:
    """A policy that goes by the age of the report and the flows of all servers alone."""

    @policy
    def by_age(view: View, unit: Unit) -> int:
        return (view.age[1] // 10_000_000 + view.inside.sum() + unit.index) % view.n

    yield "by_age"
    del _REGISTRY["by_age"]


@pytest.mark.parametrize("signal", ["packets", "flows"])
def test_a_policy_sees_how_old_a_report_is_and_how_many_flows_there_are(by_age: str, signal: Any) -> None:
    result = lbsim.run(scenario(Choosing(policy=by_age, period="100us", signal=signal)))
    owner: dict[int, int] = {}
    for arrival, flow, server in zip(*log_of(result)[:2], servers_of(result), strict=True):
        age = arrival % (100 * US) // (10 * US) if signal == "packets" else 0
        assert server == owner.setdefault(flow, (age + 2 * len(owner)) % SERVERS)
    assert len(owner) > 50


@pytest.mark.parametrize("remember", [True, False])
def test_by_hash_a_flow_has_its_server_with_or_without_memory(remember: bool) -> None:
    s = scenario("hashed_folded", **{"cluster.remember": remember})
    hashes = hashes_of("click", open_source(s).traffic.flows, 0)
    result = lbsim.run(s)
    for flow, server in zip(log_of(result)[1], servers_of(result), strict=True):
        folded = (int(hashes[flow]) >> 16 ^ int(hashes[flow])) & 0xFFFF
        assert server == folded % SERVERS
    assert result.control["flows_broken"] == 0


def test_without_memory_crossrss_moves_flows_and_breaks_them() -> None:
    changes = {"traffic.flows": 500, "cluster.remember": False}
    result = lbsim.run(scenario(CrossRss(period="100us"), **changes))
    last: dict[int, int] = {}
    broken = 0
    for flow, server in zip(log_of(result)[1], servers_of(result), strict=True):
        broken += last.get(flow, server) != server
        last[flow] = server
    assert result.control["flows_broken"] == broken > 100
    assert result.control["flows_begun"] == len(last)


def test_buckets_of_one_core_flock_to_one_server_and_credit_spreads_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[np.ndarray] = []
    write = ByTable.write
    monkeypatch.setattr(ByTable, "write", lambda self, table: (written.append(table), write(self, table))[1])

    def servers_a_core(credit: bool) -> float:
        """Mean number of servers that share the buckets of a core; all servers have the same table."""
        written.clear()
        lbsim.run(scenario(CrossRss(period="100us", credit=credit), **{"traffic.flows": 2000}))
        assert len(written) == 19
        return float(np.mean([len(set(table[core::CORES])) for table in written for core in range(CORES)]))

    assert servers_a_core(False) == 1.0
    assert servers_a_core(True) > 2.0


# --- flows and servers that come and go ---------------------------------------------------------------------


def churned(*changes: Change, balancer: CrossRss | Choosing | str = "round_robin", **more: Any) -> Result:
    return lbsim.run(scenario(balancer, **{"cluster.churn": Schedule(changes=changes), **more}))


BOTH = pytest.mark.parametrize("balancer", ["round_robin", CrossRss(period="100us")])


@BOTH
def test_a_flow_never_moves_while_its_server_lives(balancer: Any) -> None:
    changes = (Change(at=MS // 2, do="drain", server=0), Change(at=MS, do="add", server=0))
    result = churned(*changes, balancer=balancer)
    owner: dict[int, int] = {}
    begun_there = []
    for arrival, flow, server in zip(*log_of(result)[:2], servers_of(result), strict=True):
        if flow not in owner and server == 0:
            begun_there.append(arrival)
        assert server == owner.setdefault(flow, server)
    assert result.control["flows_broken"] == 0
    assert not [t for t in begun_there if MS // 2 <= t < MS]


@BOTH
def test_nothing_reaches_a_server_once_it_is_removed(balancer: Any) -> None:
    result = churned(Change(at=MS, do="remove", server=1), balancer=balancer)
    owner: dict[int, int] = {}
    broken = 0
    for arrival, flow, server in zip(*log_of(result)[:2], servers_of(result), strict=True):
        before = owner.get(flow)
        if arrival >= MS:
            assert server != 1
            broken += before == 1
        if before in (None, 1):
            owner[flow] = server
        assert server == owner[flow]
    assert result.control["flows_broken"] == broken > 5
    assert result.control["undone"] == 0
    assert "server down" in result.drops
    assert result.drops["server down"] == 0
    # What was in its rings is served: it works on a little, then no more.
    assert result.samples is not None
    processed = result.samples.processed[:, CORES : 2 * CORES].sum(axis=1)
    assert processed[11:].min() == processed.max() > processed[10] - 1


@BOTH
def test_what_is_sent_to_a_crashed_server_is_lost_until_that_is_noticed(balancer: Any) -> None:
    crash = Change(at=MS, do="crash", server=1, detect=200 * US)
    result = churned(crash, balancer=balancer)
    arrivals, flows, cores, departures = log_of(result)
    lost = [t for t, core in zip(arrivals, cores, strict=True) if core < 0]
    assert all(MS <= t < MS + 200 * US for t in lost)
    assert len(lost) == result.drops["server down"] > 20
    assert all(d < 0 for core, d in zip(cores, departures, strict=True) if core < 0)
    owner: dict[int, int] = {}
    broken = 0
    for arrival, flow, core in zip(arrivals, flows, cores, strict=True):
        server = 1 if core < 0 else core // CORES  # lost: it went to the dead one
        if arrival >= MS and core >= 0:
            assert server != 1
        broken += arrival >= MS + 200 * US and owner.get(flow) == 1
        if owner.get(flow) is None or (arrival >= MS + 200 * US and owner[flow] == 1):
            owner[flow] = server
        assert server == owner[flow]
    assert result.control["flows_broken"] == broken > 5


def test_a_server_that_is_back_before_its_crash_was_noticed_has_lost_its_flows() -> None:
    changes = (
        Change(at=MS, do="crash", server=1, detect=500 * US),
        Change(at=MS + 100 * US, do="add", server=1),
    )
    result = churned(*changes, balancer=Choosing(policy="least_loaded", signal="flows"))
    arrivals, flows, cores, _ = log_of(result)
    lost = [t for t, core in zip(arrivals, cores, strict=True) if core < 0]
    assert lost
    assert max(lost) < MS + 100 * US
    had = {f for t, f, core in zip(arrivals, flows, cores, strict=True) if t < MS and core // CORES == 1}
    had |= {f for f, core in zip(flows, cores, strict=True) if core < 0}
    seen_after = {f for t, f in zip(arrivals, flows, strict=True) if t >= MS + 100 * US}
    assert result.control["flows_broken"] == len(had & seen_after) > 5
    assert result.control["undone"] == 0


def test_updates_end_with_the_arrivals() -> None:
    updates = Updates(per_minute=1e6, down=Exponential(mean="50us"), do="remove")
    result = lbsim.run(scenario(**{"cluster.churn": updates}))
    assert result.control["flows_broken"] > 10
    assert result.end < 3 * MS


def test_a_change_that_cannot_be_is_told() -> None:
    updates = Updates(per_minute=3e6, down=Exponential(mean="2ms"), do="drain")
    result = lbsim.run(scenario(**{"cluster.churn": updates, "cluster.servers": 2}))
    assert result.control["undone"] > 0
    assert any(f"{result.control['undone']} changes of the cluster could not be" in n for n in result.notices)


def test_spares_get_nothing_until_they_come_and_count_as_out_of_use() -> None:
    add = Schedule(changes=(Change(at=MS, do="add", place="end"),))
    changes = {"cluster.active": 2, "cluster.churn": add, "traffic.flows": 2000}
    result = lbsim.run(scenario(**changes))
    arrivals, servers = log_of(result)[0], servers_of(result)
    assert {k for t, k in zip(arrivals, servers, strict=True) if t < MS} == {0, 1}
    assert {k for t, k in zip(arrivals, servers, strict=True) if t >= MS} == {0, 1, 2}
    used = result.series("cores")["cores"]
    assert used.iloc[0] == 2 * CORES
    assert used.iloc[-1] == 3 * CORES


# --- one server, and the parts of several -------------------------------------------------------------------

DISPATCHES = {
    "rss": Rss(table=16, key="random:1"),
    "rss++": Rsspp(table=16, key="random:1", tick="50us", load_period="50us"),
    "rss++ that scales": Rsspp(table=16, tick="50us", load="cpu", scaling=Scaling(start=1)),
    "rssrr": RssRoundRobin(table=16, tick="50us"),
    "classes": TrafficClasses(rules=64, tick="50us", hold="50us"),
    "sprayer": Sprayer(),
}


@pytest.mark.parametrize("balancer", [CrossRss(period="100us"), Choosing(policy="power_of_two")])
@pytest.mark.parametrize("kind", DISPATCHES)
@pytest.mark.parametrize("owned", [False, True])
def test_a_cluster_of_one_server_is_no_cluster(kind: str, balancer: Any, owned: bool) -> None:
    if kind == "sprayer" and (owned or isinstance(balancer, CrossRss)):
        pytest.skip("packets of a flow have many buckets: refused")
    state = PerBucket(lookup="100ns") if owned else None
    parts = {"nic.dispatch": DISPATCHES[kind], "server.state": state, "arrivals.rate": "0.6Mpps"}
    one = lbsim.run(scenario(balancer, **parts, **{"cluster.servers": 1}))
    none = lbsim.run(scenario(balancer, **parts, cluster=None))
    for name in ("offered", "delivered", "delivered_bytes", "drops", "end"):
        assert getattr(one, name) == getattr(none, name), name
    for a, b in zip(log_of(one), log_of(none), strict=True):
        assert a == b
    assert one.samples is not None
    assert none.samples is not None
    for a, b in zip(one.samples, none.samples, strict=True):
        assert np.array_equal(a, b)
    assert {name: one.control[name] for name in none.control} == none.control
    assert one.latency.total == none.latency.total


def test_every_server_has_a_controller_of_its_own() -> None:
    moving = DISPATCHES["rss++"]
    result = lbsim.run(scenario(**{"nic.dispatch": moving}))
    alone = lbsim.run(scenario(**{"nic.dispatch": moving, "cluster": None}))
    assert result.control["ticks"] == SERVERS * alone.control["ticks"]
    assert result.control["moves"] > 0
    scales = lbsim.run(scenario(**{"nic.dispatch": DISPATCHES["rss++ that scales"]}))
    assert scales.series("cores")["cores"].iloc[0] >= SERVERS
    assert scales.control["added"] > SERVERS / 2


def test_live_maps_follow_the_servers_tables() -> None:
    parts = {"nic.dispatch": DISPATCHES["rss++"], "traffic.flows": 2000, "traffic.popularity": 1.1}
    tables = [
        servers_of(lbsim.run(scenario(CrossRss(period="100us", maps=m), **parts))) for m in ("start", "live")
    ]
    assert tables[0] != tables[1]


def test_the_tables_of_all_servers_follow_one_another() -> None:
    def table(dispatch: Any, classes: int = 0) -> list[list[int]]:
        s = scenario(**{"nic.dispatch": dispatch})
        return initial_table(s, classes).reshape(SERVERS, -1).tolist()

    turn = [0, 1, 0, 1]
    assert table(Rss(table=4)) == [[c + CORES * k for c in turn] for k in range(SERVERS)]
    assert table(Rsspp(table=4, scaling=Scaling(start=1))) == [[CORES * k] * 4 for k in range(SERVERS)]
    dealt = [[c - CORES * k for c in row] for k, row in enumerate(table(TrafficClasses(rules=64), 20))]
    assert all(sorted(row) == [0] * 10 + [1] * 10 for row in dealt)
    assert dealt[0] != dealt[1]
    assert table(Sprayer())[2] == [4, 5] * 128


def test_one_server_sees_its_part_and_writes_through() -> None:
    whole = Fluid([0, 1, 0, 1, 2, 3, 2, 3], 4, lambda now: [0.1 * k for k in range(8)])
    part = OneServer(whole, 1, 2, 4)  # type: ignore[arg-type]
    assert part.table.tolist() == [0, 1, 0, 1]
    part.sync(US)
    counters = part.counters(US)
    assert counters.busy.tolist() == whole.busy[2:].tolist()
    assert counters.polled.tolist() == whole.polled[4:].tolist()
    part.table[:] = [1, 1, 1, 0]
    assert whole.table.tolist() == [0, 1, 0, 1, 2, 3, 2, 3]
    part.moved(US)
    assert whole.table.tolist() == [0, 1, 0, 1, 3, 3, 3, 2]
    assert part.in_transit() is None
    slow = Fluid(whole.table, 4, lambda now: [0.0] * 8, delay=10)
    slow.arrives[5] = 1
    flags = OneServer(slow, 1, 2, 4).in_transit()  # type: ignore[arg-type]
    assert flags is not None
    assert flags.tolist() == [False, True, False, False]
    with pytest.raises(RuntimeError, match="one server of a cluster cannot finish alone"):
        part.finish()


def test_a_stall_of_a_server_is_one_of_its_own_core() -> None:
    class Stalling(Fluid):
        def stall(self, core: int, now: int, length: int) -> None:
            self.stalled = core, now, length

    whole = Stalling([0, 1, 2, 3], 4, lambda now: [0.0] * 4)
    OneServer(whole, 1, 2, 2).stall(1, 5, 6)  # type: ignore[arg-type]
    assert whole.stalled == (3, 5, 6)


def test_nothing_is_lost_in_a_cluster() -> None:
    arrivals = OnOff(rate="2Mpps", on="50us", off="50us")
    s = scenario(CrossRss(period="100us"), arrivals=arrivals, warmup="300us")
    result = lbsim.run(s)
    cores = np.array(log_of(result)[2])
    assert result.drops["ring full"] > 0
    assert result.processed.sum() + result.dropped.sum() == len(cores)
    reached = np.bincount(cores, minlength=SERVERS * CORES)
    assert (result.processed + result.dropped).tolist() == reached.tolist()


# --- hashes, and what cannot be -----------------------------------------------------------------------------


def test_the_balancers_hashes_are_those_of_its_flows() -> None:
    flows = open_source(scenario()).traffic.flows
    columns = (flows.src, flows.sport, flows.dst, flows.dport)
    for k in range(len(flows)):
        client, port, service, service_port = (
            int.from_bytes(bytes(c[k][:4]), "big") if c.ndim == 2 else int(c[k]) for c in columns
        )
        assert hashes_of("click", flows, 0)[k] == click_hash(client, port, service, service_port)
        assert hashes_of("crc32c", flows, 0)[k] == dpdk_hash(client, port, service, service_port, 6)
    assert np.array_equal(hashes_of("toeplitz", flows, 0), flow_hashes(flows, MICROSOFT_KEY))
    ideal = hashes_of("ideal", flows, 5)
    assert not np.array_equal(ideal, hashes_of("ideal", flows, 6))
    assert len(set(ideal.tolist())) == len(flows)
    assert ideal.min() >= 0
    assert ideal.max() < 2**32
    with pytest.raises(ValueError, match="hash 'crc64' is unknown: choose click"):
        hashes_of("crc64", flows, 0)


def test_of_ipv6_the_balancers_hash_sees_all_words() -> None:
    src = np.frombuffer(bytes.fromhex("20010db8 00000000 00000000 0a000001"), np.uint8).reshape(1, 16)
    ports = np.array([1234], np.uint16), np.array([80], np.uint16)
    flows = FlowTable(src, src, np.array([6], np.uint8), np.array([17], np.uint8), *ports)
    word = 0x20010DB8 ^ 0x0A000001
    assert hashes_of("crc32c", flows, 0)[0] == dpdk_hash(word, 1234, word, 80, 17)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"cluster.remember": False},
            "cluster.remember: false, but 'round_robin' looks at more than the flow",
        ),
        ({"cluster.balancer.policy": "c3"}, "cluster.balancer.policy: 'c3' rests on answers"),
        ({"cluster.balancer.policy": "robin"}, "cluster.balancer.policy: 'robin' is none of .*did you mean"),
        ({"cluster.balancer.slots": 64}, "cluster.balancer.slots: 'round_robin' has no table; leave it out"),
    ],
)
def test_what_the_policy_cannot_do_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        lbsim.run(scenario(**changes))


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_a_policy_that_sends_a_flow_nowhere_is_told(engine: Any) -> None:
    @policy
    def astray(view: View, unit: Unit) -> int:
        return view.n

    try:
        with pytest.raises(ValueError, match=r"policy astray sent a packet of flow .* must return 0 .. 2"):
            lbsim.run(scenario("astray"), engine)
    finally:
        del _REGISTRY["astray"]


def test_a_policy_numba_refuses_runs_in_the_reference_and_says_so() -> None:
    @policy
    def by_text(view: View, unit: Unit) -> int:
        return int(f"{unit.hash % view.n:d}")

    try:
        short = scenario("by_text", duration="100us")
        with pytest.raises(ScenarioError, match=r"cluster.balancer.policy: 'by_text' does not compile"):
            lbsim.run(short, "compiled")
        result = lbsim.run(short)
        assert result.engine.startswith("reference: balancer of 3 servers")
        assert "by_text runs in the reference engine" in result.notices[0]
    finally:
        del _REGISTRY["by_text"]
    assert "by_text" not in policies()


# --- what results say ---------------------------------------------------------------------------------------


def test_variances_by_hand() -> None:
    result = lbsim.run(scenario())
    packets = np.diff(result.samples.processed, axis=0).astype(float)  # type: ignore[union-attr]
    shares = [row / row.mean() for row in packets]
    assert result.core_variance() == pytest.approx(100 * np.var(shares))
    sums = [row.reshape(SERVERS, CORES).sum(axis=1) for row in packets]
    assert result.server_variance() == pytest.approx(100 * np.var([row / row.mean() for row in sums]))
    assert result.core_variance(0.001) == pytest.approx(100 * np.var(shares[9:]))
    assert np.isnan(result.core_variance(1.0))
    by_server = result.server_series("packets")
    assert by_server.columns.name == "server"
    assert np.allclose(by_server.to_numpy() * 1e-4, sums)
    loads = result.series("core_load").to_numpy().reshape(-1, SERVERS, CORES)
    assert np.allclose(result.server_series("core_load"), loads.mean(axis=2))
    with pytest.raises(ValueError, match="series 'cores' is not by core"):
        result.server_series("cores")
