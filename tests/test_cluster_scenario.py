"""Clusters as scenarios write them: every one survives its TOML, and contradictions are refused in words."""

from __future__ import annotations

import tomllib
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.scenario import (
    Choosing,
    Closed,
    Cluster,
    Cost,
    CrossRss,
    Fixed,
    Flaps,
    FlowDirector,
    Flows,
    Metron,
    Nic,
    NicLimit,
    PerBucket,
    Poisson,
    PolicyDispatch,
    Rss,
    Rsspp,
    RssRoundRobin,
    Scenario,
    ScenarioError,
    Schedule,
    Server,
    Shared,
    Software,
    Sprayer,
    TrafficClasses,
    Updates,
    dump_toml,
    json_schema,
    load_scenario,
    override,
)
from lbsim.units import MS, SECOND

BASE = Scenario(
    duration="10s",
    traffic=Flows(),
    arrivals=Poisson(rate="1Mpps"),
    cluster=Cluster(servers=4, balancer=CrossRss()),
    nic=Nic(dispatch=Rss(table=128, hash="byte_sum", fill="random")),
    server=Server(cores=4, cost=Cost(work=Fixed(time="4us"))),
)

SCHEMA = jsonschema.Draft202012Validator(json_schema())

periods = st.integers(MS, SECOND)
ups = st.builds(Fixed, time=st.integers(MS, SECOND))


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    servers = draw(st.integers(2, 256))
    load, counted_by = draw(
        st.sampled_from([("packets", "servers"), ("cpu", "servers"), ("packets", "balancer")])
    )
    crossrss = st.builds(
        CrossRss,
        period=periods,
        smoothing=st.floats(0.01, 1),
        load=st.just(load),
        counted_by=st.just(counted_by),
        credit=st.booleans(),
        maps=st.sampled_from(["start", "live"]),
    )
    choosing = st.builds(
        Choosing,
        policy=st.sampled_from(["round_robin", "maglev"]),
        choices=st.integers(1, servers),
        slots=st.none() | st.integers(servers, 10**8),
        hash=st.sampled_from(["click", "toeplitz", "crc32c", "ideal"]),
        signal=st.sampled_from(["packets", "cpu", "flows"]),
        period=periods,
    )
    return Cluster(
        servers=servers,
        active=draw(st.none() | st.integers(2, servers)),
        balancer=draw(crossrss | choosing),
        remember=draw(st.booleans()),
        churn=draw(
            st.none()
            | st.builds(Flaps, up=ups, down=ups)
            | st.builds(Updates, per_minute=st.just(5.0), down=ups)
        ),
    )


dispatches = st.one_of(
    st.builds(
        Rss,
        table=st.just(128),
        hash=st.sampled_from(["toeplitz", "byte_sum"]),
        fill=st.sampled_from(["turn", "random"]),
    ),
    st.builds(Rsspp, table=st.just(128), hash=st.sampled_from(["toeplitz", "byte_sum"])),
    st.builds(RssRoundRobin, table=st.just(128), hash=st.sampled_from(["toeplitz", "byte_sum"])),
    st.builds(TrafficClasses),
    st.builds(Metron, scope=st.sampled_from(["mac", "rules", "rss"]), controller=st.just("none")),
)


@given(clusters(), dispatches)
@settings(max_examples=60)
def test_every_cluster_survives_its_toml(cluster: Cluster, dispatch: Any) -> None:
    scenario = BASE.model_copy(update={"cluster": cluster, "nic": Nic(dispatch=dispatch)})
    text = dump_toml(scenario)
    again = load_scenario(text)
    assert again == scenario
    assert dump_toml(again) == text
    SCHEMA.validate(tomllib.loads(text))


def test_a_scenario_has_the_cores_of_all_servers() -> None:
    assert BASE.cores == 16
    assert override(BASE, {"cluster": None}).cores == 4
    assert override(BASE, {"cluster": None, "nic.dispatch.kind": "software"}).cores == 4


def test_servers_at_the_start_are_all_unless_said() -> None:
    assert BASE.cluster is not None
    assert BASE.cluster.initial == 4
    assert Cluster(servers=4, active=3, balancer=CrossRss()).initial == 3


def test_a_load_is_one_of_the_servers_active_at_the_start() -> None:
    spare = override(BASE, {"arrivals": Poisson(load=0.5), "cluster.active": 3})
    assert spare.expected_packets() == 0.5 * 3 * 4 / 4e-6 * 10


CASES = [  # what is said, deserved by which changes, and what mends it
    (
        "cluster.active: 5 is above servers 4; lower it",
        {"cluster.active": 5},
        {"cluster.active": 4},
    ),
    (
        "cluster.balancer.slots: 3 slots for 4 servers, so some never get anything; write 4 or more",
        {"cluster.balancer": {"kind": "choosing", "policy": "maglev", "slots": 3}},
        {"cluster.balancer.slots": 4},
    ),
    (
        "cluster.balancer.choices: 5 of 4 servers; write 4 or less",
        {"cluster.balancer": {"kind": "choosing", "policy": "jsq", "choices": 5}},
        {"cluster.balancer.choices": 4},
    ),
    (
        "cluster.balancer.load: cpu, but a balancer that counts for itself sees packets alone; write",
        {"cluster.balancer": {"kind": "crossrss", "load": "cpu", "counted_by": "balancer"}},
        {"cluster.balancer.counted_by": "servers"},
    ),
    (
        "cluster: given, but a closed loop runs on one server; leave it out, or write another kind",
        {"arrivals": Closed(link="100Gbps", window=30.0, delay="50us"), "server.burst": 1},
        {"cluster": None},
    ),
    *(
        (
            f"nic.dispatch.kind: {dispatch.kind}, but servers of a cluster need a table of their own that",
            {"nic.dispatch": dispatch},
            {"nic.dispatch": Rsspp()},
        )
        for dispatch in (Software(), PolicyDispatch(policy="random"), FlowDirector())
    ),
    (
        "nic.dispatch.kind: sprayer, but crossrss needs to know the bucket of a flow, and its packets",
        {"nic.dispatch": Sprayer()},
        {"cluster.balancer": Choosing(policy="round_robin")},
    ),
    (
        "nic.limit: given, but is simulated for one server alone; leave it out, or write nic.queue",
        {"nic.limit": NicLimit(rate="1Mpps")},
        {"nic.limit": None},
    ),
    (
        "cluster.servers: 17 tables of 65536 entries are 1114112, at most 1048576; write 16 or less",
        {"cluster.servers": 17, "nic.dispatch": TrafficClasses(rules=65536)},
        {"cluster.servers": 16},
    ),
    (
        "server.cores: 128 cores of each of 33 servers are 4224, at most 4096; write 124 or less",
        {"cluster.servers": 33, "server.cores": 128},
        {"server.cores": 124},
    ),
    (
        "server.state.kind: shared is not simulated in a cluster; leave server.state out, or write",
        {"server.state": Shared()},
        {"server.state": PerBucket()},
    ),
    # churn knows where it is
    (
        "cluster.churn.detect: 1s, but only a crash is detected; leave it out or write do",
        {
            "cluster.churn": {
                "kind": "flaps",
                "detect": "1s",
                "up": Fixed(time="1s"),
                "down": Fixed(time="1s"),
            }
        },
        {"cluster.churn.do": "crash"},
    ),
    (
        "cluster.churn.servers: 4 of 4 active servers flap, so none may be left; write 3 or less",
        {"cluster.churn": Flaps(servers=4, up=Fixed(time="1s"), down=Fixed(time="1s"))},
        {"cluster.churn.servers": 3},
    ),
    (
        "cluster.churn.changes.0.servers: 1 to add at 1s, but no spare is left; raise cluster.servers to 5 "
        "or lower cluster.active, or add later",
        {"cluster.churn": Schedule(changes=[{"at": SECOND, "do": "add"}])},
        {"cluster.active": 3},
    ),
    (
        "cluster.churn.changes.0.server: 4 is not among the 4 configured; write 3 or less",
        {"cluster.churn": Schedule(changes=[{"at": SECOND, "do": "drain", "server": 4}])},
        {"cluster.churn.changes.0.server": 3},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0][:60])
def test_a_contradiction_is_refused_and_can_be_mended_as_told(case: tuple[str, Any, Any]) -> None:
    said, broken, mended = case
    with pytest.raises(ScenarioError) as refusal:
        override(BASE, broken)
    (problem,) = refusal.value.problems
    assert problem.startswith(said)
    assert len(problem) < 250
    override(BASE, broken | mended)


def test_a_server_of_a_connection_scenario_is_not_named_after_the_cluster() -> None:
    text = """
grain = "connection"
duration = "1s"
clients = { kind = "open", per_second = 10.0, length = { kind = "fixed", time = "1s" } }
balancer = { policy = "maglev" }
servers = { configured = 4 }
[churn]
kind = "flaps"
detect = "1s"
up = { kind = "fixed", time = "1s" }
down = { kind = "fixed", time = "1s" }
"""
    with pytest.raises(ScenarioError, match=r"^churn\.detect: 1s"):
        load_scenario(text)
