"""Pipelines of cores: what a stage does by hand, exact oracles, and queueing theory of tandems."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

import lbsim
from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.kernels import Machine
from lbsim.engine.pipeline import PipelineBank, ReferencePipeline, Spec, spec_of
from lbsim.engine.plane import CONTROL, QUEUE_FULL, RING_FULL, Clock, Counters, Plane, Tally
from lbsim.engine.reference import ReferencePlane
from lbsim.rng import stream
from lbsim.units import US
from lbsim.workload.packets import Packets

ENGINES = pytest.mark.parametrize("engine", ["compiled", "reference"])


def columns(arrivals: ArrayLike, services: ArrayLike, frames: ArrayLike = 100) -> Packets:
    """Packets of flow 0, 1, 2 ... by the first entry of the table."""
    time = np.asarray(arrivals, np.int64)
    n = len(time)
    frame, service = (
        np.broadcast_to(frames, n).astype(np.int32),
        np.broadcast_to(services, n).astype(np.int64),
    )
    return Packets(time, np.zeros(n, np.int32), np.arange(n, dtype=np.int32), frame, service)


def tandem(later: ArrayLike, flows: int, **spec: Any) -> Spec:
    """A pipeline by the work of its later stages, [stages - 1, flows] or [stages - 1] for all flows alike."""
    work = np.asarray(later, np.int64)
    work = np.broadcast_to(work[:, None], (len(work), flows)) if work.ndim == 1 else work
    stages = len(work) + 1
    usual: dict[str, Any] = {
        "capacity": 1 << 20,
        "poll": 0,
        "per_byte": [0] * stages,
        "latency": [0] * stages,
    }
    fixed = np.vstack([np.zeros((1, flows), np.int64), work])
    return spec_of(**{**usual, "fixed": fixed, "class_of": np.arange(flows), **spec})


def serve(
    packets: Packets, spec: Spec, engine: str = "compiled", stalls: tuple[tuple[int, int, int], ...] = (),
    looks: tuple[int, ...] = (), **machine: int,
) -> tuple[Tally, list[Counters]]:  # fmt: skip
    """Run packets down one lane; stalls are (when, core, length), looks instants to read counters at."""
    m = Machine(**{"ring": 1 << 20, "burst": 1, "per_batch": 0, "warmup": 0, "delay": 0, **machine})
    env, table, source = Clock(), np.zeros(1, np.int64), iter([packets])
    plane: Plane
    if engine == "reference":
        reference = ReferencePipeline(env, m, spec.stages, table, spec, True)
        plane = ReferencePlane(env, source, m, reference, log=True)
    else:
        plane = CompiledPlane(source, m, PipelineBank(m, spec.stages, table, spec, True), log=True)
    seen: list[Counters] = []

    def control() -> Any:
        for when, core, length in sorted([*stalls, *((when, -1, 0) for when in looks)]):
            yield env.wait(when - env.now, CONTROL)
            plane.sync(env.now)
            if core >= 0:
                plane.stall(core, env.now, length)
            else:
                seen.append(plane.counters(env.now))

    env.process(control())
    env.run()
    return plane.finish(), seen


def ran(*args: Any, **options: Any) -> tuple[list[int], list[int]]:
    """Return the departure and the core of each packet."""
    log = serve(*args, **options)[0].log
    assert log is not None
    return log.departure.tolist(), log.core.tolist()


# --- By hand -------------------------------------------------------------------------------------------


@ENGINES
def test_what_a_packet_pays_on_its_way(engine: str) -> None:
    # Poll 2 + service 10, hop 4; poll 3 + 20 + 100 bytes; hop 0; poll 3 + 30.
    spec = tandem([20, 30], 1, poll=3, per_byte=[7, 1, 0], latency=[4, 0, 0])
    t, _ = serve(columns([5], 10), spec, engine, per_batch=2, delay=1000)
    assert t.log is not None
    assert (t.log.departure[0], t.log.core[0], t.end) == (5 + 12 + 4 + 123 + 33, 2, 177)
    assert t.counters.busy.tolist() == [12, 123, 33]
    assert t.counters.processed.tolist() == [1, 1, 1]
    assert t.latency.total == 172 + 1000
    assert (t.counters.polled.tolist(), t.counted) == ([1], {"hand_overs": 2})


@ENGINES
def test_a_batch_is_handed_over_as_one(engine: str) -> None:
    # 0 alone is done at 10; then 1, 2 and 3 as a batch, at 40, whose poll at the second stage costs 5 once.
    spec = tandem([1], 4, poll=5)
    assert ran(columns([0, 1, 2, 3], 10), spec, engine, burst=32)[0] == [16, 48, 48, 48]
    # A hop later the second core polls 0 at 17; 1 and 2 come at 37, 3 at 47: it polls them at 42 and at 87.
    spec = tandem([20], 4, poll=5, latency=[7, 0])
    assert ran(columns([0, 1, 2, 3], 10), spec, engine, burst=2)[0] == [17 + 25, 42 + 45, 42 + 45, 87 + 25]


@ENGINES
def test_batches_that_cost_nothing_come_one_by_one_at_one_instant(engine: str) -> None:
    # Both are handed over at 5, one behind the other: the second stage is at work when the second comes.
    for latency in (0, 3):
        spec = tandem([2], 3, poll=1, latency=[latency, 0])
        packets = columns([0, 1, 2], [5, 0, 0])
        assert ran(packets, spec, engine)[0] == [latency + k for k in (8, 11, 14)]
        assert ran(packets, spec, engine, burst=32)[0] == [latency + k for k in (8, 13, 13)]


@ENGINES
def test_a_full_ring_drops_what_is_handed_over(engine: str) -> None:
    # Two places at the second core, 10 of work each: at 3 both are taken; at 11 the first is free again.
    spec = tandem([10], 4, capacity=2)
    t, _ = serve(columns([0, 1, 2, 10], 1, 60), spec, engine)
    assert t.log is not None
    assert (t.log.departure.tolist(), t.log.core.tolist()) == ([11, 21, -1, 31], [1, 1, 1, 1])
    assert (t.drops, t.dropped_bytes) == ({RING_FULL: 0, QUEUE_FULL: 1}, 60)
    assert t.counters.dropped.tolist() == [0, 1]
    assert (t.counters.processed.tolist(), t.counted) == ([4, 3], {"hand_overs": 3})


@ENGINES
def test_a_batch_larger_than_the_next_ring_is_cut(engine: str) -> None:
    spec = tandem([1], 4, capacity=2)
    assert ran(columns([0, 1, 1, 1], 10), spec, engine, burst=32) == ([11, 42, 42, -1], [1] * 4)


@ENGINES
def test_the_first_ring_drops_for_a_cause_of_its_own(engine: str) -> None:
    t, _ = serve(columns([0, 0, 0], 10), tandem([1], 3, capacity=1), engine, ring=2)
    assert t.log is not None
    assert (t.log.departure.tolist(), t.log.core.tolist()) == ([11, 21, -1], [1, 1, 0])
    assert (t.drops, t.counters.dropped.tolist()) == ({RING_FULL: 1, QUEUE_FULL: 0}, [1, 0])


@ENGINES
@pytest.mark.parametrize("latency", [0, 5])
def test_at_one_instant_a_core_departs_before_it_is_handed_more(engine: str, latency: int) -> None:
    # One place at each core, all work 10: at every step the place is freed just before it is taken.
    spec = tandem([10, 10], 3, capacity=1, latency=[latency, latency, 0])
    arrivals = columns([0, 10, 20], 10)
    assert ran(arrivals, spec, engine, ring=1)[0] == [30 + 2 * latency + k for k in (0, 10, 20)]


@ENGINES
def test_a_class_that_is_dropped_goes_no_further(engine: str) -> None:
    # Flow 0 passes all three stages, 1 leaves after the first, 2 after the second; all are delivered.
    spec = tandem([[5, -1, 5], [5, 5, -1]], 3)
    t, _ = serve(columns([0, 0, 0], 10), spec, engine, burst=32)
    assert t.log is not None
    assert (t.log.departure.tolist(), t.log.core.tolist()) == ([20, 30, 35], [2, 0, 1])
    assert (sum(t.drops.values()), t.counters.processed.tolist()) == (0, [3, 2, 1])
    assert t.counted == {"hand_overs": 3}


@ENGINES
def test_a_packet_on_its_way_occupies_no_ring(engine: str) -> None:
    spec = tandem([10], 1, latency=[10, 0])
    _, seen = serve(columns([0], 10), spec, engine, looks=(1, 10, 19, 20, 25, 30))
    assert [c.occupancy.tolist() for c in seen] == [[1, 0], [0, 0], [0, 0], [0, 1], [0, 1], [0, 0]]
    assert [c.processed.tolist() for c in seen] == [[0, 0], [1, 0], [1, 0], [1, 0], [1, 0], [1, 1]]
    assert [c.busy.tolist() for c in seen] == [[1, 0], [10, 0], [10, 0], [10, 0], [10, 5], [10, 10]]


@ENGINES
def test_stalls(engine: str) -> None:
    spec, two = tandem([10], 2, latency=[10, 0]), columns([0, 1], 10)
    assert ran(two, spec, engine)[0] == [30, 40]
    assert ran(two, spec, engine, stalls=((5, 0, 7),))[0] == [37, 47]  # at work: all later
    assert ran(two, spec, engine, stalls=((15, 1, 3),))[0] == [30, 40]  # idle, over before anything comes
    assert ran(two, spec, engine, stalls=((15, 1, 9),))[0] == [34, 44]  # idle, until after something comes
    assert ran(two, spec, engine, stalls=((15, 1, 20),), burst=2)[0] == [55, 55]  # polls both at 35


# --- Exact oracles -------------------------------------------------------------------------------------

WORKS = st.integers(0, 20)


@ENGINES
@given(
    st.integers(1, 4).flatmap(
        lambda stages: st.lists(
            st.tuples(WORKS, st.lists(WORKS, min_size=stages, max_size=stages)), min_size=1, max_size=40
        )
    ),
    st.integers(0, 9),
)
def test_tandem_of_lindley(engine: str, packets: list[tuple[int, list[int]]], latency: int) -> None:
    arrivals, work = np.cumsum([gap for gap, _ in packets]), np.array([services for _, services in packets])
    stages = work.shape[1]
    ways = [latency] * (stages - 1) + [0]
    expected = arrivals.tolist()
    for k in range(stages):  # each stage: begins at arrival or when the one before has left
        free = 0
        for i in range(len(expected)):
            free = max(expected[i], free) + int(work[i, k])
            expected[i] = free + ways[k]
    spec = tandem(work[:, 1:].T.reshape(stages - 1, len(packets)), len(packets), latency=ways)
    assert ran(columns(arrivals, work[:, 0]), spec, engine)[0] == expected


@ENGINES
def test_d_d_1_in_tandem(engine: str) -> None:
    under, _ = serve(columns(range(0, 1000, 10), 7), tandem([9, 3], 100), engine)
    assert (under.latency.low, under.latency.high, under.latency.mean) == (19, 19, 19.0)
    over, _ = ran(columns(range(0, 700, 7), 6), tandem([10, 8], 100), engine)
    assert over == [6 + 10 * (k + 1) + 8 for k in range(100)]


def gaps(t: Tally) -> set[int]:
    """Gaps between departures, once the pipeline has filled up and before it empties."""
    assert t.log is not None
    out = np.sort(t.log.departure[t.log.departure >= 0])
    return set(np.diff(out[len(out) // 4 : len(out) // 2]).tolist())


@ENGINES
@pytest.mark.parametrize("capacity", [2, 1 << 20])
@pytest.mark.parametrize("works", list(permutations((5, 8, 13))))
def test_the_slowest_stage_sets_the_throughput(engine: str, capacity: int, works: tuple[int, ...]) -> None:
    # A packet every ps: whatever the order, the slowest core is never without work again.
    packets = columns(range(1000), works[0])
    t, _ = serve(packets, tandem(works[1:], 1000, capacity=capacity), engine, ring=2)
    assert gaps(t) == {13}
    t, _ = serve(packets, tandem(works[1:], 1000), engine)
    assert t.log is not None
    assert t.log.departure[-1] == sum(works) + 999 * 13  # nothing is lost


@ENGINES
@pytest.mark.parametrize(("first", "gap"), [(5, 15), (12, 24), (13, 13), (20, 20)])
def test_a_core_whose_ring_holds_one_packet_waits_for_the_next_to_be_handed_over(
    engine: str, first: int, gap: int
) -> None:
    t, _ = serve(columns(range(1000), first), tandem([13], 1000, capacity=1), engine, ring=2)
    assert gaps(t) == {gap}


@given(st.lists(st.tuples(WORKS, WORKS), min_size=1, max_size=40), st.permutations([3, 5, 0, 11]))
def test_the_order_of_constant_stages_does_not_matter(data: list[tuple[int, int]], works: list[int]) -> None:
    """Friedman, "Reduction methods for tandem queuing systems", Operations Research 13, 1965."""
    arrivals, n = np.cumsum([gap for gap, _ in data]), len(data)
    ordered = sorted(works)
    one = ran(columns(arrivals, works[0]), tandem(works[1:], n))[0]
    other = ran(columns(arrivals, ordered[0]), tandem(ordered[1:], n))[0]
    assert one == other


@given(
    st.lists(st.tuples(WORKS, WORKS), min_size=1, max_size=40), st.integers(1, 8), st.integers(0, 5),
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
)  # fmt: skip
def test_stages_that_cost_nothing_only_delay(
    data: list[tuple[int, int]], burst: int, per_batch: int, ways: list[int]
) -> None:
    packets = columns(np.cumsum([gap for gap, _ in data]), [service for _, service in data])
    machine = {"ring": 5, "burst": burst, "per_batch": per_batch}
    alone = ran(packets, tandem(np.empty((0, len(data))), len(data)), **machine)[0]
    spec = tandem([0] * len(ways), len(data), capacity=burst, latency=[*ways, 0])
    delayed = ran(packets, spec, **machine)[0]
    assert delayed == [-1 if d < 0 else d + sum(ways) for d in alone]


# --- Queueing theory -----------------------------------------------------------------------------------

GAP = 1 * US
LOADS = (0.7, 0.5, 0.8)
REPLICATIONS = 10


@pytest.fixture(scope="module")
def jackson() -> list[Tally]:
    """Independent replications of three exponential servers in tandem with Poisson arrivals."""
    runs, n = [], 200_000
    for r in range(REPLICATIONS):
        rng = stream(7, "service", r)
        work = np.array([rng.exponential(load * GAP, n) for load in LOADS]).astype(np.int64)
        arrivals = np.cumsum(rng.exponential(GAP, n)).astype(np.int64)
        spec = tandem(work[1:], n)
        runs.append(serve(columns(arrivals, work[0]), spec, warmup=int(arrivals[n // 20]))[0])
    return runs


def within(samples: list[float], theory: float) -> None:
    """The 99.9 % interval of the replications holds the theory's value, and is tight enough to say so."""
    interval = lbsim.mean_interval(samples, level=0.999)
    assert interval.low <= theory <= interval.high, f"{interval} does not hold {theory}"
    assert interval.high - interval.low < 0.1 * theory


def test_jackson(jackson: list[Tally]) -> None:
    # By Burke's theorem each stage is an M/M/1 queue of its own: sojourns add up, also in their variance.
    sojourns = np.array([load * GAP / (1 - load) for load in LOADS])
    within([t.latency.mean for t in jackson], sojourns.sum())
    for k, load in enumerate(LOADS):
        within([float(t.counters.busy[k] / t.end) for t in jackson], load)


def test_jackson_tail(jackson: list[Tally]) -> None:
    # The sum of independent exponential sojourns of different means: P(T > t) = sum of a_k exp(-t / s_k).
    means = [load * GAP / (1 - load) for load in LOADS]
    late = 10.0 * GAP

    def share(k: int) -> float:
        others = [mean for mean in means if mean != means[k]]
        return float(np.prod([means[k] / (means[k] - mean) for mean in others]))

    theory = sum(share(k) * np.exp(-late / mean) for k, mean in enumerate(means))
    beyond = []
    for t in jackson:
        assert t.log is not None
        sojourn = (t.log.departure - t.log.arrival)[len(t.log.arrival) // 20 :]
        beyond.append(float((sojourn > late).mean()))
    within(beyond, theory)


# --- What makes no sense -------------------------------------------------------------------------------

SENSE: dict[str, Any] = {
    "capacity": 1, "poll": 0, "fixed": [[0, 0], [1, -1]], "per_byte": [0, 0], "latency": [3, 0],
    "class_of": [0, 1, 1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("capacity", 0, "capacity: 0 packets; a ring holds at least 1"),
        ("poll", -1, "poll: -1 ps is below 0"),
        ("fixed", [1, 2], r"fixed: shape \(2,\) is not \[stages, classes\]"),
        ("fixed", np.empty((0, 2), int), r"fixed: shape \(0, 2\)"),
        ("fixed", [[0.5], [1.5]], "fixed: float64 are not whole numbers; round them"),
        ("per_byte", [0], r"per_byte: shape \(1,\) for 2 stages; give one value for each"),
        ("per_byte", [0, -2], "per_byte: -2 ps is below 0"),
        ("latency", [3, 0, 0], r"latency: shape \(3,\) for 2 stages"),
        ("latency", [-1, 0], "latency: -1 ps is below 0"),
        ("latency", [3, 4], "latency: 4 ps behind the last stage, where packets depart; give 0 there"),
        ("class_of", [0, 2], r"class_of: 0 \.\. 2; there are classes 0 \.\. 1"),
        ("class_of", [-1, 1], r"class_of: -1 \.\. 1"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(field: str, value: Any, says: str) -> None:
    assert spec_of(**SENSE).stages == 2
    with pytest.raises(ValueError, match=says):
        spec_of(**{**SENSE, field: value})


@ENGINES
def test_a_table_must_name_first_cores_of_whole_lanes(engine: str) -> None:
    machine, spec = Machine(1, 1, 0, 0, 0), spec_of(**SENSE)

    def bank(cores: int, *table: int) -> Any:
        entries = np.array(table, np.int64)
        if engine == "reference":
            return ReferencePipeline(Clock(), machine, cores, entries, spec, False)
        return PipelineBank(machine, cores, entries, spec, False)

    bank(4, 0, 2)
    with pytest.raises(ValueError, match="cores: 3 make no whole lanes of 2 stages"):
        bank(3, 0)
    for wrong in (1, 4, -2):
        with pytest.raises(ValueError, match="table: it names a core that is not the first of a lane"):
            bank(4, 0, wrong)
