"""The specification of the request grain against sequences worked out by hand (all times in ps)."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from request_oracle import arriving, first, in_turn, ints, paced, run, servers, users

from lbsim.balancer.policies import Answer, Unit, View
from lbsim.engine.request import plane
from lbsim.engine.request.plane import (
    ANSWER,
    CONTROL,
    CORE,
    FCFS,
    JBSQ,
    LAUNCH,
    PICK,
    RETRY,
    SHARING,
    STEALING,
    TIMEOUT,
    Retry,
    key,
)
from lbsim.engine.request.service import (
    RECORD,
    REST,
    SPIN,
    backoff_of,
    begin,
    done,
    goes_on,
    plan,
    progress,
    smoothed,
    wall,
    worker_of,
)
from lbsim.rng import coin
from lbsim.units import SECOND

# --- what running does --------------------------------------------------------------------------------------


def test_work_takes_as_long_as_its_speed_says() -> None:
    assert wall(2**60 + 1, 1.0) == 2**60 + 1
    assert [wall(w, 0.5) for w in (0, 1, 7)] == [0, 2, 14]
    assert wall(10, 3.0) == 4
    assert done(10, 0.33) == 3
    assert done(2**60 + 1, 1.0) == 2**60 + 1


def test_a_plan_is_kept() -> None:
    record = np.zeros(2, RECORD)
    begin(record, 1, 7000, True, 1000, 500, 24)
    assert plan(record, 1, 100, 10**9, 1.0) == 100 + 1024 + 7000 + 500
    assert plan(record, 1, 100, 2000, 1.0) == 2000
    progress(record, 1, 100, 600, 1.0)
    assert record["left"][1] == 524
    progress(record, 1, 600, 1124, 1.0)
    assert (record["phase"][1], record["deadline"][1]) == (SPIN, 8124)
    progress(record, 1, 9000, 8500, 1.0)  # yet to start
    assert record["phase"][1] == SPIN
    assert plan(record, 1, 9000, 10**9, 0.5) == 10_000
    progress(record, 1, 9000, 9500, 0.5)
    assert (record["phase"][1], record["left"][1], record["finished"][1]) == (REST, 250, 0)
    progress(record, 1, 9700, 10_200, 0.5)
    assert record["finished"][1] == 1
    assert not record["finished"][0]


@given(st.integers(1, 10**15), st.floats(0.01, 100), st.lists(st.integers(0, 100), max_size=5))
def test_what_is_planned_is_done_at_its_end_and_not_before(work: int, speed: float, parts: list[int]) -> None:
    record = np.zeros(1, RECORD)
    begin(record, 0, work, False, 0, 0, 0)
    now = 0
    for part in parts:
        end = plan(record, 0, now, 2**62, speed)
        stop = now + (end - now) * part // 101
        progress(record, 0, now, stop, speed)
        assert not record["finished"][0] or stop == end
        now = stop
    end = plan(record, 0, now, 2**62, speed)
    if end > now:
        progress(record, 0, now, end - 1, speed)
        assert not record["finished"][0]
        now, end = end - 1, plan(record, 0, end - 1, 2**62, speed)
    progress(record, 0, now, end, speed)
    assert record["finished"][0]


def test_the_shortest_of_turns_gets_ahead() -> None:
    r = run(arriving([(0, 3), (0, 3)]), servers(speeds=[0.25], discipline=SHARING, slice=1))
    assert r.tally.counters.completed == 2


def test_response_times_are_smoothed_by_an_eighth() -> None:
    assert smoothed(0, 100, True) == 100
    assert smoothed(100, 180, False) == 110
    assert smoothed(100, 99, False) == 99  # rounded down


def test_backoffs_grow_to_their_limit() -> None:
    assert [backoff_of(1, 5, a, 100, 2.0, 1000, 0.0) for a in range(1, 7)] == [100, 200, 400, 800, 1000, 1000]
    u = coin(1, 5, 8 + 2) / 2**63
    assert backoff_of(1, 5, 2, 10**6, 2.0, 10**9, 0.5) == round(2 * 10**6 * (1 + 0.5 * u))
    assert backoff_of(1, 5, 400, 1, 1e300, 10**9, 0.0) == 10**9


def test_sessions_have_their_mean_length() -> None:
    on = sum(bool(goes_on(3, k, 4.0)) for k in range(20_000))
    assert on == pytest.approx(15_000, rel=0.02)
    assert not any(goes_on(3, k, 1.0) for k in range(1000))


# --- order --------------------------------------------------------------------------------------------------


def test_events_of_an_instant_have_their_order() -> None:
    assert key(CORE, 2**40 - 1) < key(ANSWER, 0) <= CONTROL < key(TIMEOUT, 0)
    assert TIMEOUT < PICK < LAUNCH < RETRY
    assert key(ANSWER, 2**40 - 1) == CONTROL


def test_a_departure_is_seen_by_who_comes_at_that_instant() -> None:
    seen: list[list[int]] = []

    def look(view: View, unit: Unit) -> int:
        seen.append([*view.queue.tolist(), view.total, unit.index, unit.flow, unit.size])
        return 0

    run(arriving([(0, 5), (2, 5), (5, 1)]), servers(), look)
    assert seen == [[0, 0, 0, 0, 100], [1, 1, 1, 1, 100], [1, 1, 2, 2, 100]]


def test_a_core_goes_on_before_the_answer_makes_its_client_come_back() -> None:
    r = run(users([0, 0], [5], [0], end=6), servers())
    # User 0 is back at 5 behind user 1, who has been waiting since 0.
    assert r.log.user.tolist() == [0, 1, 0]
    assert r.log.done.tolist() == [5, 10, 15]


def test_control_comes_after_departures_and_before_arrivals() -> None:
    seen = []

    def look(p: Any, now: int) -> None:
        seen.append((p.counters(now).completed, p.counters(now).launched, p.counters(now).busy.tolist()))

    run(arriving([(0, 5), (5, 1)]), servers(), control=[(3, look), (5, look), (6, look)])
    assert seen == [(0, 1, [3]), (1, 1, [5]), (2, 2, [6])]


def test_time_that_stands_still_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane, "MOST_AT_ONCE", 100)
    with pytest.raises(RuntimeError, match=r"no progress: 101 events at 3 ps.*clients\.retry\.backoff"):
        run(users([0, 3], [5], [0]), servers(backlog=1))


def test_a_policy_that_names_no_server_is_refused() -> None:
    with pytest.raises(ValueError, match=r"request 0 to no server: it must return 0 \.\. 1, not 2"):
        run(arriving([(0, 1)]), servers(number=2), lambda view, unit: view.n)


# --- disciplines --------------------------------------------------------------------------------------------


def test_fcfs_gives_the_head_to_the_lowest_idle_core() -> None:
    r = run(arriving([(0, 5), (0, 5), (1, 3), (1, 1)]), servers(cores=2))
    assert r.latency == [5, 5, 7, 5]
    assert r.tally.counters.busy.tolist() == [14]
    assert r.tally.end == 8
    assert r.tally.peak == 4


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), min_size=1, max_size=30),
    st.integers(1, 3),
    st.sampled_from([(FCFS, {}), (JBSQ, {"depth": 1}), (STEALING, {})]),
)
def test_fcfs_follows_kiefer_and_wolfowitz(
    gaps: list[tuple[int, int]], cores: int, how: tuple[int, dict[str, Any]]
) -> None:
    rows, free, now, expected = [], [0] * cores, 0, []
    for gap, work in gaps:
        now += gap
        rows.append((now, work))
        free.sort()
        free[0] = max(now, free[0]) + work
        expected.append(free[0] - now)
    discipline, fields = how
    r = run(arriving(rows), servers(cores=cores, discipline=discipline, **fields))  # all hash to core 0
    assert r.latency == expected


def test_speed_divides_work() -> None:
    r = run(arriving([(0, 5), (0, 5)]), servers(number=2, speeds=[2.0, 0.5]), in_turn)
    assert r.latency == [3, 10]


def test_sharing_takes_turns_of_a_slice() -> None:
    r = run(arriving([(0, 5), (1, 3)]), servers(discipline=SHARING, slice=2))
    assert r.latency == [8, 6]  # 0:[0,2] 1:[2,4] 0:[4,6] 1:[6,7] 0:[7,8]


def test_who_comes_as_a_slice_ends_comes_after_it() -> None:
    r = run(arriving([(0, 3), (2, 1)]), servers(discipline=SHARING, slice=2))
    assert r.latency == [3, 2]


def test_switching_costs_time_of_the_core_unless_the_same_goes_on() -> None:
    r = run(arriving([(0, 5), (1, 3)]), servers(discipline=SHARING, slice=2, switch=1))
    assert r.latency == [12, 9]  # 0:[0,2] 1:[3,5] 0:[6,8] 1:[9,10] 0:[11,12]
    assert r.tally.counters.busy.tolist() == [12]
    assert run(arriving([(0, 5)]), servers(discipline=SHARING, slice=2, switch=1)).latency == [5]
    # An idle core remembers whom it ran.
    assert run(arriving([(0, 5), (9, 3)]), servers(discipline=SHARING, slice=9, switch=1)).latency == [5, 4]


def test_two_cores_share_a_run_queue() -> None:
    r = run(arriving([(0, 4), (0, 4), (0, 4)]), servers(discipline=SHARING, slice=2, cores=2))
    # core 0: 0[0,2] 2[2,4] 1[4,6]; core 1: 1[0,2] 0[2,4] 2[4,6]
    assert r.latency == [4, 6, 6]


def test_requests_of_a_worker_cycle_within_its_slice() -> None:
    one = {"discipline": SHARING, "workers": 1, "switch": 1}
    rows = [(0, 5), (0, 3)]
    assert run(arriving(rows), servers(slice=10, turn=2, **one)).latency == [8, 7]
    # 0[0,2] 1[2,3] | 0[3,5] 1[5,6] | 0[6,7] 1[7,8]: the rest of a slice cuts a turn
    assert run(arriving(rows), servers(slice=3, turn=2, **one)).latency == [7, 8]


def test_workers_alternate_by_slices() -> None:
    seed = next(s for s in range(100) if [worker_of(s, k, 1, 2) for k in range(3)] == [0, 1, 0])
    spec = servers(discipline=SHARING, workers=2, slice=4, turn=2, switch=1)
    r = run(arriving([(0, 4), (0, 4), (0, 4)], seed=seed), spec)
    # w0: 0[0,2] 2[2,4] | w1: 1[5,7] 1[7,9] | w0: 0[10,12] 2[12,14]
    assert r.latency == [12, 9, 14]
    assert r.tally.counters.busy.tolist() == [14]


def test_a_worker_runs_on_one_core_at_a_time() -> None:
    spec = servers(cores=2, discipline=SHARING, workers=1, slice=4, turn=4)
    assert run(arriving([(0, 4), (0, 4)]), spec).latency == [4, 8]


def test_idle_cores_steal_at_once_and_busy_ones_when_they_run_out() -> None:
    rows = [(0, 10), (1, 4), (2, 3), (3, 2)]
    r = run(arriving(rows, [0, 2, 4, 1]), servers(cores=2, discipline=STEALING, steal=1))
    # core 0: 0[0,10]; core 1: 1[1,6] stolen, 3[6,8] its own, 2[8,12] stolen
    assert r.latency == [10, 5, 10, 5]


def test_thieves_are_looked_for_upwards_from_home() -> None:
    r = run(arriving([(0, 9), (0, 9), (0, 1)], [1, 1, 1]), servers(cores=3, discipline=STEALING, steal=2))
    # Home 1 busy: core 2 steals the second, core 0 the third.
    assert r.latency == [9, 11, 3]
    r = run(
        arriving([(0, 4), (0, 9), (0, 9), (1, 1), (2, 2)], [0, 1, 2, 2, 1]),
        servers(cores=3, discipline=STEALING),
    )
    # Core 0 runs out at 4 and looks at 1 before 2.
    assert r.latency == [4, 9, 9, 6, 4]


def test_stealing_adds_to_the_setup_of_a_spin() -> None:
    spec = servers(cores=2, discipline=STEALING, steal=3, spins=True, setup=2, finish=1)
    assert run(arriving([(0, 10), (0, 10)]), spec).latency == [13, 16]


def test_jbsq_holds_no_more_than_its_depth_at_a_core() -> None:
    rows = [(0, 10), (0, 2), (0, 4), (0, 1), (0, 1)]
    r = run(arriving(rows), servers(cores=2, discipline=JBSQ, depth=2))
    # core 0: 0[0,10] 2[10,14] though core 1 idles; core 1: 1[0,2] 3[2,3] 4[3,4]
    assert r.latency == [10, 2, 14, 3, 4]


# --- spinning -----------------------------------------------------------------------------------------------


def test_spins_overlap_on_the_wall_clock() -> None:
    spec = servers(discipline=SHARING, slice=4, spins=True, setup=2, finish=1)
    assert run(arriving([(0, 10)]), spec).latency == [13]
    r = run(arriving([(0, 10), (0, 10)]), spec)
    # 0[0,4] spins from 2 to 12, 1[4,8] from 6 to 16; 0[8,12] 1[12,16] 0[16,17] 1[17,18]
    assert r.latency == [17, 18]
    assert r.tally.counters.busy.tolist() == [18]


def test_a_spin_takes_no_heed_of_speed() -> None:
    spec = servers(speeds=[0.5], spins=True, setup=2, finish=1)
    assert run(arriving([(0, 10)]), spec).latency == [16]


def test_a_spin_that_is_over_is_noticed_only_when_the_request_runs() -> None:
    spec = servers(discipline=SHARING, slice=3, spins=True, setup=2, finish=0)
    r = run(arriving([(0, 2), (0, 6)]), spec)
    # 0[0,3] spins until 4; 1[3,6] until 11; 0 departs at 6 in no time; 1[6,9] 1[9,11]
    assert r.latency == [6, 11]


def test_work_by_the_second_of_the_pick() -> None:
    table = ints([3, 7, 5, 9]).reshape(2, 2)
    rows = [(0, 1), (0, 1), (SECOND, 1), (SECOND, 1), (2 * SECOND + 5, 1), (2 * SECOND + 5, 1)]
    r = run(arriving(rows, end=4 * SECOND), servers(number=2, by_second=table), in_turn)
    assert r.latency == [3, 5, 7, 9, 7, 9]  # beyond the table: its last column


# --- clients ------------------------------------------------------------------------------------------------


def test_latency_counts_the_way_and_what_is_added() -> None:
    r = run(arriving([(0, 5), (2, 5)], delay=4, overhead=100), servers())
    assert r.latency == [109, 112]
    assert r.log.done.tolist() == [9, 14]


def test_users_think_after_the_answer() -> None:
    r = run(users([0, 1], [5, 2], [10, 20], end=40, delay=1), servers())
    # User 0: sent 0, over 6, thinks 10. User 1: sent 1, served 5-7, over 8, thinks 20.
    # User 0: sent 16 (5), over 22, thinks 10 (request 2): 32. User 1: sent 28 (2), over 31, thinks 20: 51.
    assert r.log.user.tolist() == [0, 1, 0, 1, 0]
    assert r.log.sent.tolist() == [0, 1, 16, 28, 32]
    assert r.latency == [6, 7, 6, 3, 6]
    assert (r.log.due == r.log.sent).all()


def test_nothing_is_launched_at_the_end_or_later() -> None:
    assert run(arriving([(0, 5), (8, 5), (9, 5)], end=9), servers()).latency == [5, 5]
    assert run(users([0, 9], [5], [4], end=9), servers()).latency == [5]


def test_paced_users_catch_up() -> None:
    r = run(paced([0], [34, 1, 1, 1, 1, 1, 1], period=10, catch=5, end=61), servers())
    assert r.log.due.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert r.log.sent.tolist() == [0, 34, 39, 44, 49, 54, 60]
    assert r.latency == [34, 25, 20, 15, 10, 5, 1]


def test_a_user_that_falls_behind_again_counts_from_there() -> None:
    r = run(paced([3], [12, 1, 25, 1, 1], period=10, catch=5, end=75), servers())
    # 3-15; due 13: sent 15-16; due 23: 23-48; due 33: 48-49; due 43: 53-54; due 53: 58-70 (12); due 63: 70
    assert r.log.sent.tolist() == [3, 15, 23, 48, 53, 58, 70, 73]
    assert r.log.due.tolist() == [3, 13, 23, 33, 43, 53, 63, 73]


def test_paced_users_wait_for_their_answer() -> None:
    r = run(paced([0, 2], [30, 30, 1], period=10, catch=10, end=45), servers())
    for user in (0, 1):
        mine = r.log.user == user
        assert (r.log.sent[mine][1:] >= r.log.done[mine][:-1]).all()
        assert np.diff(r.log.due[mine]).tolist() == [10] * (int(mine.sum()) - 1)


# --- attempts that fail -------------------------------------------------------------------------------------


def test_a_client_gives_up_after_its_attempts_and_zombies_keep_the_server_busy() -> None:
    retry = Retry(timeout=5, attempts=3, backoff=4, factor=2.0, most=100)
    r = run(arriving([(0, 8)], retry=retry), servers())
    # Attempts: 0-8, out at 5; 9-17, out at 14; 22-30, out at 27.
    c = r.tally.counters
    assert (c.launched, c.completed, c.given_up, c.timed_out, c.retried, c.refused) == (1, 0, 1, 3, 2, 0)
    assert (c.placed.tolist(), c.bytes.tolist(), c.busy.tolist()) == ([3], [300], [24])
    assert (r.log.done.tolist(), r.log.attempts.tolist(), r.latency) == ([27], [3], [-1])
    assert (r.tally.end, r.tally.area, r.tally.sojourn, r.tally.peak) == (30, 24, 24, 1)
    assert r.tally.latency.count == 0


def test_a_retry_waits_behind_its_own_zombie() -> None:
    retry = Retry(timeout=8, attempts=2, backoff=1, factor=1.0, most=1)
    r = run(arriving([(0, 3), (0, 6)], retry=retry), servers())
    # 1 runs 3-9, out at 8; again at 9, when the core is free: 9-15.
    assert r.latency == [3, 15]
    r = run(arriving([(0, 3), (0, 7)], retry=retry), servers())
    # 1 runs 3-10, out at 8; again from 9, waits until 10, out at 17 as it departs: in time.
    assert r.latency == [3, 17]
    assert r.tally.counters.completed == 2


def test_a_retry_asks_the_policy_anew_with_other_coins() -> None:
    seen = []

    def elsewhere(view: View, unit: Unit) -> int:
        seen.append(unit.index)
        return int(unit.index >= 2**32)

    retry = Retry(timeout=5, attempts=3, backoff=4, factor=2.0, most=100)
    r = run(arriving([(0, 8)], retry=retry), servers(number=2, speeds=[1.0, 2.0]), elsewhere)
    assert seen == [0, 2**32]
    assert r.latency == [13]
    assert r.tally.counters.bytes.tolist() == [100, 100]
    assert r.log.server.tolist() == [1]


def test_an_answer_on_its_way_may_be_too_late() -> None:
    retry = Retry(timeout=6, attempts=2, backoff=1, factor=1.0, most=1)
    r = run(arriving([(0, 5)], retry=retry, delay=1), servers())
    assert (r.latency, r.tally.counters.timed_out) == ([6], 0)  # answers come before timeouts
    r = run(arriving([(0, 5)], retry=retry, delay=2), servers())
    assert (r.latency, r.tally.counters.timed_out, r.log.done.tolist()) == ([-1], 2, [13])
    assert r.tally.counters.bytes.tolist() == [200]


def test_a_full_server_refuses() -> None:
    retry = Retry(attempts=2, backoff=3, factor=1.0, most=3)
    rows = [(0, 10), (1, 2)]
    r = run(arriving(rows, retry=retry), servers(backlog=1))
    assert (r.latency, r.log.done.tolist(), r.tally.counters.refused) == ([10, -1], [4, 10], 2)
    assert r.tally.counters.placed.tolist() == [3]
    assert r.tally.area == r.tally.sojourn == 10
    late = retry._replace(backoff=9, most=9)  # at the instant of the departure, and after it
    assert run(arriving(rows, retry=late), servers(backlog=1)).latency == [10, 11]
    assert run(arriving(rows), servers(backlog=2)).latency == [10, 11]
    assert run(arriving(rows), servers(backlog=1)).latency == [10, -1]


def test_users_go_on_after_giving_up() -> None:
    r = run(users([0, 1], [10, 1], [7, 3], end=12), servers(backlog=1))
    # User 1: refused at 1, 4 (request 2, thinks 7), 11 (request 3: departs at 12).
    assert r.log.sent.tolist() == [1, 4, 0, 11]
    assert r.latency == [10, -1, -1, 1]


def test_who_waits_at_the_balancer_may_time_out_there() -> None:
    retry = Retry(timeout=5, attempts=1)
    r = run(arriving([(0, 1), (0, 2)], retry=retry, lanes=1, cost=4), servers())
    # Picks at 4 and 8; the second is out at 5, and served for nothing from 8 to 10.
    assert (r.latency, r.log.server.tolist(), r.tally.end) == ([5, -1], [0, -1], 10)
    assert (r.tally.counters.placed.tolist(), r.tally.counters.busy.tolist()) == ([2], [3])
    r = run(arriving([(0, 10), (0, 2)], retry=retry, lanes=1, cost=4), servers(backlog=1))
    # Both are out at 5; that the second is refused at 8 does not matter to anybody.
    assert (r.latency, r.log.done.tolist(), r.tally.counters.refused) == ([-1, -1], [5, 5], 1)


# --- the balancer -------------------------------------------------------------------------------------------


def test_cores_of_the_balancer_are_queues_by_hash() -> None:
    rows = [(0, 1), (0, 1), (0, 1), (5, 1)]
    r = run(arriving(rows, [0, 2, 1, 1], lanes=2, cost=3, delay=5), servers(cores=9))
    assert r.latency == [3 + 1 + 5, 6 + 1 + 5, 3 + 1 + 5, 3 + 1 + 5]


def test_a_session_stays_on_its_server() -> None:
    calls = []

    def spread(view: View, unit: Unit) -> int:
        calls.append(unit.index)
        return in_turn(view, unit)

    source = users([0, 0, 0], [2, 3], [1, 4], session=3.0, end=300)
    r = run(source, servers(number=4, cores=3), spread)
    counts = []
    for user in range(3):
        mine = r.log.user == user
        index, server = r.log.index[mine].tolist(), r.log.server[mine].tolist()
        for (k, before), (later, after) in pairwise(zip(index, server, strict=True)):
            assert (later in calls) == (not goes_on(1, k, 3.0))
            assert later in calls or before == after
        counts.append(len(index))
    assert 0.15 < len(calls) / sum(counts) < 0.6
    assert int(r.tally.counters.placed.sum()) == sum(counts)


def test_a_retry_takes_its_session_along() -> None:
    def by_attempt(view: View, unit: Unit) -> int:
        return unit.index >> 32

    retry = Retry(timeout=5, attempts=2, backoff=1, factor=1.0, most=1)
    source = users([0], [9, 2], [1], end=20, retry=retry, **long_sessions())
    r = run(source, servers(number=2, speeds=[1.0, 2.0]), by_attempt)
    assert r.log.server.tolist() == [1] * len(r.log.server)
    assert r.tally.counters.placed[0] == 1


def long_sessions() -> dict[str, Any]:
    seed = next(s for s in range(1000) if all(goes_on(s, k, 100.0) for k in range(20)))
    return {"session": 100.0, "seed": seed}


def test_a_session_keeps_its_hash() -> None:
    for more, waits in ((long_sessions(), False), ({}, True)):
        source = users([0, 3], [1], [1], end=100, lanes=2, cost=10, **more)
        one, none = np.ones(40, np.int64), np.empty(0, np.int64)
        hashes = plane.Columns((np.arange(40) == 1).astype(np.int64), one, one, none)
        r = run(source._replace(columns=lambda chunk=hashes: iter([chunk])), servers(cores=2))
        assert (r.log.latency > 11).any() == waits  # of two users at two cores of the balancer


def test_giving_up_ends_a_session() -> None:
    def later(view: View, unit: Unit) -> int:
        return int(unit.index > 1)

    r = run(users([0, 1], [50, 2], [3], end=5, **long_sessions()), servers(number=2, backlog=1), later)
    assert (r.log.index.tolist(), r.log.server.tolist()) == ([1, 0, 2], [0, 0, 1])


def test_an_attempt_given_up_at_the_balancer_moves_no_session() -> None:
    def second(view: View, unit: Unit) -> int:
        return int(unit.index == 1)

    retry = Retry(timeout=5, attempts=1)
    source = users([0, 0], [1], [100, 10], end=16, lanes=1, cost=4, retry=retry, **long_sessions())
    r = run(source, servers(number=2), second)
    # User 1 is out at 5, while its attempt waits until 8 and goes to server 1; it is back at 15.
    assert r.tally.counters.placed.tolist() == [2, 1]
    assert r.log.server.tolist() == [0, -1, 0]


def test_a_policy_sees_what_was_reported_and_probes_what_is() -> None:
    seen = []

    def look(view: View, unit: Unit) -> int:
        seen.append([v.tolist() for v in (view.queue, view.age, view.inside, view.latency)] + [view.total])
        return unit.index % 2

    def report(p: Any, now: int) -> None:
        p.signal[:] = [3, 4]
        p.measured[:] = [now, now - 2]
        p.refresh()

    rows = [(0, 5), (2, 9), (8, 1)]
    run(arriving(rows), servers(number=2), look, control=[(7, report)], live=False)
    assert seen == [
        [[0, 0], [0, 0], [0, 0], [0, 0], 0],
        [[0, 0], [2, 2], [1, 0], [0, 0], 0],
        [[3, 4], [1, 3], [0, 1], [5, 0], 7],
    ]
    seen.clear()
    run(arriving(rows), servers(number=2), look)
    assert seen[2] == [[0, 1], [0, 0], [0, 1], [5, 0], 1]


def test_a_policy_hears_of_every_answer_of_zombies_too() -> None:
    heard = []

    def hear(view: View, answer: Answer) -> None:
        heard.append((view.now, *answer, view.latency.tolist()))
        view.state[1] += 1

    retry = Retry(timeout=6, attempts=2, backoff=1, factor=1.0, most=1)
    r = run(arriving([(0, 5), (1, 3)], retry=retry, delay=50), servers(), done=hear)
    # Both go out at 6 and 7 and come back at 7 and 8: 0 runs 0-5, 1 5-8, 0 8-13, 1 13-16.
    assert heard == [
        (5, 0, 5, 5, 1, 0, 0, [5]),
        (8, 0, 7, 3, 1, 1, 1, [5]),
        (13, 0, 6, 5, 1, 0, 1, [5]),
        (16, 0, 8, 3, 0, 1, 1, [5]),
    ]
    assert r.plane.balancer.state.tolist() == [0, 4, 0, 0]
    assert r.tally.counters.given_up == 2


# --- pauses and slow-downs ----------------------------------------------------------------------------------


def pause(at: int, length: int) -> tuple[int, Any]:
    return at, lambda p, now: p.pause(0, now, length)


def slow(at: int, factor: float) -> tuple[int, Any]:
    return at, lambda p, now: p.slow(0, now, factor)


def test_a_pause_puts_off_what_runs() -> None:
    r = run(arriving([(0, 10)]), servers(), control=[pause(4, 5)])
    assert r.latency == [15]
    assert r.tally.counters.busy.tolist() == [10]
    assert r.tally.area == r.tally.sojourn == 15
    assert run(arriving([(0, 10)]), servers(), control=[pause(4, 5), pause(6, 7)]).latency == [19]
    assert run(arriving([(0, 10)]), servers(), control=[pause(4, 5), pause(6, 2)]).latency == [15]
    assert run(arriving([(0, 10)]), servers(), control=[pause(4, 5), pause(9, 1)]).latency == [16]
    assert run(arriving([(0, 10)]), servers(), control=[pause(10, 5)]).latency == [10]


def test_busy_time_leaves_pauses_out() -> None:
    seen = []

    def look(p: Any, now: int) -> None:
        seen.append(p.counters(now).busy.tolist())

    control = [(3, look), pause(4, 5), (6, look), (9, look), (11, look)]
    run(arriving([(0, 10)]), servers(number=2), control=control)
    assert seen == [[3, 0], [4, 0], [4, 0], [6, 0]]


def test_an_idle_core_starts_when_the_pause_is_over() -> None:
    r = run(arriving([(5, 3), (6, 3)]), servers(), control=[pause(4, 5)])
    assert r.latency == [7, 9]
    assert r.tally.counters.busy.tolist() == [6]


def test_a_pause_stops_slices_and_switches_alike() -> None:
    spec = servers(discipline=SHARING, slice=4, switch=2)
    r = run(arriving([(0, 6), (0, 3)]), spec)
    assert r.latency == [13, 9]  # 0[0,4] 1[6,9] 0[11,13]
    r = run(arriving([(0, 6), (0, 3)]), spec, control=[pause(5, 10)])
    assert r.latency == [23, 19]
    assert r.tally.counters.busy.tolist() == [13]
    one = servers(discipline=SHARING, slice=4, turn=3, workers=1)
    assert run(arriving([(0, 5), (0, 5)]), one).latency == [6, 10]  # 0[0,3] 1[3,4] | 0[4,6] 1[6,8] | 1[8,10]
    assert run(arriving([(0, 5), (0, 5)]), one, control=[pause(2, 7)]).latency == [13, 17]


def test_a_spin_ends_during_a_pause() -> None:
    spec = servers(spins=True, setup=2, finish=3)
    assert run(arriving([(0, 6)]), spec, control=[pause(4, 10)]).latency == [17]
    assert run(arriving([(0, 6)]), spec, control=[pause(1, 10)]).latency == [21]


def test_a_slow_down_lasts_until_it_is_taken_back() -> None:
    assert run(arriving([(0, 10)]), servers(), control=[slow(4, 0.5)]).latency == [16]
    assert run(arriving([(0, 10)]), servers(), control=[slow(4, 0.5), slow(8, 1.0)]).latency == [12]
    assert run(arriving([(0, 10)]), servers(speeds=[2.0]), control=[slow(2, 0.25)]).latency == [14]
    both = [slow(2, 0.5), pause(4, 10), slow(6, 1.0)]
    assert run(arriving([(0, 10)]), servers(), control=both).latency == [14 + 7]
    r = run(arriving([(0, 8), (0, 1)]), servers(discipline=SHARING, slice=4), control=[slow(2, 0.5)])
    assert r.latency == [16, 6]  # 0[0,4] does 3, 1[4,6], 0[6,16]: the slice is one of time


# --- what is counted ----------------------------------------------------------------------------------------


def test_the_cohort_is_what_was_due_or_what_was_over() -> None:
    rows = [(0, 6), (5, 3), (9, 3), (11, 4)]  # over at 6, 9, 12, 16
    sent = run(arriving(rows, warmup=5, end=12), servers()).tally
    assert (sent.cohort.launched, sent.cohort.completed, sent.latency.total) == (3, 3, 4 + 3 + 5)
    over = run(arriving(rows, warmup=6, end=12, cohort_done=True), servers()).tally
    assert (over.cohort.launched, over.cohort.completed, over.latency.total) == (2, 2, 6 + 4)
    assert sent.counters.completed == over.counters.completed == 4


any_source = st.fixed_dictionaries(
    {"delay": st.sampled_from([0, 3]), "lanes": st.integers(0, 2), "cost": st.integers(1, 3)}
)
any_retry = st.builds(
    Retry,
    timeout=st.sampled_from([-1, 9, 30]),
    attempts=st.integers(1, 3),
    backoff=st.integers(1, 9),
    factor=st.sampled_from([1.0, 2.0]),
    most=st.just(20),
    jitter=st.sampled_from([0.0, 0.5]),
)
any_servers = st.fixed_dictionaries(
    {
        "cores": st.integers(1, 3),
        "discipline": st.sampled_from([FCFS, SHARING, STEALING, JBSQ]),
        "workers": st.integers(0, 2),
        "slice": st.just(4),
        "turn": st.integers(1, 4),
        "depth": st.integers(1, 3),
        "backlog": st.sampled_from([-1, 2]),
        "speeds": st.sampled_from([[1.0], [0.5, 3.0]]),
    }
)
any_control = st.lists(
    st.tuples(st.integers(0, 150), st.sampled_from([("pause", 9), ("slow", 0.5), ("slow", 1.0)])), max_size=4
)


@given(
    st.sampled_from(["arriving", "users", "paced"]),
    st.lists(st.integers(1, 25), min_size=4, max_size=12),
    any_source,
    any_retry,
    any_servers,
    any_control,
    st.data(),
)
def test_laws(
    kind: str,
    work: list[int],
    fields: dict[str, Any],
    retry: Retry,
    how: dict[str, Any],
    changes: list[tuple[int, tuple[str, Any]]],
    data: st.DataObject,
) -> None:
    fields |= {"retry": retry, "end": 160}
    if kind == "arriving":
        times = sorted(data.draw(st.lists(st.integers(0, 170), min_size=len(work), max_size=len(work))))
        source = arriving(list(zip(times, work, strict=True)), work, **fields)
    elif kind == "users":
        source = users([0, 0, 7], work, [1, 9, 30], session=2.0, **fields)
    else:
        source = paced([0, 3], work, period=20, catch=10, **fields)
    slices = how if how["discipline"] == SHARING else {**how, "slice": plane.FOREVER}
    if how["discipline"] == SHARING:
        slices = {**how, "switch": 1}
    control = [
        (time, lambda p, now, what=what, by=by: getattr(p, what)(0, now, by))
        for time, (what, by) in sorted(changes)
    ]
    r = run(source, servers(number=2, **slices), in_turn, control=control)
    c, log = r.tally.counters, r.log
    assert c.under_way == 0
    assert c.launched == len(log.index) == len(set(log.index.tolist()))
    assert (log.latency >= 0).sum() == c.completed == r.tally.latency.count
    assert (log.latency < 0).sum() == c.given_up
    assert c.inside.tolist() == [0, 0]
    assert int(c.placed.sum()) == c.launched + c.retried
    assert int(c.bytes.sum()) == 100 * (int(c.placed.sum()) - c.refused)
    assert c.retried == c.refused + c.timed_out - c.given_up or source.lanes > 0  # a zombie may be refused
    assert r.tally.area == r.tally.sojourn  # Little's law, on the sample path
    assert (log.sent < 160).all()
    assert (log.due <= log.sent).all()
    done = log.latency >= 0
    assert (log.latency[done] == log.done[done] - log.due[done]).all()
    assert (c.busy <= how["cores"] * r.tally.end).all()
    assert (np.diff(log.done) >= 0).all()


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), min_size=1, max_size=20), st.integers(1, 40)
)
def test_one_core_is_work_conserving_whatever_the_slice(gaps: list[tuple[int, int]], length: int) -> None:
    times = np.cumsum([gap for gap, _ in gaps]).tolist()
    rows = [(time, work) for time, (_, work) in zip(times, gaps, strict=True)]
    fcfs = run(arriving(rows), servers())
    shared = run(arriving(rows), servers(discipline=SHARING, slice=length))
    assert shared.tally.end == fcfs.tally.end
    assert (
        shared.tally.counters.busy.tolist() == fcfs.tally.counters.busy.tolist() == [sum(w for _, w in gaps)]
    )
    if length >= max(work for _, work in gaps):
        assert shared.latency == fcfs.latency


def test_the_first_server_has_it_all() -> None:
    assert run(arriving([(0, 1)] * 3), servers(number=3), first).tally.counters.placed.tolist() == [3, 0, 0]
