"""The closed loop: both engines give equal bits, and what queueing theory says of it holds exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbsim.engine import run
from lbsim.engine.closed import ClosedPlane, ClosedReference, Loop, loop_of
from lbsim.engine.closed.loop import windows
from lbsim.engine.closed.plane import LoopRings
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import CONTROL, RING_FULL, Clock, Plane, Tally
from lbsim.engine.reference import Rings
from lbsim.engine.source import open_source
from lbsim.rng import stream
from lbsim.scenario import (
    Closed,
    Cost,
    Exponential,
    Fixed,
    Flows,
    Measure,
    Nic,
    Rate,
    Rss,
    Rsspp,
    Scenario,
    Server,
    Work,
)
from lbsim.units import MS, NS, US

BUCKETS = 4


class Case(NamedTuple):
    machine: Machine
    cores: int
    table: list[int]
    units: list[tuple[int, int]]  # first entry, bucket
    services: list[int]  # taken again and again
    chunk: int  # services drawn at a time
    wire: int
    delay: int
    end: int
    control: Sequence[tuple[int, str, int, int]] = ()  # gap, what, where, how much


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Small numbers on purpose: ties, zero wire, zero service, full rings and one core are common."""
    cores = draw(st.integers(1, 4))
    short = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 5, 9))
    end = draw(st.integers(8, 60))
    machine = Machine(
        ring=draw(st.sampled_from((1, 1, 2, 3, 8))),
        burst=1,
        per_batch=0,
        warmup=draw(st.sampled_from((0, 0, 7))),
        delay=draw(st.sampled_from((0, 3))),
        interval=draw(st.sampled_from((1, 4))),
    )
    what = st.sampled_from(("read", "read", "table"))
    return Case(
        machine,
        cores,
        draw(st.lists(st.integers(0, cores - 1), min_size=BUCKETS, max_size=BUCKETS)),
        draw(st.lists(st.tuples(short, st.integers(0, BUCKETS - 1)), min_size=1, max_size=8)),
        draw(st.lists(short, min_size=1, max_size=8)),
        draw(st.integers(1, 9)),
        draw(st.sampled_from((0, 1, 1, 2, 5))),
        draw(st.sampled_from((1, 1, 2, 7))),
        end,
        draw(st.lists(st.tuples(short, what, st.integers(0, 7), st.integers(0, 9)), max_size=12)),
    )


def chunks(services: list[int], size: int) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    endless = cycle(services)
    while True:
        yield np.array(list(islice(endless, size)), np.int64)


def loop_in(case: Case) -> Loop:
    first, bucket = np.array(case.units, np.int64).T
    services = chunks(case.services, case.chunk)
    flow = np.arange(len(first))
    return Loop(first.copy(), flow, bucket.copy(), 100, case.wire, case.delay, case.end, services)


def plane_of(env: Clock, case: Case, compiled: bool) -> Plane:
    table, machine, loop = np.array(case.table, np.int64), case.machine, loop_in(case)
    machine = machine._replace(delay=machine.delay + case.delay)
    intervals = -(-case.end // machine.interval) if machine.interval else 0
    if compiled:
        bank = LoopRings(machine, case.cores, table, loop)
        return ClosedPlane(loop, machine, bank, intervals=intervals)
    return ClosedReference(env, loop, machine, Rings(env, machine, case.cores, table), intervals=intervals)


def play(case: Case, compiled: bool) -> tuple[Tally, list[Any]]:
    """Run a case; return its tally and what control has seen."""
    env = Clock()
    plane = plane_of(env, case, compiled)
    seen: list[Any] = []

    def control() -> Any:
        for gap, what, where, much in case.control:
            yield env.wait(gap, CONTROL)
            plane.sync(env.now)
            if what == "read":
                seen.append((env.now, *(column.tolist() for column in plane.counters(env.now))))
            else:
                plane.table[where % BUCKETS] = much % case.cores
                plane.moved(env.now)
                assert plane.in_transit() is None

    env.process(control())
    env.run()
    return plane.finish(), seen


def outcome(case: Case, compiled: bool) -> dict[str, Any]:
    """Everything observable of a run, as plain lists; with an interval of 1 ps rows tell single packets."""
    t, seen = play(case, compiled)
    return {
        "seen": seen,
        "tally": (t.offered, t.offered_bytes, t.drops, t.dropped_bytes, t.reordered, t.end),
        "latency": (t.latency.total, t.latency.low, t.latency.high, t.latency.count),
        "rows": np.argwhere(t.latencies).tolist(),
        "numbers": t.latencies[t.latencies > 0].tolist(),
        "counters": [column.tolist() for column in t.counters],
    }


def throughput(case: Case, start: int, end: int) -> Any:
    """Return the packets that left each core after start, up to end, in the compiled engine."""
    reads = [(start, "read", 0, 0), (end - start, "read", 0, 0)]
    _, seen = play(case._replace(control=reads), compiled=True)
    return np.array(seen[1][1]) - seen[0][1]


SOME = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PLAIN = Machine(ring=64, burst=1, per_batch=0, warmup=0, delay=0)


@given(cases())
@SOME
def test_the_engines_agree(case: Case) -> None:
    assert outcome(case, compiled=True) == outcome(case, compiled=False)


@pytest.mark.slow
@given(cases())
@MANY
def test_the_engines_agree_on_thousands_of_cases(case: Case) -> None:
    assert outcome(case, compiled=True) == outcome(case, compiled=False)


@given(cases())
@SOME
def test_no_unit_is_lost(case: Case) -> None:
    # Rounds of a unit follow each other without a gap: all of them together last from its first entry to the
    # end at least, and then by less than one round.
    whole = case._replace(machine=case.machine._replace(warmup=0, ring=64, delay=0), control=())
    tally, _ = play(whole, compiled=True)
    spans = [case.end - first for first, _ in case.units if first < case.end]
    over = tally.latency.total - sum(spans)
    assert 0 <= over < len(spans) * tally.latency.high or not spans
    assert tally.latency.count == tally.offered == tally.counters.processed.sum()


@pytest.mark.parametrize("compiled", [True, False])
def test_a_lone_packet_goes_round_without_waiting(compiled: bool) -> None:
    case = Case(PLAIN, 1, [0] * 4, [(5, 0)], [20], 3, 7, 100, 10_000)
    tally, _ = play(case, compiled)
    assert tally.latency.low == tally.latency.high == 7 + 20 + 100
    assert tally.offered == -(-(10_000 - 5) // 127)
    assert tally.end == 5 + 127 * (tally.offered - 1) + 27


@pytest.mark.parametrize("compiled", [True, False])
def test_a_full_ring_sends_a_packet_round_again(compiled: bool) -> None:
    # They reach the NIC at 1 and 2. The first is in service until 11: the ring of one slot refuses the other
    # at 2, 6 and 10: back in the queue 3 later, on the link for 1. At 14 it is served, until 24.
    machine = PLAIN._replace(ring=1)
    case = Case(machine, 1, [0] * 4, [(0, 0), (0, 1)], [10], 4, 1, 3, 14)
    tally, _ = play(case, compiled)
    assert tally.drops == {RING_FULL: 3}
    assert tally.offered == 5
    assert tally.counters.polled.tolist() == [1, 1, 0, 0]
    assert tally.end == 24


def test_the_table_holds_for_what_reaches_the_nic_from_now_on() -> None:
    case = Case(PLAIN, 2, [0] * 4, [(0, 0), (0, 0), (0, 0)], [1], 4, 4, 100, 50, [(8, "table", 0, 1)])
    tally, _ = play(case, compiled=True)
    assert tally.counters.processed.tolist() == [1, 2]  # at 4, then at 8 and 12


def test_a_saturated_core_serves_one_packet_a_service_time() -> None:
    units = [(k, 0) for k in range(10)]
    case = Case(PLAIN, 1, [0] * 4, units, [50], 5, 3, 200, 10**6)
    assert throughput(case, 10**4, 10**4 + 50 * 7777).tolist() == [7777]


def test_a_saturated_link_carries_one_packet_a_wire_time() -> None:
    units = [(k, k % 4) for k in range(20)]
    case = Case(PLAIN, 4, [0, 1, 2, 3], units, [11], 5, 10, 100, 10**6)
    assert throughput(case, 10**4, 10**4 + 10 * 9999).sum() == 9999
    late, _ = play(case._replace(machine=PLAIN._replace(warmup=10**4)), compiled=True)
    assert late.latency.low == late.latency.high == 20 * 10  # Little's law, every round alike


def test_flows_on_one_core_share_it_as_their_windows() -> None:
    units = [(k, 0 if k < 6 else 1) for k in range(8)]
    case = Case(PLAIN, 1, [0] * 4, units, [50], 5, 3, 100, 400_000)
    tally, _ = play(case, compiled=True)
    first, second, *_ = tally.counters.polled.tolist()
    assert first == pytest.approx(3 * second, abs=6)  # one round at most


def test_flows_that_wait_at_a_core_leave_the_link_to_the_others() -> None:
    # Ten units each: those on core 0 get the 1/100 it can do, the others the rest of the link.
    units = [(k, k % 2) for k in range(20)]
    services = [100, 1]
    slow = Case(PLAIN, 2, [0, 1, 1, 1], units, services, 5, 10, 20, 10**6)
    both = throughput(slow._replace(services=[100]), 10**5, 9 * 10**5)
    assert both.tolist() == [8000, 8000]  # both cores saturated
    equal = throughput(slow._replace(services=[1]), 10**5, 9 * 10**5)
    assert equal.tolist() == [40_000, 40_000]  # the link shared alike
    alone = throughput(slow._replace(services=[21], table=[0, 0, 0, 0]), 10**5, 10**5 + 21 * 1000)
    assert alone.tolist() == [1000, 0]


def test_windows_have_the_mean_and_the_spread_asked_for() -> None:
    def drawn(spread: float, window: float = 1000.0) -> Any:
        spec = Closed(link=Rate(1e9, "bps"), window=window, spread=spread, delay=US)
        return windows(spec, 20_000, stream(1, "windows"))

    assert (drawn(0.0) == 1000).all()
    assert drawn(0.5).mean() == pytest.approx(1000, rel=0.02)
    assert drawn(0.5).std() == pytest.approx(500, rel=0.05)
    assert drawn(3.0, window=1.0).min() == 1


SCENARIO = Scenario(
    duration=4 * MS,
    warmup=MS,
    traffic=Flows(flows=12, frame=1514),
    arrivals=Closed(link=Rate(10e9, "bps"), window=4.0, spread=1.0, delay=50 * US),
    nic=Nic(dispatch=Rss(table=16)),
    server=Server(
        cores=4,
        ring=8,
        burst=1,
        cost=Cost(per_packet=Work(100 * NS), per_byte=Work(NS), work=Exponential(mean=Work(4 * US))),
    ),
)


def test_rsspp_balances_a_closed_loop_alike_in_both_engines() -> None:
    balanced = Rsspp(table=16, tick=300 * US, load="cpu", begin=500 * US)
    scenario = SCENARIO.model_copy(
        update={
            "nic": Nic(dispatch=balanced),
            "measure": Measure(interval=MS, latency=True, path_delay=3 * US),
        }
    )
    ours, truth = run(scenario, "compiled"), run(scenario, "reference")
    assert "closed loop" in ours.engine
    assert ours.control == truth.control
    assert ours.control["moves"] > 0
    assert ours.offered == truth.offered > 500
    assert ours.drops == truth.drops
    assert ours.latency.total == truth.latency.total
    assert ours.latency.low >= (3 + 50) * US + 1230 * NS + (100 + 1514) * NS  # path, delay, wire, fixed costs
    assert (ours.latencies == truth.latencies).all()  # type: ignore[union-attr]
    for mine, theirs in zip(ours.samples or (), truth.samples or (), strict=True):
        assert mine.tolist() == theirs.tolist()


def test_units_are_numbered_flow_by_flow_and_enter_within_one_delay() -> None:
    loop = loop_of(open_source(SCENARIO))
    assert (np.diff(loop.flow) >= 0).all()
    assert set(loop.flow.tolist()) == set(range(12))
    assert 0 <= loop.first.min() <= loop.first.max() < 50 * US
    assert loop.wire == 1538 * 8 * 100
    fixed = SCENARIO.model_copy(
        update={"server": SCENARIO.server.model_copy(update={"cost": Cost(work=Fixed(time=Work(7)))})}
    )
    assert set(next(loop_of(open_source(fixed)).services).tolist()) == {7}
