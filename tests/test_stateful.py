"""Stateful cores: each rule by hand, and two engines that agree on every bit."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import CONTROL, NOT_OWNER, RING_FULL, Clock, Plane
from lbsim.engine.reference import Packet, ReferencePlane
from lbsim.engine.rings import PolledRings
from lbsim.engine.stateful import MARK, NONE, WATCH, Sharing, StatefulBank, StatefulReference, spec_of
from lbsim.scenario.machine import PerBucket, Server, Shared
from lbsim.workload.packets import Packets

BUCKETS, FLOWS = 4, 8


class Case(NamedTuple):
    machine: Machine
    sharing: Sharing
    table: list[int]
    packets: list[tuple[int, int, int, int]]  # arrival, bucket, flow, service
    control: list[tuple[int, str, int, int]]  # time, what, where, how much
    cores: int
    cut: int  # packets in the first chunk


def columns(case: Case) -> list[Packets]:
    """The case's packets as two chunks; frames tell them apart."""
    time, bucket, flow, service = np.array(case.packets, np.int64).T.copy()
    frame = np.arange(60, 60 + len(time), dtype=np.int32)
    whole = Packets(time, bucket.astype(np.int32), flow.astype(np.int32), frame, service)
    parts = (whole.part(0, case.cut), whole.part(case.cut, len(time)))
    return [part for part in parts if len(part.time)]


def outcome(
    case: Case, engine: str, bank_type: type[StatefulReference] = StatefulReference
) -> dict[str, Any]:
    """Everything observable of a run, as plain values."""
    env = Clock()
    table = np.array(case.table, np.int64)
    bank: Any
    plane: Plane
    if engine == "reference":
        bank = bank_type(env, case.machine, case.cores, table, case.sharing, FLOWS, True)
        plane = ReferencePlane(env, iter(columns(case)), case.machine, bank, log=True)
    else:
        bank = PolledRings(case.machine, case.cores, table)
        if engine == "compiled":
            bank = StatefulBank(case.machine, case.cores, table, case.sharing, FLOWS, True)
        plane = CompiledPlane(iter(columns(case)), case.machine, bank, log=True)
    seen: list[Any] = []

    def control() -> Any:
        for when, what, where, much in case.control:
            yield env.wait(when - env.now, CONTROL)
            plane.sync(env.now)
            if what == "read":
                c = plane.counters(env.now)
                seen.append((env.now, *(column.tolist() for column in c)))
            elif what == "stall":
                plane.stall(where % case.cores, env.now, much)
            else:
                transit = plane.in_transit()
                seen.append(None if transit is None else transit.tolist())
                if what != "move" or transit is None or not transit[where]:
                    table[where] = much % case.cores
                if what != "forget":
                    plane.moved(env.now)

    env.process(control())
    env.run()
    t = plane.finish()
    assert t.log is not None
    truth = {
        "core": t.log.core.tolist(),
        "departure": t.log.departure.tolist(),
        "seen": seen,
        "offered": (t.offered, t.offered_bytes),
        "drops": t.drops,
        "dropped_bytes": t.dropped_bytes,
        "latency": (t.latency.total, t.latency.high, np.flatnonzero(t.latency.counts).tolist()),
        "end": t.end,
        "counters": [column.tolist() for column in t.counters],
    }
    if engine != "rings":
        truth |= {
            "reordered": t.reordered,
            **bank.counted(),
            "in transit": None if (flags := bank.in_transit()) is None else flags.tolist(),
        }
    return truth


SMALL = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 5, 9))
WORK = st.sampled_from((0, 0, 1, 2, 5, 9, 30))  # more than the gaps: packets queue up
PROTOCOLS = st.sampled_from([Sharing(protocol, slow) for protocol in (WATCH, MARK) for slow in (False, True)])
LOCKS = st.sampled_from([Sharing(contention=c, lock=k) for c in (0, 1, 3) for k in (1, 4, 12)])
SHARED = st.one_of(LOCKS, st.sampled_from([Sharing(contention=c) for c in (1, 3)]))


@st.composite
def cases(
    draw: st.DrawFn,
    sharing: st.SearchStrategy[Sharing] = PROTOCOLS,
    control: tuple[str, ...] = ("read", "stall", "move", "move", "rewrite", "forget"),
    least: int = 0,
) -> Case:
    """Small numbers on purpose: ties, zero work, full rings and moves of waiting buckets are common.

    Flows of buckets with owners keep to their bucket; `least` is the least cost of a batch.
    """
    shares = draw(sharing)
    machine = Machine(
        ring=draw(st.sampled_from((1, 2, 3, 5, 8, 64))),
        burst=draw(st.sampled_from((1, 2, 3, 32))),
        per_batch=draw(st.sampled_from((0, 0, 1, 5))) or least,
        warmup=draw(st.sampled_from((0, 0, 7))),
        delay=draw(st.sampled_from((0, 3))),
    )
    cores = draw(st.integers(1, 4))
    rows = draw(
        st.lists(
            st.tuples(SMALL, st.integers(0, BUCKETS - 1), st.integers(0, FLOWS - 1), WORK),
            min_size=1,
            max_size=50,
        )
    )
    acts = draw(
        st.lists(
            st.tuples(SMALL, st.sampled_from(control), st.integers(0, BUCKETS - 1), st.integers(0, 9)),
            max_size=20,
        )
    )
    arrivals = np.cumsum([row[0] for row in rows]).tolist()
    times = np.cumsum([act[0] for act in acts]).tolist()
    free = shares.contention or shares.lock
    return Case(
        machine,
        shares,
        draw(st.lists(st.integers(0, cores - 1), min_size=BUCKETS, max_size=BUCKETS)),
        [(t, b if free else f % BUCKETS, f, s) for t, (_, b, f, s) in zip(arrivals, rows, strict=True)],
        [(t, *act[1:]) for t, act in zip(times, acts, strict=True)],
        cores,
        draw(st.integers(1, len(rows))),
    )


SOME = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ALL = st.one_of(PROTOCOLS, PROTOCOLS, SHARED, st.just(Sharing()))
ORDERLY = cases(control=("read", "stall", "move", "move", "move"))


def check(case: Case) -> dict[str, Any]:
    """Both engines agree, and no packet is lost or there twice."""
    truth = outcome(case, "reference")
    assert outcome(case, "compiled") == truth
    departed = sum(t >= 0 for t in truth["departure"])
    refused = sum(truth["counters"][2])
    assert sum(truth["counters"][0]) == departed
    assert truth["counters"][3] == [0] * case.cores
    assert not any(truth["in transit"] or ())
    if case.machine.warmup == 0:
        assert truth["drops"][RING_FULL] == refused
        assert departed + sum(truth["drops"].values()) == len(case.packets)
    assert sum(truth["counters"][4]) == len(case.packets) - refused
    return truth


def check_order(case: Case) -> None:
    """With a protocol, and control that leaves buckets in transit alone, each flow stays in order."""
    truth = check(case)
    assert truth["reordered"] == 0
    assert truth["drops"][NOT_OWNER] == 0
    last: dict[int, int] = defaultdict(int)
    for (_, _, flow, _), departure in zip(case.packets, truth["departure"], strict=True):
        if departure >= 0:
            assert departure >= last[flow]
            last[flow] = departure


@given(cases(ALL))
@SOME
def test_the_engines_agree_and_no_packet_is_lost_or_duplicated(case: Case) -> None:
    check(case)


@given(ORDERLY)
@SOME
def test_a_protocol_keeps_each_flow_in_order(case: Case) -> None:
    check_order(case)


@pytest.mark.slow
@given(cases(ALL))
@MANY
def test_the_engines_agree_on_thousands_of_cases(case: Case) -> None:
    check(case)


@pytest.mark.slow
@given(ORDERLY)
@MANY
def test_a_protocol_keeps_each_flow_in_order_in_thousands_of_cases(case: Case) -> None:
    check_order(case)


@given(cases(st.just(Sharing())))
@SOME
def test_cores_that_share_nothing_are_polled_rings(case: Case) -> None:
    rings = outcome(case, "rings")
    assert {key: value for key, value in outcome(case, "compiled").items() if key in rings} == rings


@given(cases(PROTOCOLS, ("read",)))
@SOME
def test_buckets_that_never_move_cost_nothing(case: Case) -> None:
    rings = outcome(case, "rings")
    got = outcome(case, "compiled")
    del rings["drops"], got["drops"]
    assert {key: value for key, value in got.items() if key in rings} == rings


@given(cases(st.just(Sharing()), least=1))
@SOME
def test_packets_that_left_after_a_later_one_of_their_flow_are_counted(case: Case) -> None:
    got = check(case)
    gone = sorted(
        (departure, core, number)
        for number, (departure, core) in enumerate(zip(got["departure"], got["core"], strict=True))
        if departure >= 0
    )
    late, newest = 0, [-1] * FLOWS
    for _, _, number in gone:
        arrival, _, flow, _ = case.packets[number]
        late += number < newest[flow] and arrival >= case.machine.warmup
        newest[flow] = max(newest[flow], number)
    assert got["reordered"] == late


class Locksmith(StatefulReference):
    """Writes down who held which lock when."""

    held: list[tuple[int, int, int]]

    def work_on(self, p: Packet) -> int:
        before = self.env.now
        work = super().work_on(p)
        free = self.unlocked[p.flow]
        assert free >= before + self.sharing.lock
        self.held.append((p.flow, free - self.sharing.lock, free))
        return work


@given(cases(LOCKS))
@SOME
def test_no_two_packets_of_a_flow_hold_its_lock_at_once(case: Case) -> None:
    Locksmith.held = []
    assert outcome(case, "reference", Locksmith) == outcome(case, "compiled")
    ordered = sorted(Locksmith.held)
    for (flow, _, end), (other, start, _) in pairwise(ordered):
        assert flow != other or end <= start


# --- each rule by hand -----------------------------------------------------------------------------------

# Core 0 works on a packet of flow 0 until 100; at 1 its bucket 0 moves to core 1, where flow 0 goes on at 2.
MOVED = [(0, 0, 0, 100), (2, 0, 0, 10)]
TO_CORE_1 = [(1, "move", 0, 1)]


def run(
    sharing: Sharing,
    packets: list[tuple[int, int, int, int]],
    control: list[tuple[int, str, int, int]] | None = None,
    **machine: int,
) -> dict[str, Any]:
    """Two cores; buckets 0 and 2 are core 0's at first, 1 and 3 are core 1's. Both engines, one outcome."""
    parts = Machine(**({"ring": 64, "burst": 32, "per_batch": 0, "warmup": 0, "delay": 0} | machine))
    return check(Case(parts, sharing, [0, 1, 0, 1], packets, control or [], 2, 1))


def test_without_a_protocol_a_moved_flow_is_reordered() -> None:
    got = run(Sharing(), MOVED, TO_CORE_1)
    assert got["departure"] == [100, 12]
    assert got["reordered"] == 1
    assert run(Sharing(), MOVED, TO_CORE_1, warmup=1)["reordered"] == 0


@pytest.mark.parametrize("protocol", [WATCH, MARK])
def test_packets_of_a_bucket_in_transit_are_parked_until_the_source_has_handled_what_it_had(
    protocol: int,
) -> None:
    got = run(Sharing(protocol), MOVED, [*TO_CORE_1, (50, "read", 0, 0), (60, "move", 0, 0)])
    assert got["departure"] == [100, 110]
    assert got["core"] == [0, 1]
    assert (got["hand-overs"], got["parked"], got["reordered"]) == (1, 1, 0)
    # Parking took no time and the packet has left core 1's ring; core 0's is still there.
    assert got["seen"][1] == (50, [0, 0], [50, 0], [0, 0], [1, 0], [2, 0, 0, 0])
    assert got["seen"][2] == [True, False, False, False]


def test_an_idle_source_hands_over_at_once() -> None:
    got = run(Sharing(WATCH), [(0, 0, 0, 1), (20, 0, 0, 5)], [(10, "move", 0, 1), (11, "move", 1, 1)])
    assert got["departure"] == [1, 25]
    assert (got["hand-overs"], got["parked"]) == (1, 0)
    assert got["seen"][1] == [False] * BUCKETS


@pytest.mark.parametrize("protocol", [WATCH, MARK])
def test_a_source_that_is_stalled_with_nothing_to_do_hands_over_after_the_stall(protocol: int) -> None:
    got = run(Sharing(protocol), [(20, 0, 0, 5)], [(9, "stall", 0, 40), (10, "move", 0, 1)])
    assert got["departure"] == [54]
    assert (got["hand-overs"], got["parked"]) == (1, 1)


@pytest.mark.parametrize("protocol", [WATCH, MARK])
def test_as_published_an_idle_source_waits_for_its_next_packet(protocol: int) -> None:
    packets = [(0, 0, 0, 1), (20, 0, 0, 5), (40, 2, 2, 3), (60, 0, 0, 7)]
    packets.insert(3, (45, 1, 1, 2))
    got = run(Sharing(protocol, as_published=True), packets, [(10, "move", 0, 1), (50, "move", 3, 1)])
    # Core 0 hands over at 43; what is parked waits for the next packet of its bucket, and goes before it.
    assert got["departure"] == [1, 72, 43, 47, 72]
    assert got["seen"][1] == [True, False, False, False]  # not yet flushed: may not move again
    assert run(Sharing(protocol), packets, [(10, "move", 0, 1)])["departure"] == [1, 25, 43, 47, 67]


@pytest.mark.parametrize("as_published", [False, True])
def test_what_is_still_parked_at_the_end_is_flushed(as_published: bool) -> None:
    got = run(Sharing(WATCH, as_published), MOVED, TO_CORE_1)
    assert got["departure"] == [100, 110]
    got = run(Sharing(WATCH, as_published), MOVED, [*TO_CORE_1, (300, "read", 0, 0)])
    assert got["departure"] == [100, 310 if as_published else 110]


def test_watch_hands_over_after_the_packets_that_were_there_and_mark_after_a_newer_one() -> None:
    # Core 0 has 100 ps of flow 0 and 50 of flow 2 when bucket 0 moves; 30 of flow 2 come after that.
    packets = [(0, 0, 0, 100), (0, 2, 2, 50), (2, 2, 2, 30), (3, 0, 0, 10), (4, 2, 2, 40)]
    watch = run(Sharing(WATCH), packets, TO_CORE_1, burst=1)
    mark = run(Sharing(MARK), packets, TO_CORE_1, burst=1)
    assert watch["departure"] == [100, 150, 180, 160, 220]
    assert mark["departure"] == [100, 150, 180, 190, 220]
    # As published a watching source needs a packet more than those that were there.
    published = run(Sharing(WATCH, as_published=True), [*packets, (185, 0, 4, 5)], TO_CORE_1, burst=1)
    assert published["departure"] == [100, 150, 180, 200, 220, 200]


def test_mark_hands_over_when_nothing_is_left_unless_as_published() -> None:
    packets = [*MOVED, (120, 0, 0, 10), (200, 2, 2, 1)]
    assert run(Sharing(MARK), packets, TO_CORE_1)["departure"] == [100, 110, 130, 201]
    later = [*packets, (300, 0, 0, 10)]
    assert run(Sharing(MARK, True), later, TO_CORE_1)["departure"] == [100, 330, 330, 201, 330]


def test_a_flush_comes_before_the_rings_packets_and_beside_the_burst() -> None:
    # At 100 core 1 gets bucket 0 with two packets parked while it works until 120; burst 1.
    packets = [(0, 0, 0, 100), (2, 0, 0, 10), (3, 0, 4, 20), (10, 1, 1, 110), (11, 1, 1, 40), (12, 1, 5, 7)]
    got = run(Sharing(WATCH), packets, TO_CORE_1, burst=1, per_batch=1)
    # Core 0 is done at 101, core 1 at 121: 1 + 10 + 20 + 40 = 71 for the flushed ones and one of its ring.
    assert got["departure"] == [101, 192, 192, 121, 192, 200]


def test_a_packet_of_the_bucket_brings_the_parked_ones_with_it_in_the_middle_of_a_batch() -> None:
    # Core 1 polls at 50 both a long packet of its own and one of bucket 0, whose turn comes at 150.
    packets = [(0, 0, 0, 100), (2, 0, 0, 10), (40, 1, 1, 10), (45, 1, 1, 100), (46, 0, 0, 20), (47, 1, 5, 3)]
    got = run(Sharing(WATCH), packets, TO_CORE_1)
    assert got["departure"] == [100, 183, 50, 183, 183, 183]
    assert got["parked"] == 1


def test_what_the_new_core_parks_stays_behind_what_the_source_has_left() -> None:
    # Two packets of flow 0 are core 0's; the third is parked while the second waits, and must not overtake.
    packets = [(0, 0, 0, 100), (0, 0, 0, 50), (2, 0, 0, 10)]
    got = run(Sharing(WATCH), packets, TO_CORE_1)
    assert got["departure"] == [100, 150, 160]
    assert got["core"] == [0, 0, 1]


def test_buckets_handed_over_together_are_flushed_in_one_batch() -> None:
    packets = [(0, 0, 0, 100), (3, 2, 2, 10), (4, 0, 0, 20)]
    moves = [(1, "move", 0, 1), (1, "move", 2, 1)]
    got = run(Sharing(WATCH), packets, moves)
    assert got["departure"] == [100, 130, 130]
    assert got["hand-overs"] == 2


def test_a_bucket_moved_on_while_in_transit_loses_packets_of_the_core_between() -> None:
    # Bucket 0 goes to core 1 and back to core 0 while core 1 still holds a packet of it behind another one.
    packets = [(0, 0, 0, 100), (0, 1, 1, 30), (2, 0, 0, 10)]
    got = run(Sharing(WATCH), packets, [*TO_CORE_1, (5, "rewrite", 0, 0)])
    assert got["departure"] == [100, 30, -1]
    assert got["drops"] == {RING_FULL: 0, NOT_OWNER: 1}
    assert got["dropped_bytes"] == 62
    assert run(Sharing(WATCH), packets, [*TO_CORE_1, (5, "move", 0, 0)])["departure"] == [100, 30, 110]


def test_working_cores_make_each_others_packets_dearer() -> None:
    # Core 0 alone: 20. From 25 two work: core 1's packet 10 + 7 x 2; core 0's second begins at 40, 20 + 14.
    packets = [(0, 0, 0, 40), (0, 2, 2, 20), (25, 1, 1, 10), (39, 1, 1, 10), (80, 0, 0, 5)]
    got = run(Sharing(contention=7), packets, burst=2)
    # Core 0 polls the first alone. Core 1: 25 + 24 = 49, and its next 49 + 24 = 73.
    assert got["departure"] == [40, 74, 49, 73, 85]
    assert got["counters"][1] == [40 + 34 + 5, 24 + 24]


def test_a_stalled_core_without_packets_does_not_contend() -> None:
    got = run(Sharing(contention=7), [(10, 0, 0, 20)], [(5, "stall", 1, 100)])
    assert got["departure"] == [30]


def test_cores_wait_for_the_lock_of_a_flow_and_that_is_work() -> None:
    # Flow 0 is sprayed over both cores: core 1 waits for the lock from 1 to 8, then has its work of 5.
    got = run(Sharing(lock=8), [(0, 0, 0, 10), (1, 1, 0, 5), (2, 2, 3, 5), (3, 1, 0, 1)])
    assert got["departure"] == [10, 13, 15, 17]
    assert got["counters"][1] == [10 + 5, 12 + 4]


def test_a_stall_moves_the_end_of_the_packet_in_work_and_is_no_work() -> None:
    packets = [(0, 0, 0, 10), (0, 0, 4, 10), (0, 0, 0, 10)]
    control = [(12, "stall", 0, 5), (18, "read", 0, 0), (23, "read", 0, 0), (27, "read", 0, 0)]
    # Where others can interfere each packet is a piece of work, and the stall is after the one it hits.
    got = run(Sharing(contention=1), packets, control)
    assert got["departure"] == [10, 35, 35]
    assert [busy for _, _, (busy, _), *_ in got["seen"]] == [18, 20, 22]
    # Else the batch is one piece.
    got = run(Sharing(WATCH), packets, control)
    assert got["departure"] == [10, 35, 35]
    assert [busy for _, _, (busy, _), *_ in got["seen"]] == [18, 23, 27]


def test_a_parked_packet_keeps_its_slot_until_its_batch_ends() -> None:
    # Core 1 polls at 12 a packet of bucket 0 and one of its own: the first is parked and needs no work, yet
    # until 40 both hold a slot of three, so that the second packet that arrives meanwhile is dropped.
    packets = [(0, 0, 0, 100), (2, 1, 1, 10), (3, 0, 0, 5), (4, 1, 1, 28), (20, 1, 1, 1), (21, 1, 1, 1)]
    got = run(Sharing(WATCH), packets, TO_CORE_1, ring=3)
    assert got["departure"] == [100, 12, 105, 40, 41, -1]


def server(**state: Any) -> Server:
    return Server(cores=2, clock="2GHz", cost={"work": {"kind": "fixed", "time": "1us"}}, **state)


def test_the_state_of_a_server_says_what_its_cores_share() -> None:
    assert spec_of(server()) == Sharing() == spec_of(server(state=PerBucket(protocol="none")))
    assert spec_of(server(state=PerBucket())) == Sharing(WATCH, False)
    assert spec_of(server(state=PerBucket(protocol="mark", as_published=True))) == Sharing(MARK, True)
    shared = Shared(contention="10 cycles", lock="100ns")
    assert spec_of(server(state=shared)) == Sharing(NONE, False, 5_000, 100_000)
