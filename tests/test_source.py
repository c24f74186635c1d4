"""The packets of a scenario: what each costs, which bucket it falls into, when the last one comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import captures
import numpy as np
import pytest
from capture_oracle import FRAME, NOON

from lbsim.chain.hardware import machine
from lbsim.engine.source import Source, open_source, service_law
from lbsim.nic import byte_sums, flow_hashes, parse_key
from lbsim.nic.classes import classes_of
from lbsim.rng import stream
from lbsim.scenario import (
    Chain,
    Closed,
    Cluster,
    Cost,
    CrossRss,
    Dpi,
    Exponential,
    Firewall,
    Fixed,
    FlowDirector,
    Flows,
    Metron,
    PerBucket,
    Poisson,
    PolicyDispatch,
    Profile,
    Rss,
    Rsspp,
    RssRoundRobin,
    Scenario,
    ScenarioError,
    Server,
    Shared,
    Software,
    Sprayer,
    TrafficClasses,
    override,
)
from lbsim.scenario.traffic import MOST_PORTS
from lbsim.units import MS, US
from lbsim.workload.arrivals import warp
from lbsim.workload.packets import Packets

BASE = Scenario(
    seed=3,
    duration="20ms",
    traffic=Flows(flows=40, frame="imix"),
    arrivals=Poisson(rate="4Mpps"),
    server=Server(cores=2, clock=2e9, cost=Cost(work=Exponential(mean="1us"))),
)


def packets(source: Source) -> Packets:
    return Packets(*map(np.concatenate, zip(*source.packets(), strict=True)))


def test_a_packet_costs_its_law_its_share_and_its_bytes() -> None:
    costs = {"server.cost.per_packet": "100ns", "server.cost.per_byte": "3cycles"}
    plain, dear = packets(open_source(BASE)), packets(open_source(override(BASE, costs)))
    assert (dear.time == plain.time).all()
    assert (dear.service - plain.service == 100_000 + 1500 * dear.frame.astype(np.int64)).all()
    assert len(np.unique(dear.frame)) > 2
    law = service_law(BASE.server.cost.work, None)
    drawn = law.draw(stream(3, "service"), 1 << 15)
    assert plain.service[: 1 << 15].tolist() == drawn.tolist()


@pytest.mark.parametrize("state", [PerBucket(lookup=250_000), Shared(lookup=250_000, contention=10**6)])
def test_finding_a_flow_is_work_of_every_packet(state: Any) -> None:
    plain, found = packets(open_source(BASE)), packets(open_source(override(BASE, {"server.state": state})))
    assert (found.service - plain.service == 250_000).all()


def test_bytes_of_large_frames_do_not_overflow() -> None:
    heavy = override(BASE, {"traffic.frame": 9216, "server.cost.per_byte": "1ms", "arrivals.rate": "4kpps"})
    plain = override(heavy, {"server.cost.per_byte": 0})
    dear = packets(open_source(heavy)).service - packets(open_source(plain)).service
    assert set(dear.tolist()) == {9216 * MS}


@pytest.mark.parametrize("dispatch", [Rss, Rsspp, RssRoundRobin])
def test_a_table_is_entered_by_the_hash_of_a_flow(dispatch: Any) -> None:
    source = open_source(override(BASE, {"nic.dispatch": dispatch(table=16, key="random:4")}))
    hashes = flow_hashes(source.traffic.flows, parse_key("random:4"))
    assert (source.hashes == hashes).all()
    assert (source.buckets == hashes % 16).all()
    sent = packets(source)
    assert (sent.bucket == source.buckets[sent.flow]).all()


@pytest.mark.parametrize("dispatch", [Rss, Rsspp, RssRoundRobin])
def test_a_table_may_be_entered_by_the_sum_of_bytes(dispatch: Any) -> None:
    source = open_source(override(BASE, {"nic.dispatch": dispatch(table=16, hash="byte_sum")}))
    sums = byte_sums(source.traffic.flows)
    assert (source.hashes == sums).all()
    assert (source.buckets == sums % 16).all()
    assert len(set(source.buckets)) > 4


def test_flow_director_knows_the_buckets_of_rss() -> None:
    fields = {"table": 32, "key": "random:4"}
    rss, director = (
        open_source(override(BASE, {"nic.dispatch": kind(**fields)})) for kind in (Rss, FlowDirector)
    )
    assert (rss.buckets == director.buckets).all()
    assert (rss.hashes == director.hashes).all()


@pytest.mark.parametrize("scope", ["mac", "rules", "rss"])
def test_metron_knows_classes_or_a_hash(scope: str) -> None:
    source = open_source(override(BASE, {"nic.dispatch": Metron(scope=scope, rules=20, key="random:4")}))
    if scope == "rss":
        assert (source.buckets == flow_hashes(source.traffic.flows, parse_key("random:4")) % 512).all()
    else:
        assert (source.buckets == classes_of(source.traffic.flows, 20).of).all()


def test_hardware_has_a_clock_where_the_scenario_has_none() -> None:
    cycles = {"server.cost": Cost(work=Fixed(time="1000cycles"))}
    own = open_source(override(BASE, {**cycles, "server.hardware": "packetmill"}))
    assert own.scenario.server.clock == 2e9
    other = open_source(override(BASE, {**cycles, "server.hardware": "packetmill", "server.clock": None}))
    assert other.scenario.server.clock == machine("packetmill").clock != 2e9
    assert set(packets(own).service) == {500_000}
    assert set(packets(other).service) == {round(1e15 / machine("packetmill").clock)}
    with pytest.raises(ScenarioError, match=r'^server\.hardware: "packet" is none of .*"packetmill"\?'):
        open_source(override(BASE, {"server.hardware": "packet"}))


def test_a_chain_costs_each_flow_what_its_deployment_says() -> None:
    chain = Chain(functions=[Firewall(), Dpi()])
    plain, chained = open_source(BASE), open_source(override(BASE, {"chain": chain}))
    assert plain.deployment is None
    assert chained.deployment is not None
    without, sent = packets(plain), packets(chained)
    added = chained.deployment.fixed[sent.flow] + chained.deployment.per_byte[sent.flow] * sent.frame
    assert (sent.service - without.service == added).all()
    assert added.min() > 0
    assert len(set(added)) > 2


def test_a_load_of_a_cluster_is_one_of_the_servers_at_its_start() -> None:
    cluster = Cluster(servers=4, active=3, balancer=CrossRss())
    load = {"arrivals": Poisson(load=0.5), "server.cost": Cost(work=Fixed(time="1us"))}
    assert open_source(override(BASE, {**load, "cluster": cluster})).pps == 3 * 2 * 0.5 / 1e-6


def test_classes_are_the_buckets_of_traffic_classes() -> None:
    source = open_source(override(BASE, {"nic.dispatch": TrafficClasses(rules=20)}))
    assert (source.buckets == classes_of(source.traffic.flows, 20).of).all()
    assert 2 < source.buckets.max() < 20
    sent = packets(source)
    assert (sent.bucket == source.buckets[sent.flow]).all()
    assert not source.hashes.any()


def test_other_dispatchers_look_at_no_bucket_and_policies_at_the_hash() -> None:
    microsoft = flow_hashes(open_source(BASE).traffic.flows, parse_key("microsoft"))
    for dispatch, hashes in (
        (Software(), 0 * microsoft),
        (Sprayer(), 0 * microsoft),
        (PolicyDispatch(policy="random"), microsoft),
    ):
        source = open_source(override(BASE, {"nic.dispatch": dispatch}))
        assert (source.hashes == hashes).all()
        assert not source.buckets.any()
    sprayed = packets(open_source(override(BASE, {"nic.dispatch": Sprayer()})))
    assert len(np.unique(sprayed.bucket)) == 256


def test_a_load_counts_what_bytes_cost() -> None:
    load = {"arrivals": Poisson(load=0.5), "traffic.frame": 1000, "server.cost.per_byte": "2cycles"}
    assert open_source(override(BASE, load)).pps == 2 * 0.5 / 2e-6  # 1 us of work, 1000 x 1 ns of bytes
    imix = open_source(override(BASE, {**load, "traffic.frame": "imix"}))
    assert imix.pps == pytest.approx(2 * 0.5 / (1e-6 + 1e-9 * imix.traffic.mean_frame))


def test_a_profile_bends_the_packets_and_the_duration_cuts_real_time() -> None:
    profile = Profile(every="5ms", factors=[0.0, 2.0, 1.0])
    steady, bent = BASE, override(BASE, {"arrivals.profile": profile})
    sent = packets(open_source(bent))
    assert sent.time.max() < 20 * MS
    times = warp(profile)(packets(open_source(steady)).time)
    assert (sent.time == times[times < 20 * MS][: len(sent.time)]).all()
    assert len(sent.time) == pytest.approx(4e6 * (0 + 2 + 1 + 1) * 5e-3, rel=0.02)


def test_a_closed_loop_has_flows_and_an_end_but_makes_its_own_packets() -> None:
    loop = {"arrivals": Closed(link="1Gbps", window=3.0, delay="50us"), "traffic.frame": 976}
    source = open_source(override(BASE, {**loop, "server.burst": 1}))
    assert (source.pps, source.end) == (1e9 / 8000, 20 * MS)
    assert len(source.buckets) == 40
    with pytest.raises(AssertionError):
        next(source.packets())


def recording(path: Path, gap: int, **changes: Any) -> Scenario:
    """Eleven packets of a capture, `gap` ns apart, that end the run by themselves."""
    file = path / "eleven.pcap"
    file.write_bytes(captures.pcap([captures.Packet.whole(NOON + k * gap, FRAME) for k in range(11)]))
    arrivals = {"kind": "recorded", "speed": 1.0, **changes.pop("arrivals", {})}
    return override(
        BASE,
        {
            "duration": None,
            "traffic": {"kind": "capture", "file": str(file)},
            "arrivals": arrivals,
            **changes,
        },
    )


def test_a_profile_moves_the_end_of_a_capture(tmp_path: Path) -> None:
    own = open_source(recording(tmp_path, 1_000_000))
    assert own.end > packets(own).time[-1] == 10 * MS
    profile = {"every": 4 * MS, "factors": [0.5, 3.0]}  # 2 ms of the capture in 4 ms, then 3 in 1
    source = open_source(recording(tmp_path, 1_000_000, arrivals={"profile": profile}))
    times = packets(source).time
    assert times.tolist() == warp(Profile(**profile))(np.arange(11) * MS).tolist()
    assert times[-1] == round(4 * MS + 8 * MS / 3)
    assert source.end == int(warp(Profile(**profile))(np.array([own.end - 1]))[0]) + 1


def test_series_of_a_capture_that_are_too_long_are_refused(tmp_path: Path) -> None:
    measure = {"interval": "1us", "latency": True}
    assert open_source(recording(tmp_path, 900, measure=measure)).end < 10 * US
    with pytest.raises(ScenarioError, match=r"measure\.latency: true keeps \d+ histograms, at most 10000"):
        open_source(recording(tmp_path, 1_100_000, measure=measure))
    with pytest.raises(ScenarioError, match=r"measure\.interval: 1us is .* samples, at most 1e\+06"):
        open_source(recording(tmp_path, 200_000_000, measure={"interval": "1us"}))


def test_one_client_counts_its_ports_up_by_two() -> None:
    flows = open_source(
        override(BASE, {"traffic.tuples": "ports", "traffic.flows": MOST_PORTS})
    ).traffic.flows
    assert len(np.unique(flows.src, axis=0)) == len(np.unique(flows.dst, axis=0)) == 1
    assert (np.diff(flows.sport.astype(int)) == 2).all()
    assert flows.sport.min() >= 32768
    assert set(flows.dport) == {80}
    with pytest.raises(ScenarioError, match=r"traffic\.flows: 14001, but one client has 14000 ports"):
        override(BASE, {"traffic.tuples": "ports", "traffic.flows": MOST_PORTS + 1})
