"""Pipelines of cores: two engines of equal bits, and what must always hold."""

from __future__ import annotations

from collections import Counter
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.kernels import Machine
from lbsim.engine.pipeline import PipelineBank, ReferencePipeline, Spec, spec_of
from lbsim.engine.plane import CONTROL, Clock, Plane, Tally
from lbsim.engine.reference import ReferencePlane
from lbsim.engine.rings import PolledRings
from lbsim.workload.packets import Packets

FLOWS, BUCKETS = 8, 3


class Case(NamedTuple):
    machine: Machine
    lanes: int
    spec: Spec
    table: list[int]  # bucket -> lane
    packets: list[tuple[int, int, int, int]]  # gap, flow and bucket, service, frame
    cut: int = 1  # packets in the first chunk
    control: tuple[tuple[int, str, int, int], ...] = ()  # gap, what, where, how much
    reordering: bool = True

    @property
    def cores(self) -> int:
        return self.lanes * self.spec.stages


SHORT = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 5, 9))
SMALL = st.sampled_from((0, 0, 1, 2, 5))
PLACES = st.sampled_from((1, 1, 2, 3, 5, 64))


@st.composite
def specs(draw: st.DrawFn, stages: int, places: st.SearchStrategy[int]) -> Spec:
    """A few classes, of which some leave early."""
    classes = draw(st.integers(1, 3))
    row = st.lists(st.sampled_from((-1, 0, 0, 1, 2, 4, 8)), min_size=classes, max_size=classes)
    each = st.lists(st.sampled_from((0, 0, 0, 1)), min_size=stages, max_size=stages)
    ways = st.lists(st.sampled_from((0, 0, 1, 2, 7)), min_size=stages - 1, max_size=stages - 1)
    return spec_of(
        capacity=draw(places),
        poll=draw(SMALL),
        fixed=draw(st.lists(row, min_size=stages, max_size=stages)),
        per_byte=draw(each),
        latency=[*draw(ways), 0],
        class_of=draw(st.lists(st.integers(0, classes - 1), min_size=FLOWS, max_size=FLOWS)),
    )


@st.composite
def cases(draw: st.DrawFn, stages: int | None = None) -> Case:
    """Small numbers on purpose: ties, zero gaps, zero work, full rings and one stage are common.

    In every third case a single flow is moved from lane to lane, so that its packets overtake each other.
    """
    moving = draw(st.sampled_from((False, False, True)))
    places = st.just(64) if moving else PLACES
    machine = Machine(
        ring=draw(places),
        burst=draw(st.sampled_from((1, 2, 3, 32))),
        per_batch=draw(SMALL),
        warmup=draw(st.sampled_from((0, 7, 30))),
        delay=draw(st.sampled_from((0, 3))),
        interval=draw(st.sampled_from((0, 0, 10))),
    )
    lanes = draw(st.integers(1 + moving, 3))
    spec = draw(specs(stages or draw(st.integers(1, 4)), places))
    table = draw(st.lists(st.integers(0, lanes - 1), min_size=BUCKETS, max_size=BUCKETS))
    flow = st.integers(0, 0 if moving else FLOWS - 1)
    packet, least = st.tuples(SHORT, flow, SHORT, st.integers(0, 4)), draw(st.sampled_from((1, 30)))
    packets = draw(st.lists(packet, min_size=least, max_size=60))
    what = st.just("table") if moving else st.sampled_from(("read", "stall", "table"))
    where = st.integers(0, 0 if moving else 11)
    step = st.tuples(SHORT, what, where, st.integers(0, 9))
    control = draw(st.lists(step, min_size=6 * moving, max_size=12))
    cut = draw(st.integers(1, len(packets)))
    return Case(machine, lanes, spec, table, packets, cut, tuple(control), draw(st.booleans()))


def columns(case: Case) -> list[Packets]:
    """The case's packets as two chunks."""
    gap, flow, service, frame = np.array(case.packets, np.int64).T
    names = flow.astype(np.int32)
    whole = Packets(np.cumsum(gap), names % BUCKETS, names, frame.astype(np.int32), service.copy())
    parts = (whole.part(0, case.cut), whole.part(case.cut, len(gap)))
    return [part for part in parts if len(part.time)]


def plane_of(case: Case, engine: str, env: Clock) -> Plane:
    """A data plane for the case."""
    options: Any = {"intervals": 20 if case.machine.interval else 0, "log": True}
    table = np.array(case.table, np.int64) * case.spec.stages
    m, packets = case.machine, iter(columns(case))
    if engine == "reference":
        reference = ReferencePipeline(env, m, case.cores, table, case.spec, case.reordering)
        return ReferencePlane(env, packets, m, reference, **options)
    if engine == "poll":
        return CompiledPlane(packets, m, PolledRings(m, case.cores, table), **options)
    bank = PipelineBank(m, case.cores, table, case.spec, case.reordering)
    return CompiledPlane(packets, m, bank, **options)


def simulate(case: Case, engine: str) -> tuple[Tally, list[Any]]:
    """Run a case; return what was counted, and what control read."""
    env = Clock()
    plane = plane_of(case, engine, env)
    seen: list[Any] = []

    def control() -> Any:
        for gap, what, where, much in case.control:
            yield env.wait(gap, CONTROL)
            plane.sync(env.now)
            if what == "stall":
                plane.stall(where % case.cores, env.now, much)
            if what == "table":
                plane.table[where % BUCKETS] = much % case.lanes * case.spec.stages
                plane.moved(env.now)
            seen.append((env.now, *(column.tolist() for column in plane.counters(env.now))))

    env.process(control())
    env.run()
    return plane.finish(), seen


def outcome(case: Case, engine: str) -> dict[str, Any]:
    """Everything observable of a run, as plain values."""
    t, seen = simulate(case, engine)
    assert t.log is not None
    return {
        "packets": [column.tolist() for column in t.log],
        "seen": seen,
        "counted": (t.offered, t.offered_bytes, t.drops, t.dropped_bytes, t.reordered, t.end, t.counted),
        "latency": (t.latency.total, t.latency.low, t.latency.high),
        "bins": [np.flatnonzero(t.latency.counts).tolist(), *map(np.ndarray.tolist, np.nonzero(t.latencies))],
        "counters": [column.tolist() for column in t.counters],
    }


SOME = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(cases())
@SOME
def test_the_engines_agree(case: Case) -> None:
    assert outcome(case, "compiled") == outcome(case, "reference")


@pytest.mark.slow
@given(cases())
@MANY
def test_the_engines_agree_on_thousands_of_cases(case: Case) -> None:
    assert outcome(case, "compiled") == outcome(case, "reference")


def test_the_engines_agree_on_thousands_of_packets() -> None:
    # More than a kernel takes at a time, with drops at every stage, hops, and packets that overtake.
    rng = np.random.default_rng(3)
    gap, flow, service, frame = (rng.integers(0, top, 4000).tolist() for top in (5, FLOWS, 9, 5))
    spec = spec_of(
        capacity=6, poll=1, fixed=[[0, 0], [6, 1], [7, -1]], per_byte=[0, 0, 1], latency=[20, 0, 0],
        class_of=np.arange(FLOWS) % 2,
    )  # fmt: skip
    control = [(int(rng.integers(20)), "table", *rng.integers(0, 9, 2).tolist()) for _ in range(400)]
    packets = list(zip(gap, flow, service, frame, strict=True))
    case = Case(Machine(8, 4, 2, 100, 0), 3, spec, [0, 1, 2], packets, 3000, tuple(control))
    t, _ = simulate(case, "compiled")
    assert min(t.drops.values()) > 100
    assert t.reordered > 50
    assert outcome(case, "compiled") == outcome(case, "reference")


@given(cases(stages=1))
@SOME
def test_a_pipeline_of_one_stage_is_a_ring_that_is_polled(case: Case) -> None:
    one, other = outcome(case, "compiled"), outcome(case, "poll")
    (*whole, drops, dropped_bytes, _, end, counted), (*same, ring_only, bytes_too, _, last, none) = (
        one.pop("counted"), other.pop("counted"),
    )  # fmt: skip
    assert one == other
    assert (whole, dropped_bytes, end) == (same, bytes_too, last)
    assert drops == {**ring_only, "queue full": 0}
    assert (counted, none) == ({"hand_overs": 0}, {})


@given(cases())
@SOME
def test_no_packet_is_lost_or_served_twice(case: Case) -> None:
    t, _ = simulate(case, "compiled")
    assert t.log is not None
    stages, c = case.spec.stages, t.counters
    departed = t.log.departure >= 0
    last = Counter(t.log.core[departed].tolist())
    refused = Counter(t.log.core[~departed].tolist())
    assert c.occupancy.tolist() == [0] * case.cores
    assert c.dropped.tolist() == [refused[k] for k in range(case.cores)]
    taken = 0
    for core in range(case.cores):
        on = 0 if core % stages == stages - 1 else int(c.processed[core + 1] + c.dropped[core + 1])
        assert c.processed[core] == last[core] + on
        taken += int(c.processed[core]) if core % stages else 0
    assert t.counted == {"hand_overs": taken}
    assert c.polled.sum() == c.processed[::stages].sum() == len(case.packets) - c.dropped[::stages].sum()
    measured = t.log.arrival >= case.machine.warmup
    assert t.offered == measured.sum()
    assert sum(t.drops.values()) == (measured & ~departed).sum()
    assert t.latency.count == (measured & departed).sum()
    assert (c.busy <= t.end).all()


@given(cases())
@SOME
def test_packets_leave_where_their_class_says(case: Case) -> None:
    t, _ = simulate(case, "compiled")
    assert t.log is not None
    fixed = case.spec.fixed[:, case.spec.class_of]
    fixed = np.vstack([np.zeros((1, FLOWS), np.int64), fixed[1:], np.full((1, FLOWS), -1)])
    exits = (fixed < 0).argmax(axis=0) - 1  # the stage before the first that a flow does not see
    departed = t.log.departure >= 0
    assert (t.log.core % case.spec.stages <= exits[t.log.flow]).all()
    assert (t.log.core[departed] % case.spec.stages == exits[t.log.flow[departed]]).all()


@given(cases())
@SOME
def test_reordered_packets_left_after_a_later_one_of_their_flow(case: Case) -> None:
    t, _ = simulate(case._replace(reordering=True), "compiled")
    assert t.log is not None
    arrival, flow, _, departure = t.log
    late = 0
    for k in np.flatnonzero(arrival >= case.machine.warmup):
        behind = departure[k + 1 :][flow[k + 1 :] == flow[k]]
        late += bool(((behind >= 0) & (behind < departure[k])).any())
    assert t.reordered == late


def test_packets_of_a_flow_that_changes_lanes_may_be_reordered() -> None:
    # The first goes down lane 0 at leisure; its bucket moves at 1; the second overtakes it on lane 1.
    spec = spec_of(
        capacity=8, poll=0, fixed=[[0], [5]], per_byte=[0, 1], latency=[0, 0], class_of=[0] * FLOWS
    )
    case = Case(Machine(8, 1, 0, 0, 0), 2, spec, [0] * BUCKETS, [(0, 0, 9, 0), (2, 0, 1, 0)], 2)
    assert simulate(case, "compiled")[0].reordered == 0
    moving = case._replace(control=((1, "table", 0, 1),))
    for engine in ("compiled", "reference"):
        t, _ = simulate(moving, engine)
        assert t.log is not None
        assert (t.reordered, t.log.core.tolist(), t.log.departure.tolist()) == (1, [1, 3], [14, 8])
    together = moving._replace(packets=[(0, 0, 9, 0), (2, 0, 1, 6)])  # both leave at 14: neither is late
    for engine in ("compiled", "reference"):
        t, _ = simulate(together, engine)
        assert t.log is not None
        assert (t.reordered, t.log.departure.tolist()) == (0, [14, 14])


@given(cases(), st.integers(0, 2))
@SOME
def test_lanes_do_not_meet(case: Case, lane: int) -> None:
    """What happens on a lane is what happens there when the packets of the others never come."""
    case = case._replace(
        control=tuple(step for step in case.control if step[1] != "table"), reordering=False, lanes=3
    )
    arrivals = np.cumsum([gap for gap, *_ in case.packets]).tolist()
    mine = [case.table[flow % BUCKETS] == lane for _, flow, _, _ in case.packets]
    others, last = [], 0
    for arrival, (_, flow, service, frame) in compress(zip(arrivals, case.packets, strict=True), mine):
        others.append((arrival - last, flow, service, frame))
        last = arrival
    if not others:
        return
    alone = case._replace(packets=others)
    whole, part = simulate(case, "compiled")[0], simulate(alone, "compiled")[0]
    assert whole.log is not None
    assert part.log is not None
    for column in ("arrival", "core", "departure"):
        assert getattr(whole.log, column)[mine].tolist() == getattr(part.log, column).tolist()
    first = lane * case.spec.stages
    own = slice(first, first + case.spec.stages)
    for column in ("processed", "busy", "dropped"):
        assert getattr(whole.counters, column)[own].tolist() == getattr(part.counters, column)[own].tolist()


@given(cases(), st.data())
@SOME
def test_looking_changes_nothing(case: Case, data: st.DataObject) -> None:
    """The same however often control looks on, wherever chunks end."""
    acts, now, last = [], 0, 0
    for gap, what, where, much in case.control:
        now += gap
        if what != "read":
            acts.append((now - last, what, where, much))
            last = now
    calm = case._replace(control=tuple(acts), cut=data.draw(st.integers(1, len(case.packets))))
    one, other = outcome(case, "compiled"), outcome(calm, "compiled")
    seen = [row for row, step in zip(one.pop("seen"), case.control, strict=True) if step[1] != "read"]
    assert seen == other.pop("seen")
    assert one == other
