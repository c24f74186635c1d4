"""Software dispatch: two engines of equal bits, each discipline by hand, and what must always hold."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import CONTROL, QUEUE_FULL, RING_FULL, Clock, Plane, Tally
from lbsim.engine.reference import ReferencePlane
from lbsim.engine.software import ReferenceSoftware, SoftwareBank, Spec, spec_of
from lbsim.engine.software.state import ROUND_ROBIN, SHARED, STATEFUL_LOAD, STATEFUL_RR
from lbsim.scenario import Cost, Fixed, Flows, Nic, Poisson, Rate, Rss, Scenario, Server, Work
from lbsim.scenario.dispatch import Software
from lbsim.workload.packets import Packets

ENGINES = ("compiled", "reference")
FLOWS = 8


class Case(NamedTuple):
    machine: Machine
    workers: int
    spec: Spec
    packets: list[tuple[int, int, int, int]]  # gap, flow, service, frame
    cut: int = 1  # packets in the first chunk
    control: tuple[tuple[int, str, int, int], ...] = ()  # gap, what, where, how long
    reordering: bool = True


@st.composite
def cases(draw: st.DrawFn, disciplines: tuple[int, ...] = (0, 1, 2, 3), free: bool = False) -> Case:
    """Small numbers on purpose: ties, zero gaps, zero costs, full queues and one worker are common.

    `free` leaves out what makes queues differ from a textbook's: full queues, and what costs beside service.
    """
    small = st.just(0) if free else st.sampled_from((0, 0, 1, 2, 5))
    machine = Machine(
        ring=64 if free else draw(st.sampled_from((1, 2, 3, 5, 64))),
        burst=1 if free else draw(st.sampled_from((1, 2, 3, 32))),
        per_batch=draw(small),
        warmup=draw(st.sampled_from((0, 0, 7))),
        delay=draw(st.sampled_from((0, 3))),
        interval=draw(st.sampled_from((0, 0, 10))),
    )
    capacity = 64 if free else draw(st.sampled_from((1, 2, 3, 5, 64)))
    spec = Spec(draw(st.sampled_from(disciplines)), capacity, *(draw(small) for _ in range(4)))
    short = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 5, 9))
    packet = st.tuples(short, st.integers(0, FLOWS - 1), short, st.integers(60, 1514))
    packets = draw(st.lists(packet, min_size=1, max_size=60))
    step = st.tuples(short, st.sampled_from(("read", "stall")), st.integers(0, 4), st.integers(0, 9))
    control = () if free else tuple(draw(st.lists(step, max_size=12)))
    return Case(
        machine, draw(st.integers(1, 4)), spec, packets, draw(st.integers(1, len(packets))), control,
        draw(st.booleans()),
    )  # fmt: skip


def columns(case: Case) -> list[Packets]:
    """The case's packets as two chunks."""
    gap, flow, service, frame = np.array(case.packets, np.int64).T
    whole = Packets(
        np.cumsum(gap), np.zeros(len(gap), np.int32), flow.astype(np.int32), frame.astype(np.int32),
        service.copy(),
    )  # fmt: skip
    parts = (whole.part(0, case.cut), whole.part(case.cut, len(gap)))
    return [part for part in parts if len(part.time)]


def simulate(case: Case, engine: str) -> tuple[Tally, list[Any]]:
    """Run a case; return what was counted, and what control read."""
    env = Clock()
    options: Any = {"intervals": 20 if case.machine.interval else 0, "log": True}
    m, n, spec, order = case.machine, case.workers, case.spec, case.reordering
    plane: Plane
    if engine == "reference":
        bank = ReferenceSoftware(env, m, n, spec, order)
        plane = ReferencePlane(env, iter(columns(case)), m, bank, **options)
    else:
        plane = CompiledPlane(iter(columns(case)), m, SoftwareBank(m, n, spec, FLOWS, order), **options)
    seen: list[Any] = []

    def control() -> Any:
        for gap, what, where, length in case.control:
            yield env.wait(gap, CONTROL)
            plane.sync(env.now)
            if what == "stall":
                plane.stall(where % (n + 1), env.now, length)
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
        "counted": (t.offered, t.offered_bytes, t.drops, t.dropped_bytes, t.reordered, t.end),
        "latency": (t.latency.total, t.latency.low, t.latency.high),
        "bins": [np.flatnonzero(t.latency.counts).tolist(), *map(np.ndarray.tolist, np.nonzero(t.latencies))],
        "counters": [column.tolist() for column in t.counters],
    }


SOME = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(cases())
@SOME
def test_the_engines_agree(case: Case) -> None:
    assert outcome(case, "compiled") == outcome(case, "reference")


@pytest.mark.slow
@given(cases())
@MANY
def test_the_engines_agree_on_thousands_of_cases(case: Case) -> None:
    assert outcome(case, "compiled") == outcome(case, "reference")


@given(cases())
@SOME
def test_no_packet_is_lost_or_served_twice(case: Case) -> None:
    t, _ = simulate(case, "compiled")
    assert t.log is not None
    departed = t.log.departure >= 0
    refused = Counter(t.log.core[~departed].tolist())
    n, c = case.workers, t.counters
    assert c.occupancy.tolist() == [0] * (n + 1)
    assert c.processed[:n].tolist() == [int((t.log.core[departed] == w).sum()) for w in range(n)]
    assert c.dropped.tolist() == [refused[w] for w in range(n + 1)]
    measured = t.log.arrival >= case.machine.warmup
    assert t.offered == measured.sum()
    assert sum(t.drops.values()) == (measured & ~departed).sum()
    assert t.latency.count == (measured & departed).sum()
    if case.spec.discipline != SHARED:  # there, what a full queue refused counts at the dispatcher too
        assert c.processed[n] == len(case.packets) - c.dropped[n]


@given(cases((STATEFUL_RR, STATEFUL_LOAD)))
@SOME
def test_a_flow_that_keeps_its_worker_keeps_its_order(case: Case) -> None:
    t, _ = simulate(case._replace(reordering=True), "compiled")
    assert t.reordered == 0
    assert t.log is not None
    for flow in range(FLOWS):
        served = (t.log.flow == flow) & (t.log.core < case.workers)
        assert len(set(t.log.core[served].tolist())) <= 1


@given(cases((STATEFUL_RR,)))
@SOME
def test_as_flows_never_expire_the_fewest_flows_are_those_of_the_next_in_turn(case: Case) -> None:
    by_load = case._replace(spec=case.spec._replace(discipline=STATEFUL_LOAD))
    assert outcome(by_load, "compiled") == outcome(case, "compiled")


@given(cases((SHARED,), free=True))
@SOME
def test_a_shared_queue_is_the_textbook_queue_of_many_servers(case: Case) -> None:
    t, _ = simulate(case, "compiled")
    assert t.log is not None
    free = [0] * case.workers
    expected = []
    for arrival, (_, _, service, _) in zip(t.log.arrival.tolist(), case.packets, strict=True):
        begin = max(arrival, heapq.heappop(free))
        expected.append(begin + service)
        heapq.heappush(free, begin + service)
    assert t.log.departure.tolist() == expected


@given(cases((ROUND_ROBIN,), free=True))
@SOME
def test_turns_are_dealt_to_queues_of_one_server_each(case: Case) -> None:
    t, _ = simulate(case, "compiled")
    assert t.log is not None
    free = [0] * case.workers
    for k, (_, _, service, _) in enumerate(case.packets):
        w = k % case.workers
        free[w] = max(int(t.log.arrival[k]), free[w]) + service
        assert (t.log.core[k], t.log.departure[k]) == (w, free[w])


def hand(spec: Spec, packets: list[tuple[int, int, int]], **machine: Any) -> Case:
    """A case to compute by hand: packets are (gap, flow, service), two workers unless told."""
    workers = machine.pop("workers", 2)
    control = machine.pop("control", ())
    m = Machine(**{"ring": 64, "burst": 32, "per_batch": 0, "warmup": 0, "delay": 0, **machine})
    return Case(m, workers, spec, [(*packet, 100) for packet in packets], control=control)


def ran(case: Case, engine: str) -> tuple[list[int], list[int], Tally]:
    """Return cores and departures of all packets, and the tally."""
    t, _ = simulate(case, engine)
    assert t.log is not None
    return t.log.core.tolist(), t.log.departure.tolist(), t


FREE = Spec(ROUND_ROBIN, 64, 0, 0, 0, 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_dispatcher_and_a_queue_cost(engine: str) -> None:
    # One packet: poll 3 + packet 5, then the worker's poll 7 + service 11 + hand-over 2.
    spec = FREE._replace(per_batch=3, per_packet=5, hand_over=2)
    cores, departures, t = ran(hand(spec, [(0, 0, 11)], per_batch=7), engine)
    assert (cores, departures) == ([0], [8 + 20])
    assert t.counters.busy.tolist() == [20, 0, 8]
    assert t.counters.processed.tolist() == [1, 0, 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_dispatcher_hands_over_a_whole_batch_at_its_end(engine: str) -> None:
    # At 0 the first packet alone, handed over at 5; then the three that have come meanwhile, at 20.
    spec = FREE._replace(per_packet=5)
    cores, departures, _ = ran(hand(spec, [(0, 0, 1), (1, 0, 1), (1, 0, 1), (1, 0, 1)]), engine)
    assert cores == [0, 1, 0, 1]
    assert departures == [6, 20 + 2, 20 + 1, 20 + 2]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("discipline", "cores"),
    [
        (ROUND_ROBIN, [0, 1, 2, 0, 1, 2, 0, 1]),
        (STATEFUL_RR, [0, 0, 1, 2, 0, 1, 1, 1]),  # flows 5, 6, 7, 4, 3 in turn; packets stay with their flow
        (STATEFUL_LOAD, [0, 0, 1, 2, 0, 1, 1, 1]),
    ],
)
def test_who_gets_a_packet(engine: str, discipline: int, cores: list[int]) -> None:
    flows = (5, 5, 6, 7, 4, 6, 3, 3)
    spec = FREE._replace(discipline=discipline)
    case = hand(spec, [(1, flow, 3) for flow in flows], workers=3)
    assert ran(case, engine)[0] == cores


@pytest.mark.parametrize("engine", ENGINES)
def test_a_flow_keeps_its_worker_though_its_first_packet_was_dropped(engine: str) -> None:
    # Flow 2's first packet finds worker 0 full with flow 0's; its second comes back there.
    spec = Spec(STATEFUL_RR, 1, 0, 0, 0, 0)
    packets = [(0, 0, 9), (0, 1, 9), (0, 2, 9), (20, 2, 9), (0, 3, 9)]
    cores, departures, t = ran(hand(spec, packets), engine)
    assert (cores, departures) == ([0, 1, 0, 0, 1], [9, 9, -1, 29, 29])
    assert t.drops == {RING_FULL: 0, QUEUE_FULL: 1}
    assert t.counters.dropped.tolist() == [1, 0, 0]
    assert t.dropped_bytes == 100


@pytest.mark.parametrize("engine", ENGINES)
def test_a_packet_holds_its_place_until_it_departs(engine: str) -> None:
    # Two places in all: at 1 one packet is in service and one waits; at 5 both depart one after the other.
    full = [(0, 0, 5), (1, 0, 5), (1, 0, 5), (3, 0, 5)]
    for discipline, dropped_at in ((ROUND_ROBIN, 0), (SHARED, 1)):
        case = hand(Spec(discipline, 2, 0, 0, 0, 0), full, workers=1, burst=1)
        cores, departures, t = ran(case, engine)
        assert (cores, departures) == ([0, 0, dropped_at, 0], [5, 10, -1, 15])
        assert t.counters.dropped.tolist() == [1 - dropped_at, dropped_at]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_ring_drops_at_the_dispatcher(engine: str) -> None:
    case = hand(FREE._replace(per_packet=5), [(0, 0, 1)] * 3, ring=2, burst=1)
    cores, departures, t = ran(case, engine)
    assert (cores, departures) == ([0, 1, 2], [6, 11, -1])
    assert t.drops == {RING_FULL: 1, QUEUE_FULL: 0}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_worker_that_polls_in_vain_slows_the_dispatcher(engine: str) -> None:
    # With no batch before, the three that are idle now: 10 + 3 x 2. In 0..16 all three were: the same again.
    spec = FREE._replace(per_packet=10, contention=2)
    case = hand(spec, [(0, 0, 100), (50, 0, 1)], workers=3)
    assert ran(case, engine)[1] == [16 + 100, 50 + 16 + 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_how_many_polled_in_vain_is_an_average_over_the_last_batch(engine: str) -> None:
    # 0..16: three idle. 16..32: worker 0 is at work until 20, so 2 and 12 / 16 idle: 10 + 44 x 2 // 16 = 15.
    # 32..47: worker 1 until 42, worker 0 idle: 10 of 15 two, then three: 10 + 35 x 2 // 15 = 14.
    spec = FREE._replace(per_packet=10, contention=2)
    case = hand(spec, [(0, 0, 4), (1, 0, 10), (20, 0, 5), (15, 0, 1)], workers=3)
    assert ran(case, engine)[1] == [20, 42, 47 + 5, 47 + 14 + 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_where_dispatching_takes_no_time_those_count_that_poll_in_vain_now(engine: str) -> None:
    # Three stalled workers make the first batch free; at its end one begins to work and two idle on at 5.
    stalls = tuple((0, "stall", w, 3) for w in range(3))
    case = hand(FREE._replace(contention=2), [(1, 0, 9), (5, 0, 1)], workers=3, control=stalls)
    assert ran(case, engine)[1] == [3 + 9, 6 + 4 + 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stalled_worker_does_not_poll_in_vain(engine: str) -> None:
    spec = FREE._replace(per_packet=10, contention=2)
    case = hand(spec, [(5, 0, 1)], workers=3, control=((1, "stall", 2, 9),))
    assert ran(case, engine)[1] == [5 + 14 + 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stall_of_the_idle_dispatcher_is_a_batch_of_nothing(engine: str) -> None:
    # It is held in 1..11, while worker 0 is held in 1..6: 25 / 10 polled in vain; 10 + 25 x 2 // 10 = 15.
    spec = FREE._replace(per_packet=10, contention=2)
    case = hand(spec, [(5, 0, 1)], workers=3, control=((1, "stall", 3, 10), (0, "stall", 0, 5)))
    assert ran(case, engine)[1] == [11 + 15 + 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_other_workers_slow_each_packet_of_a_shared_queue(engine: str) -> None:
    # Two others: 1 + 2 x 4 on each packet.
    spec = Spec(SHARED, 64, 0, 10, 0, 4)
    case = hand(spec, [(0, 0, 1), (1, 0, 1), (0, 0, 1)], workers=3)
    first = 10 + 3 * 4
    second = first + 2 * (10 + 3 * 4)  # all three polled in vain during the first batch
    assert ran(case, engine)[1] == [first + 9, second + 18, second + 18]


@pytest.mark.parametrize("engine", ENGINES)
def test_of_the_idle_workers_the_longest_idle_polls_first(engine: str) -> None:
    # Workers 0, 1, 2 depart at 9, 5 and 7; the next packets go to 1, 2, 0.
    spec = FREE._replace(discipline=SHARED)
    packets = [(0, 0, 9), (0, 0, 5), (0, 0, 7), (20, 0, 9), (1, 0, 9), (1, 0, 9)]
    assert ran(hand(spec, packets, workers=3), engine)[0] == [0, 1, 2, 1, 2, 0]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shared_queue_is_taken_a_burst_at_a_time(engine: str) -> None:
    # One slow batch of five packets: two workers take two each, the fifth waits for whoever departs first.
    spec = Spec(SHARED, 64, 0, 10, 0, 0)
    packets = [(0, 0, 1), *[(1, 0, k) for k in (1, 1, 3, 3, 1)]]
    cores, departures, _ = ran(hand(spec, packets, workers=2, burst=8), engine)
    assert departures == [11, *[60 + 9] * 5]
    assert len(set(cores[1:])) == 1
    cores, departures, _ = ran(hand(spec._replace(per_packet=1), [(0, 0, 1)] * 5, burst=2), engine)
    assert departures == [2, 3 + 2, 3 + 2, 5 + 2, 5 + 2]
    assert cores == [0, 1, 1, 0, 0]


@pytest.mark.parametrize("engine", ENGINES)
def test_stalls_hold_the_dispatcher_and_workers(engine: str) -> None:
    # The dispatcher, idle, sits out 1..11; then polls both packets and hands them over at 21.
    spec = FREE._replace(per_packet=5)
    case = hand(spec, [(5, 0, 1), (1, 0, 1)], control=((1, "stall", 2, 10),))
    assert ran(case, engine)[1] == [22, 22]
    # At work since 5, it is held up for 10; worker 1 is held until 40.
    case = hand(spec, [(5, 0, 1), (9, 0, 1)], control=((7, "stall", 2, 10), (11, "stall", 1, 22)))
    assert ran(case, engine)[1] == [21, 40 + 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_at_one_instant_workers_depart_before_the_dispatcher_hands_over(engine: str) -> None:
    # At 10 the only place is freed by the departure just before the second packet is put there.
    case = hand(Spec(ROUND_ROBIN, 1, 0, 5, 0, 0), [(0, 0, 5), (0, 0, 5)], workers=1, burst=1)
    assert ran(case, engine)[1] == [10, 15]


@pytest.mark.parametrize("engine", ENGINES)
def test_packets_dealt_in_turn_overtake_each_other(engine: str) -> None:
    case = hand(FREE, [(0, 0, 9), (0, 0, 1), (0, 1, 1), (0, 1, 1)])
    _, departures, t = ran(case, engine)
    assert departures == [9, 1, 10, 2]
    assert t.reordered == 2
    late = case._replace(machine=case.machine._replace(warmup=1))
    assert ran(late, engine)[2].reordered == 0
    assert ran(case._replace(reordering=False), engine)[2].reordered == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_what_waits_on_a_shared_queue_is_held_by_the_dispatcher(engine: str) -> None:
    packets = [(0, 0, 50)] * 5
    for discipline, held in ((ROUND_ROBIN, [3, 2, 0]), (SHARED, [1, 1, 3])):
        case = hand(FREE._replace(discipline=discipline), packets, burst=1, control=((10, "read", 0, 0),))
        assert simulate(case, engine)[1][0][4] == held


def scenario(dispatch: Rss | Software) -> Scenario:
    return Scenario(
        duration=10**9,
        traffic=Flows(flows=4),
        arrivals=Poisson(rate=Rate.parse("1Mpps")),
        nic=Nic(dispatch=dispatch),
        server=Server(cores=2, clock=2e9, cost=Cost(work=Fixed(time=Work(1)))),
    )


def test_the_spec_of_a_scenario_is_in_picoseconds() -> None:
    codes = (SHARED, ROUND_ROBIN, STATEFUL_RR, STATEFUL_LOAD)
    for name, code in zip(("shared", "round_robin", "stateful_rr", "stateful_load"), codes, strict=True):
        dispatch = Software.model_validate(
            {"queues": name, "capacity": 7, "per_batch": "4cycles", "per_packet": "5ns", "hand_over": "6ns",
             "contention": "8ps"}
        )  # fmt: skip
        assert spec_of(scenario(dispatch)) == Spec(code, 7, 2000, 5000, 6000, 8)
    with pytest.raises(TypeError, match=r"kind 'rss' .* give 'software'"):
        spec_of(scenario(Rss()))
