"""Departures at admission against the reference: equal requests and equal control give equal bits."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from request_oracle import arriving, paced, users
from request_oracle import servers as serving

import lbsim.engine.request.fast as fast
from lbsim.balancer import Policy, policies
from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import Unit, View, coin
from lbsim.engine.plane import Clock
from lbsim.engine.request import fast_state
from lbsim.engine.request.fast import FastPlane, looks_at, suits
from lbsim.engine.request.plane import (
    CONTROL,
    INDEPENDENT,
    JBSQ,
    PACED,
    USERS,
    Columns,
    Counters,
    Plane,
    Retry,
    Servers,
    Source,
    Tally,
)
from lbsim.engine.request.planner import plan
from lbsim.engine.request.reference import ReferencePlane
from lbsim.scenario import Adapt, FlowTable

SOME = ("wary", "least_loaded", "adaptive_weighted_round_robin")
MORE = (
    *("round_robin", "round_robin_per_core", "weighted_round_robin", "hashed", "maglev", "uniform"),
    *(
        "power_of_two",
        "power_of_two_distinct",
        "one_plus_beta",
        "jsq",
        "join_idle",
        "shortest_expected_delay",
    ),
    "bounded_loads",
)
LOST = 1000
"""The hash of a request that `nosy` places nowhere."""

NONE = np.empty(0, np.int64)


def nosy(view: View, unit: Unit) -> int:
    """Look at everything there is."""
    if unit.hash == LOST:
        return view.n
    best, least = 0, view.total
    for k in range(view.n):
        value = (7 * view.latency[k] + 5 * view.inside[k] + 3 * view.queue[k] + view.age[k] + unit.index) % 11
        if value < least:
            best, least = k, value
    return best


def wary(view: View, unit: Unit) -> int:
    """The shorter of two random queues, where each grows with the age of what is known of it."""
    a, b = coin(view, unit, 0) % view.n, coin(view, unit, 1) % view.n
    return a if view.queue[a] + view.age[a] // 4 <= view.queue[b] + view.age[b] // 4 else b


def policy_of(name: str) -> Policy:
    return Policy(name, wary, 0, "", samples=2) if name == "wary" else policies()[name]


class Case(NamedTuple):
    """All that a run depends on."""

    source: Source
    servers: Servers
    weights: list[int]
    live: bool
    control: list[tuple[int, str, int]]  # when, what, whose or how much
    slice: int  # of the fast plane, like the following
    tiresome: int
    room: int


class Run(NamedTuple):
    tally: Tally
    seen: list[tuple[int, Any]]


def draw(r: Random, live: bool) -> Case:
    """Make a case of few instants, so that many things happen at one."""
    kind, n = r.choice((INDEPENDENT, USERS, USERS, PACED)), r.randint(1, 6)
    end, longest = r.randint(1, 60), r.choice((1, 3, 9))
    who = 0 if kind == INDEPENDENT else r.randint(1, 9)
    rows, gap = r.randint(1, 90), r.choice((1, 1, 2, 5))
    seed, chunk = r.getrandbits(32), r.randint(1, 40)

    def columns() -> Iterator[Columns]:
        again, now = np.random.default_rng(seed), 0
        while kind != INDEPENDENT or now < end:
            digest, work = again.integers(0, 50, chunk), again.integers(1, longest + 1, chunk)
            pause = again.integers(0, longest, chunk) if kind == USERS else NONE
            time = NONE
            if kind == INDEPENDENT:
                time = now + np.cumsum(again.integers(0, gap + 1, chunk))
                now = int(time[-1]) + 1
                digest, work, time = (column[time < end] for column in (digest, work, time))
            yield Columns(digest, work, pause, time)

    period = r.randint(1, rows)
    source = Source(
        kind, who, np.array([r.choice((0, 0, 1, 2, 3, 70)) for _ in range(who)], np.int64),
        period % 12 + 1, r.randint(1, 6), 1.0, r.choice((0, 4)), 0, 0, 0, Retry(), 3, end,
        r.randint(0, end), r.random() < 0.5, columns,
    )  # fmt: skip
    speeds = [r.choice((1.0, 1.0, 0.5, 3.0, 0.3)) for _ in range(n)]
    control = sorted(
        (r.randint(0, r.choice((9, 70))), r.choice(("read", "report", "reweigh")), r.randint(0, 20))
        for _ in range(r.randint(0, 12))
    )
    return Case(
        source, serving(number=n, speeds=speeds), [r.randint(0, 3) for _ in range(n - 1)] + [1],
        live, control, r.choice((1, 3, 1000)), r.choice((0, 0, 16)), r.choice((1, 1024)),
    )  # fmt: skip


def balancer_of(policy: Policy, case: Case) -> Balancer:
    adapt = Adapt() if "adaptive" in policy.name else None
    n, weights = case.servers.number, np.array(case.weights, np.float64)
    return Balancer(
        policy, n, n, weights, consistency=FlowTable(capacity=1), choices=3, seed=11, adapt=adapt,
        slots=97 if policy.name == "maglev" else None,
    )  # fmt: skip


def drive(env: Clock, plane: Plane, balancer: Balancer, case: Case) -> Run:
    """Let control do its steps, and what is left run to its end."""
    seen: list[tuple[int, Any]] = []

    def control() -> Generator[simpy.Event, Any, None]:
        for time, what, number in case.control:
            yield env.wait(time - env.now, CONTROL)
            plane.sync(env.now)
            server = number % case.servers.number
            if what == "read":
                seen.append((env.now, plane.counters(env.now)))
                if case.live:
                    seen.append((env.now, plane.signal.tolist()))
            elif what == "report" and not case.live:
                plane.signal[server], plane.measured[server] = number, env.now
                plane.refresh()
            elif what == "reweigh" and balancer.adapt is not None:
                balancer.reweigh(plane.signal, env.now)
                plane.refresh()

    env.process(control())
    env.run()
    return Run(plane.finish(), seen)


def run_fast(policy: Policy, case: Case) -> Run:
    balancer, env = balancer_of(policy, case), Clock()
    with (
        patch.object(fast, "SLICE", case.slice),
        patch.object(fast, "TIRESOME", case.tiresome),
        patch.object(fast, "PATIENCE", 1 + case.tiresome),
        patch.object(fast_state, "ROOM", case.room),
    ):
        plane = FastPlane(balancer, case.source, case.servers, live=case.live, log=True)
        return drive(env, plane, balancer, case)


def run_reference(policy: Policy, case: Case) -> Run:
    balancer, env = balancer_of(policy, case), Clock()
    plane = ReferencePlane(env, balancer, case.source, case.servers, live=case.live, log=True)
    return drive(env, plane, balancer, case)


def plain(value: Any) -> Any:
    """Return something that compares."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "_fields"):
        return {name: plain(field) for name, field in zip(value._fields, value, strict=True)}
    if hasattr(value, "counts"):  # a histogram
        return (value.counts.tolist(), value.total, value.low, value.high)
    return value


def check_equal(policy: Policy, case: Case) -> None:
    ours, theirs = run_fast(policy, case), run_reference(policy, case)
    assert [(time, plain(value)) for time, value in ours.seen] == [
        (time, plain(value)) for time, value in theirs.seen
    ]
    assert plain(ours.tally) == plain(theirs.tally)


@pytest.mark.parametrize("name", SOME)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_fast_plane_equals_the_reference(name: str, seed: int) -> None:
    policy, random = policy_of(name), Random(seed)
    live = looks_at(policy, 3) < 0 or random.random() < 0.5
    check_equal(policy, draw(random, live))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_policy_sees_all_there_is_to_see(seed: int) -> None:
    check_equal(Policy("nosy", nosy, 0, ""), draw(Random(seed), live=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SOME, *MORE])
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_policy_equals_the_reference(name: str, seed: int) -> None:
    policy, random = policy_of(name), Random(seed)
    live = looks_at(policy, 3) < 0 or random.random() < 0.5
    check_equal(policy, draw(random, live))


# --- by hand ------------------------------------------------------------------------------------------------


def by_hand(source: Source, servers: Servers, name: str = "round_robin", *, until: int = -1) -> Any:
    """Run and return the tally, or the counters at a time."""
    n = servers.number
    balancer = Balancer(policies()[name], n, n, np.ones(n), consistency=FlowTable(capacity=1), seed=7)
    plane = FastPlane(balancer, source, servers, log=True)
    if until < 0:
        return plane.finish()
    plane.sync(until)
    return plane.counters(until)


def test_departures_by_hand() -> None:
    # Server 0 has requests 0 and 2: 10..14 and 14..17; server 1 has 1 and 3: 11..16 and 20..21.
    source = arriving([(10, 4), (11, 5), (12, 3), (20, 1)], warmup=11)
    tally = by_hand(source, serving(number=2))
    assert tally.log.index.tolist() == [0, 1, 2, 3]
    assert tally.log.done.tolist() == [14, 16, 17, 21]
    assert (tally.area, tally.sojourn, tally.peak, tally.end) == (15, 15, 3, 21)
    assert (tally.latency.total, tally.latency.low, tally.latency.high) == (11, 1, 5)
    assert (tally.cohort.launched, tally.cohort.completed) == (3, 3)


def test_counters_in_the_middle_of_a_request() -> None:
    source = arriving([(10, 4), (11, 5), (12, 3), (20, 1)])
    seen: Counters = by_hand(source, serving(number=2), until=15)
    assert (seen.launched, seen.completed, seen.under_way) == (3, 1, 2)
    assert (seen.inside.tolist(), seen.placed.tolist()) == ([1, 1], [2, 1])
    assert (seen.busy.tolist(), seen.bytes.tolist()) == ([5, 4], [100, 0])
    assert seen.latency.tolist() == [4, 0]


def test_what_is_due_at_an_instant_of_control_has_departed_but_not_been_sent() -> None:
    source = arriving([(10, 4), (14, 5)])
    seen: Counters = by_hand(source, serving(), until=14)
    assert (seen.launched, seen.completed) == (1, 1)


def test_users_go_on_after_answer_and_thought() -> None:
    # User 0: 0..5, thinks 2, 7; user 1: 0..5..10 (waits behind 0), thinks 3, 13; at 7 user 0 waits for 10.
    tally = by_hand(users([0, 0], [5], [2, 3], end=13), serving())
    assert tally.log.sent.tolist() == [0, 0, 7]
    assert tally.log.done.tolist() == [5, 10, 15]
    assert tally.log.user.tolist() == [0, 1, 0]


def test_paced_users_catch_up_and_count_from_what_was_due() -> None:
    # Due 0, 10, 20, 30, 40; the first takes 25, so the next ones are sent at 25, 29, 33 and 40.
    works = np.array([25, 1, 1, 1, 1, 1])
    source = paced([0], [1], period=10, catch=4, end=41, overhead=2)
    tally = by_hand(source._replace(columns=lambda: iter([Columns(works, works, NONE, NONE)])), serving())
    assert tally.log.sent.tolist() == [0, 25, 29, 33, 40]
    assert tally.log.due.tolist() == [0, 10, 20, 30, 40]
    assert tally.log.latency.tolist() == [27, 18, 12, 6, 3]


def test_the_winner_of_a_tournament_is_the_first_of_the_earliest() -> None:
    r = Random(1)
    for n in (1, 2, 3, 5, 8, 33):
        times = np.array([r.randint(0, 5) for _ in range(n)], np.int64)
        tree = fast_state.new_tournament(times)
        for _ in range(100):
            assert (tree[1].time, tree[1].who) == (times.min(), times.argmin())
            who = r.randrange(n)
            times[who] = r.choice((0, 1, 2, 3, 4, 5, fast_state.NEVER))
            play(tree, who, times[who])


def play(tree: Any, who: int, time: int) -> None:
    plain_python: Any = fast_state.play
    plain_python.py_func(tree, who, np.int64(time))


# --- what it leaves to others -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        arriving([(0, 1)], retry=Retry(timeout=5)),
        arriving([(0, 1)], delay=1),
        arriving([(0, 1)], lanes=1, cost=1),
        users([0], [1], [1], session=2.0),
    ],
)
def test_it_takes_no_source_whose_requests_are_disturbed(source: Source) -> None:
    balancer = Balancer(policies()["round_robin"], 1, 1, np.ones(1), consistency=FlowTable(capacity=1))
    assert not suits(balancer, source, serving(), True)
    with pytest.raises(ValueError, match="general plane"):
        FastPlane(balancer, source, serving())


@pytest.mark.parametrize(
    "changed",
    [
        {"cores": 2},
        {"discipline": JBSQ, "cores": 2},
        {"backlog": 3},
        {"spins": True},
        {"by_second": np.ones((1, 1), np.int64)},
    ],
)
def test_it_takes_no_servers_that_disturb(changed: dict[str, Any]) -> None:
    balancer = Balancer(policies()["round_robin"], 1, 1, np.ones(1), consistency=FlowTable(capacity=1))
    assert suits(balancer, arriving([(0, 1)]), serving(), True)
    assert not suits(balancer, arriving([(0, 1)]), serving()._replace(**changed), True)


def test_reports_of_any_queue_are_left_to_the_general_plane() -> None:
    source, spec = arriving([(0, 1)]), serving()
    for name, live, expected in (
        ("least_loaded", True, True),
        ("least_loaded", False, False),
        ("power_of_two", False, True),
        ("hashed", False, True),
    ):
        balancer = Balancer(policies()[name], 1, 1, np.ones(1), consistency=FlowTable(capacity=1))
        assert suits(balancer, source, spec, live) is expected


def test_the_cheapest_exact_plane_is_planned() -> None:
    source, spec = arriving([(0, 1)]), serving()

    def planned(source: Source, compiled: bool = True, **options: Any) -> str:
        balancer = Balancer(policies()["round_robin"], 1, 1, np.ones(1), consistency=FlowTable(capacity=1))
        return plan(Clock(), balancer, source, spec, compiled, **options).name

    assert planned(source) == "compiled: departures at admission, no queue"
    assert planned(source, disturbed=True) == "compiled: heap of events"
    assert planned(source._replace(retry=Retry(timeout=5))) == "compiled: heap of events"
    assert planned(source, compiled=False).startswith("reference")


def test_a_server_with_work_for_ever_is_refused() -> None:
    balancer = Balancer(policies()["round_robin"], 1, 1, np.ones(1), consistency=FlowTable(capacity=1))
    with pytest.raises(ValueError, match="53 days"):
        FastPlane(balancer, arriving([(0, 2**61), (1, 2**61)]), serving()).finish()


def test_nothing_admitted_is_held_up() -> None:
    balancer = Balancer(policies()["round_robin"], 1, 1, np.ones(1), consistency=FlowTable(capacity=1))
    plane = FastPlane(balancer, arriving([(0, 1)]), serving())
    with pytest.raises(RuntimeError, match="no pauses"):
        plane.pause(0, 0, 1)
    with pytest.raises(RuntimeError, match="no pauses"):
        plane.slow(0, 0, 0.5)


def test_a_policy_that_places_a_request_nowhere_is_named_with_the_request() -> None:
    balancer = Balancer(Policy("nosy", nosy, 0, ""), 3, 3, np.ones(3), consistency=FlowTable(capacity=1))
    source = arriving([(0, 1), (0, 1)], [0, LOST])
    with pytest.raises(ValueError, match=r"request 1 to no server: it must return 0 \.\. 2"):
        FastPlane(balancer, source, serving(number=3)).finish()
