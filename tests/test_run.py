"""Whole runs through the front door: both engines, control included, laws kept."""

from __future__ import annotations

from pathlib import Path

import captures
import numpy as np
import pytest
from capture_oracle import FRAME, NOON
from hypothesis import given, settings
from hypothesis import strategies as st

import lbsim
from lbsim.engine.source import open_source
from lbsim.nic import flow_hashes, parse_key
from lbsim.scenario import (
    Batched,
    Closed,
    Cost,
    Exponential,
    Flows,
    Grow,
    Measure,
    Nic,
    PerBucket,
    Poisson,
    PolicyDispatch,
    Profile,
    Rss,
    Rsspp,
    RssRoundRobin,
    Scaling,
    Scenario,
    Server,
    Shared,
    Software,
    Sprayer,
    Stalls,
    TrafficClasses,
)

DISPATCHES = {
    "rss": Rss(key="random:1", table=64),
    "rss++": Rsspp(key="random:1", table=64, tick="50us", load_period="50us"),
    "sprayer": Sprayer(),
    "power_of_two": PolicyDispatch(policy="power_of_two"),
    "least_loaded": PolicyDispatch(policy="least_loaded"),
}


def scenario(dispatch: str, **changes: object) -> Scenario:
    base = Scenario(
        seed=5,
        duration="1ms",
        warmup="100us",
        traffic=Flows(flows=50, popularity=1.2),
        arrivals=Batched(load=0.95),
        nic=Nic(dispatch=DISPATCHES[dispatch]),
        server=Server(
            cores=3,
            ring=64,
            burst=8,
            cost=Cost(per_batch="500ns", per_packet="80ns", per_byte="20ps", work=Exponential(mean="400ns")),
            stalls=Stalls(rate=2000.0, length="20us"),
        ),
        measure=Measure(interval="100us", path_delay="3us", packets=True),
    )
    return lbsim.override(base, changes)


def observed(result: lbsim.Result) -> dict[str, object]:
    assert result.samples is not None
    assert result.packets is not None
    return {
        "summary": {k: v for k, v in result.summary().items() if k != "engine"},
        "samples": [column.tolist() for column in result.samples],
        "packets": [column.tolist() for column in result.packets],
    }


@pytest.mark.parametrize("dispatch", DISPATCHES)
@given(seed=st.integers(0, 10**6), cores=st.integers(1, 4), ring=st.sampled_from((1, 4, 64)))
@settings(max_examples=5)
def test_both_engines_tell_the_same_story(dispatch: str, seed: int, cores: int, ring: int) -> None:
    s = scenario(dispatch, seed=seed, **{"server.cores": cores, "server.ring": ring})
    assert observed(lbsim.run(s, "compiled")) == observed(lbsim.run(s, "reference"))


TOGETHER = {
    "rss that grows": ({"nic.dispatch.grow": Grow(every="200us")}, {"reordering": True}),
    "rssrr without a protocol": (
        {"nic.dispatch": RssRoundRobin(table=64, tick="50us"), "server.state": PerBucket(protocol="none")},
        {"reordering": True},
    ),
    "rss++ that scales": (
        {
            "nic.dispatch": Rsspp(table=64, tick="50us", load_period="50us", scaling=Scaling(start=1)),
            "server.state": PerBucket(lookup="50ns"),
        },
        {"latency": True},
    ),
    "classes that scale": (
        {
            "nic.dispatch": TrafficClasses(rules=30, tick="50us", hold="100us", scaling=Scaling()),
            "server.state": PerBucket(protocol="mark"),
        },
        {"reordering": True},
    ),
    "sprayer and locks": (
        {"nic.dispatch": Sprayer(), "server.state": Shared(contention="20ns", lock="100ns")},
        {"reordering": True, "latency": True},
    ),
    "one shared queue": (
        {"nic.dispatch": Software(queues="shared", per_packet="50ns", contention="10ns", capacity=16)},
        {"reordering": True, "latency": True},
    ),
    "flows dealt to queues": (
        {"nic.dispatch": Software(queues="stateful_load", hand_over="100ns", capacity=16)},
        {"latency": True},
    ),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_parts_together_are_the_same_in_both_engines(name: str) -> None:
    parts, asked = TOGETHER[name]
    profile = Profile(every="200us", factors=[0.5, 1.5, 1.0])
    measure = {f"measure.{field}": value for field, value in asked.items()}
    s = scenario("rss", **{**parts, **measure, "arrivals.profile": profile})
    compiled, reference = lbsim.run(s, "compiled"), lbsim.run(s, "reference")
    assert observed(compiled) == observed(reference)
    assert (compiled.reordered is None) == ("reordering" not in asked)
    if "latency" in asked:
        assert compiled.series("latency_us").equals(reference.series("latency_us"))


@pytest.mark.parametrize("kind", ["rss", "rss++", "rssrr", "classes"])
def test_a_closed_loop_is_the_same_in_both_engines(kind: str) -> None:
    loop = {
        "nic.dispatch.kind": kind,
        "traffic": Flows(flows=20, frame=1000),
        "arrivals": Closed(link="10Gbps", window=4.0, delay="20us"),
        "measure.latency": True,
        "server.burst": 1,
        "server.cost.per_batch": 0,
        "server.stalls": None,
        "measure.packets": False,
    }
    s = scenario("rss", **loop)
    compiled, reference = lbsim.run(s, "compiled"), lbsim.run(s, "reference")
    summaries = [{k: v for k, v in run.summary().items() if k != "engine"} for run in (compiled, reference)]
    assert summaries[0] == summaries[1]
    assert compiled.series("latency_us").equals(reference.series("latency_us"))
    assert compiled.delivered > 100


def test_rss_plus_plus_moves_buckets_and_evens_the_load() -> None:
    def spread(dispatch: str) -> float:
        result = lbsim.run(scenario(dispatch, **{"duration": "20ms", "arrivals.load": 0.5}))
        load = result.busy / result.end
        return float(load.max() - load.min())

    assert lbsim.run(scenario("rss++", duration="20ms")).control["moves"] > 0
    assert spread("rss++") < spread("rss") / 2


def test_policies_see_the_same_packets() -> None:
    logs = [lbsim.run(scenario(d)).packets for d in DISPATCHES]
    assert all(log is not None and (log.arrival == logs[0].arrival).all() for log in logs)
    assert all(log is not None and (log.flow == logs[0].flow).all() for log in logs)


def test_replications_differ_and_repeat() -> None:
    first, again, other = (lbsim.run(scenario("rss", replication=r)).latency.total for r in (0, 0, 1))
    assert first == again != other


def test_rss_keeps_a_flow_on_its_core_and_spraying_does_not() -> None:
    def cores_of_flow_0(dispatch: str) -> int:
        log = lbsim.run(scenario(dispatch)).packets
        assert log is not None
        return len(np.unique(log.core[log.flow == 0]))

    assert cores_of_flow_0("rss") == 1
    assert cores_of_flow_0("sprayer") == 3


def test_one_core_is_one_queue_whatever_the_dispatch() -> None:
    sums = {lbsim.run(lbsim.override(scenario(d), {"server.cores": 1})).latency.total for d in DISPATCHES}
    assert len(sums) == 1


def test_auto_says_which_kernel_it_took() -> None:
    assert lbsim.run(scenario("rss")).engine == "compiled: poll ring"
    plain = {"server.burst": 1, "server.cost.per_batch": 0, "server.stalls": None}
    assert lbsim.run(scenario("rss", **plain)).engine == "compiled: ring recursion"
    assert lbsim.run(scenario("power_of_two")).engine == "compiled: policy on live queues"


def test_a_policy_numba_refuses_runs_in_the_reference_and_says_so() -> None:
    @lbsim.policy
    def by_weight(view: lbsim.View, unit: lbsim.Unit) -> int:
        return unit.hash.bit_count() % view.n

    s = lbsim.override(scenario("rss"), {"nic.dispatch.kind": "policy", "nic.dispatch.policy": "by_weight"})
    result = lbsim.run(s)
    assert result.engine.startswith("reference")
    assert "by_weight runs in the reference engine" in result.notices[0]
    assert "bit_count" in result.notices[0]  # the reason, not Numba's stage
    with pytest.raises(lbsim.ScenarioError, match="does not compile"):
        lbsim.run(s, "compiled")


def test_a_policy_may_allocate() -> None:
    @lbsim.policy
    def best_of_three(view: lbsim.View, unit: lbsim.Unit) -> int:
        places = [unit.hash % view.n, (unit.hash >> 8) % view.n, (unit.hash >> 16) % view.n]
        lengths = np.array([view.queue[place] for place in places])
        return places[lengths.argmin()]

    s = lbsim.override(
        scenario("rss"), {"nic.dispatch.kind": "policy", "nic.dispatch.policy": "best_of_three"}
    )
    assert observed(lbsim.run(s, "compiled")) == observed(lbsim.run(s, "reference"))


def test_a_policy_with_an_import_inside_runs_in_the_reference() -> None:
    @lbsim.policy
    def imports(view: lbsim.View, unit: lbsim.Unit) -> int:
        import math

        return math.gcd(unit.index, view.n) % view.n

    s = lbsim.override(scenario("rss"), {"nic.dispatch.kind": "policy", "nic.dispatch.policy": "imports"})
    assert lbsim.run(s).engine.startswith("reference")


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_a_policy_that_misses_the_cores_is_told(engine: str) -> None:
    @lbsim.policy
    def off_by_one(view: lbsim.View, unit: lbsim.Unit) -> int:
        return view.n

    s = lbsim.override(scenario("rss"), {"nic.dispatch.kind": "policy", "nic.dispatch.policy": "off_by_one"})
    with pytest.raises(ValueError, match=r"packet 0 to no core: it must return 0 \.\. 2"):
        lbsim.run(s, engine)  # type: ignore[arg-type]


def test_a_stateful_policy_keeps_its_memory() -> None:
    @lbsim.policy(state=1)
    def in_turn(view: lbsim.View, unit: lbsim.Unit) -> int:
        view.state[0] += 1
        return int((view.state[0] - 1) % view.n)

    turns = {"nic.dispatch.kind": "policy", "nic.dispatch.policy": "in_turn"}
    mine, built_in = (
        scenario("rss", **turns),
        scenario("power_of_two", **{"nic.dispatch.policy": "round_robin"}),
    )
    assert observed(lbsim.run(mine))["packets"] == observed(lbsim.run(built_in))["packets"]
    assert observed(lbsim.run(mine))["packets"] == observed(lbsim.run(mine, "reference"))["packets"]


def test_an_unknown_policy_is_refused_with_the_nearest_name() -> None:
    s = scenario("power_of_two", **{"nic.dispatch.policy": "power_of_too"})
    with pytest.raises(lbsim.ScenarioError, match="did you mean 'power_of_two'"):
        lbsim.run(s)


def test_a_run_too_short_to_say_says_so() -> None:
    assert "beyond p99" in lbsim.run(scenario("rss")).notices[0]
    assert lbsim.run(scenario("rss", duration="100ms")).notices == ()


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[float, int]] = []
    lbsim.run(scenario("rss", duration="50ms"), progress=lambda share, packets: seen.append((share, packets)))
    assert seen == sorted(seen)
    assert seen[-1][0] > 0.99


def test_memory_does_not_grow_with_the_run() -> None:
    # Chunks are bounded, so the largest array of a long run is that of a short one.
    import tracemalloc

    def peak(duration: str) -> int:
        s = lbsim.override(
            scenario("rss"), {"duration": duration, "measure.packets": False, "measure.interval": None}
        )
        lbsim.run(s)
        tracemalloc.start()
        lbsim.run(s)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak("1s") < 1.2 * peak("100ms")


def test_poisson_load_is_the_share_of_capacity() -> None:
    s = lbsim.override(
        scenario("sprayer"), {"duration": "50ms", "server.cost.per_batch": 0, "server.stalls": None}
    )
    s = lbsim.Scenario(**{**dict(s), "arrivals": Poisson(load=0.6)})
    result = lbsim.run(s)
    assert float(result.busy.sum() / result.busy.size / result.end) == pytest.approx(0.6, rel=0.02)


@pytest.mark.parametrize("frame", ["imix", "campus", "campus-4"])
def test_published_frame_sizes_set_the_link_rate(frame: str) -> None:
    rate = {"arrivals.batch": None, "arrivals.kind": "poisson", "arrivals.rate": "4Gbps", "duration": "40ms"}
    s = scenario("rss", **{"traffic.frame": frame, "server.ring": 4096, "measure.packets": False, **rate})
    assert lbsim.run(s).offered_gbps == pytest.approx(4, rel=0.03)


def test_replications_of_campus_traffic_are_recordings_of_their_own() -> None:
    s = scenario("rss", traffic={"kind": "campus", "trace": "campus"}, duration="5ms")
    first, second = (lbsim.run(lbsim.override(s, {"replication": r})).packets for r in (0, 1))
    assert first is not None
    assert second is not None
    assert first.flow[:1000].tolist() != second.flow[:1000].tolist()


def test_rss_sends_a_packet_where_hash_and_table_say() -> None:
    s = scenario("rss")
    log, source = lbsim.run(s).packets, open_source(s)
    assert log is not None
    hashes = flow_hashes(source.traffic.flows, parse_key("random:1"))
    assert (log.core == hashes[log.flow] % 64 % 3).all()


def test_a_capture_that_spans_no_time_is_refused_or_told_when(tmp_path: Path) -> None:
    (tmp_path / "one.pcap").write_bytes(captures.pcap([captures.Packet.whole(NOON, FRAME)] * 2))
    one = {"traffic": {"kind": "capture", "file": str(tmp_path / "one.pcap")}, "warmup": 0}
    with pytest.raises(lbsim.ScenarioError, match=r"arrivals\.kind: recorded, but the capture spans no time"):
        lbsim.run(scenario("rss", **one, arrivals={"kind": "recorded", "speed": 1.0}))
    poisson = {**one, "arrivals": {"kind": "poisson", "rate": "1Mpps"}}
    with pytest.raises(lbsim.ScenarioError, match="duration: missing, and the capture spans no time"):
        lbsim.run(scenario("rss", **{**poisson, "duration": None}))
    assert lbsim.run(scenario("rss", **poisson)).offered == 2
