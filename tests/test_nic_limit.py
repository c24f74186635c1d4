"""What the NIC cannot take: a token bucket before the rings, and the pace of each receive queue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lbsim
from lbsim.engine.source import Source, open_source
from lbsim.nic import taken
from lbsim.scenario import (
    Chain,
    Cost,
    Deterministic,
    Dpi,
    Firewall,
    Fixed,
    Flows,
    Measure,
    Nic,
    NicLimit,
    Poisson,
    QueueLimit,
    Rule,
    Scenario,
    Server,
    override,
)
from lbsim.units import MS, NS, SECOND, wire_bits
from lbsim.workload.packets import Packets

BASE = Scenario(
    seed=3,
    duration="4ms",
    warmup="1ms",
    traffic=Flows(flows=100, frame=1000),
    arrivals=Poisson(rate="10Mpps"),
    nic=Nic(limit=NicLimit(rate="4Mpps", burst=64)),
    server=Server(cores=4, cost=Cost(work=Fixed(time="100ns"))),
)


def packets(source: Source) -> Packets:
    return Packets(*map(np.concatenate, zip(*source.packets(), strict=True)))


# The bucket ------------------------------------------------------------------------------------------------

gaps_and_costs = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 12)), max_size=40)


def rooms(depth: int, gaps: Sequence[tuple[int, int]]) -> list[bool]:
    """Pour picosecond after picosecond into a bucket that is full at first, and take out packets."""
    level, found = depth, []
    for gap, cost in gaps:
        for _ in range(gap):
            if level < depth:
                level += 1
        if room := level >= cost or level == depth:
            level -= cost
        found.append(room)
    return found


@given(st.integers(1, 30), gaps_and_costs, st.integers(0, 40))
def test_a_packet_is_taken_if_the_bucket_holds_its_cost(
    depth: int, gaps: list[tuple[int, int]], cut: int
) -> None:
    times = np.cumsum([0, *(gap for gap, _ in gaps)])[1:].astype(np.int64)
    costs = np.array([cost for _, cost in gaps], np.int64)
    first, level, at = taken(depth, 0, depth, times[:cut], costs[:cut])
    second, _, _ = taken(level, at, depth, times[cut:], costs[cut:])
    assert [*first, *second] == rooms(depth, gaps)


@given(st.integers(12, 30), gaps_and_costs)
def test_no_stretch_of_time_lets_more_through_than_its_length_and_the_bucket(
    depth: int, gaps: list[tuple[int, int]]
) -> None:
    times = np.cumsum([0, *(gap for gap, _ in gaps)])[1:].astype(np.int64)
    costs = np.array([cost for _, cost in gaps], np.int64)
    used = np.cumsum([0, *np.where(taken(depth, 0, depth, times, costs)[0], costs, 0)])
    for a in range(len(times)):
        for b in range(a, len(times)):
            assert used[b + 1] - used[a] <= times[b] - times[a] + depth


def test_a_packet_larger_than_the_bucket_passes_when_it_is_full_and_leaves_a_debt() -> None:
    times = np.array([0, 1, 25, 30, 31], np.int64)
    room, level, at = taken(10, 0, 10, times, np.full(5, 30, np.int64))
    assert room.tolist() == [True, False, False, True, False]
    assert (level, at) == (-19, 31)


# Packets of a scenario -------------------------------------------------------------------------------------


def test_an_overload_passes_at_the_limit_in_packets() -> None:
    sent = packets(open_source(BASE))
    assert len(sent.time) == pytest.approx(4e6 * 4e-3 + 64, abs=2)
    after = sent.time[sent.time > 1 * MS]
    assert len(after) == pytest.approx(4e6 * 3e-3, abs=64)


@pytest.mark.parametrize(("burst", "share"), [(1, 0.7), (64, 0.999), (1024, 0.9999)])
def test_an_overload_passes_at_the_limit_in_bits_whatever_the_sizes(burst: int, share: float) -> None:
    """A bucket that holds little is full before the next packet comes, now and then."""
    mixed = override(
        BASE, {"traffic.frame": "imix", "nic.limit": NicLimit(rate="10Gbps", burst=burst), "duration": "20ms"}
    )
    source = open_source(mixed)
    sent = packets(source)
    bits = wire_bits(sent.frame.astype(float)).sum()
    most = 10e9 * 20e-3 + burst * wire_bits(source.traffic.mean_frame)
    assert share * most < bits <= most + wire_bits(1514)
    assert set(sent.frame) == set(packets(open_source(override(mixed, {"nic.limit": None}))).frame)


def test_a_burst_after_a_pause_fits_the_bucket() -> None:
    paused = override(BASE, {"arrivals": Deterministic(rate="1Gpps"), "duration": "1us", "warmup": 0})
    assert len(packets(open_source(paused)).time) == 64 + 3  # 4 packets are filled in within a microsecond


def test_what_is_lost_depends_on_nothing_but_the_packets() -> None:
    limited, free = packets(open_source(BASE)), packets(open_source(override(BASE, {"nic.limit": None})))
    rows = {row: k for k, row in enumerate(zip(*free[:4], strict=True))}
    kept = [rows[row] for row in zip(*limited[:4], strict=True)]
    assert kept == sorted(set(kept))
    assert limited.service.tolist() == free.service[kept].tolist()


def test_only_what_the_cohort_lost_is_counted_each_time_anew() -> None:
    source = open_source(BASE)
    free = packets(open_source(override(BASE, {"nic.limit": None})))
    for _ in range(2):
        sent = packets(source)
        lost = np.count_nonzero(free.time >= MS) - np.count_nonzero(sent.time >= MS)
        assert (source.lost.limited, source.lost.limited_bytes) == (lost, 1000 * lost)
    assert lost > 10_000


# Runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup", ["0s", "1ms"])
def test_a_run_tells_what_the_nic_lost_and_keeps_its_laws(warmup: str) -> None:
    limited = override(BASE, {"warmup": warmup, "server.ring": 16, "server.cost.work.time": "1.2us"})
    result = lbsim.run(limited)
    free = lbsim.run(override(limited, {"nic.limit": None}))
    assert (result.offered, result.offered_bytes) == (free.offered, free.offered_bytes)
    assert list(result.drops) == ["nic limit", "ring full"]
    assert min(result.drops.values()) > 1000
    assert "nic limit" not in free.drops
    assert all(result.laws().values())
    assert result.summary()["drops"]["nic limit"] == result.drops["nic limit"]
    short = override(limited, {"duration": "1.2ms"})
    slow, quick = lbsim.run(short, "reference"), lbsim.run(short, "compiled")
    assert slow.drops == quick.drops
    assert (slow.latency.counts == quick.latency.counts).all()


def test_a_nic_that_takes_all_changes_nothing() -> None:
    loose = lbsim.run(override(BASE, {"nic.limit": NicLimit(rate="1Gpps"), "measure": Measure(packets=True)}))
    free = lbsim.run(override(BASE, {"nic.limit": None, "measure": Measure(packets=True)}))
    assert loose.drops == {"nic limit": 0, **free.drops}
    assert loose.packets is not None
    assert free.packets is not None
    assert all((a == b).all() for a, b in zip(loose.packets, free.packets, strict=True))


def test_a_queue_paces_its_core() -> None:
    queue = QueueLimit(per_packet=50 * NS, per_byte=200)
    paced = override(BASE, {"nic": Nic(queue=queue), "arrivals.rate": "40Mpps", "server.cost.work.time": 0})
    assert set(packets(open_source(paced)).service) == {250 * NS}  # 50 ns and 1000 x 0.2 ns
    result = lbsim.run(override(paced, {"duration": "3ms", "nic.dispatch.kind": "sprayer"}))
    assert result.throughput == pytest.approx(4 * SECOND / (250 * NS), rel=0.03)
    slower = override(paced, {"server.cost.work.time": "300ns"})
    assert set(packets(open_source(slower)).service) == {300 * NS}


def test_a_queue_is_as_slow_as_for_packets_of_mean_size() -> None:
    mixed = override(BASE, {"traffic.frame": "imix", "nic": Nic(queue=QueueLimit(per_byte=1000))})
    source = open_source(mixed)
    least = round(1000 * source.traffic.mean_frame)
    assert least > 300 * NS
    assert set(packets(source).service) == {least}


def test_a_queue_outlasts_all_that_a_packet_costs() -> None:
    dear = {"server.cost.per_packet": "100ns", "server.cost.per_byte": "1ns"}
    sent = packets(open_source(override(BASE, {**dear, "nic": Nic(queue=QueueLimit(per_packet=1150 * NS))})))
    assert set(sent.service) == {1200 * NS}


# With a chain ----------------------------------------------------------------------------------------------

CHAINED = override(
    BASE,
    {
        "chain": Chain(
            functions=[Firewall(rules=[Rule(action="deny", src="10.128.0.0/9")]), Dpi()],
            synthesised=True,
            offload="switch",
        ),
        "server.clock": "2GHz",
        "arrivals.rate": "6Mpps",
    },
)


@pytest.mark.parametrize("offload", ["switch", "nic"])
def test_a_switch_spares_the_nic_its_packets_and_the_nic_does_not(offload: str) -> None:
    scenario = override(CHAINED, {"chain.offload": offload})
    source = open_source(scenario)
    free = open_source(override(scenario, {"chain": None, "nic.limit": None}))
    everything = packets(free)
    denied = free.traffic.flows.src[everything.flow, 1] >= 128
    assert 0.3 < denied.mean() < 0.7
    sent = packets(source)
    assert (free.traffic.flows.src[sent.flow, 1] < 128).all()
    measured = everything.time >= MS
    if offload == "switch":
        assert source.lost.limited < 0.001 * np.count_nonzero(measured)  # 3 Mpps of 6 are left, of 4
        assert source.lost.offloaded == np.count_nonzero(denied & measured)
    else:
        assert source.lost.limited == pytest.approx(2e6 * 3e-3, rel=0.1)
        assert source.lost.offloaded == pytest.approx(4 / 6 * np.count_nonzero(denied & measured), rel=0.1)
    gone = source.lost.limited + source.lost.offloaded + np.count_nonzero(sent.time >= MS)
    assert gone == np.count_nonzero(measured)


def test_a_run_tells_what_was_offloaded_and_what_was_filtered() -> None:
    offloaded = lbsim.run(CHAINED)
    inside = lbsim.run(override(CHAINED, {"chain.offload": "none", "nic.limit": None}))
    assert inside.control["offloaded"] == 0
    assert offloaded.control["filtered"] == 0
    assert offloaded.control["offloaded"] == inside.control["filtered"] > 5000
    assert offloaded.offered == inside.offered - inside.control["filtered"]
    assert inside.delivered + sum(inside.drops.values()) == inside.offered
    assert "offloaded" not in lbsim.run(override(BASE, {"duration": "1100us"})).control


def test_a_chain_that_is_wholly_in_the_switch_leaves_nothing_to_offer() -> None:
    everything = Chain(functions=[Firewall(rules=0, default="deny")], synthesised=True, offload="switch")
    result = lbsim.run(override(CHAINED, {"chain": everything}))
    assert (result.offered, result.delivered) == (0, 0)
    assert result.control["offloaded"] > 10_000
    assert not any("too short" in notice for notice in result.notices)
    assert all(result.laws().values())


def test_both_engines_see_the_same_packets() -> None:
    short = override(CHAINED, {"duration": "1.1ms", "chain.offload": "nic", "measure.packets": True})
    slow, quick = lbsim.run(short, "reference"), lbsim.run(short, "compiled")
    assert slow.control == quick.control
    assert slow.drops == quick.drops
    assert slow.packets is not None
    assert quick.packets is not None
    assert all((a == b).all() for a, b in zip(slow.packets, quick.packets, strict=True))
