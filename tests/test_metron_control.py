"""Metron's controllers on a data plane: by hand on a fluid one, with packets in both engines."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fluid import Fluid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lbsim
from lbsim.engine.control import MetronController, OneServer, controller, initial_table
from lbsim.engine.plane import Clock, Tally
from lbsim.engine.planner import plan
from lbsim.engine.source import open_source
from lbsim.nic import dealt, round_robin_table
from lbsim.scenario import (
    Choosing,
    Cluster,
    Cost,
    Fixed,
    Flows,
    Metron,
    PerBucket,
    Poisson,
    Profile,
    Scaling,
    Server,
)
from lbsim.units import MS, SECOND, US

ONE = Scaling(start=1)


class Plane(Fluid):
    """A fluid plane whose stalls are noted."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stalls: list[tuple[int, int, int]] = []

    def stall(self, core: int, now: int, length: int) -> None:
        self.stalls.append((core, now, length))


def control(plane: Any, until: int, **options: Any) -> MetronController:
    env = Clock()
    got = MetronController(env, plane, Metron(**{"scaling": ONE, **options}), until)
    env.run()
    return got


def constant(*demand: float) -> Callable[[int], list[float]]:
    return lambda now: list(demand)


def times(plane: Fluid) -> list[float]:
    return [round(now / MS, 3) for now, _ in plane.history]


# --- The controller -----------------------------------------------------------------------------------------


def test_a_full_core_is_split_at_the_fifth_sample_and_again_at_the_second_after() -> None:
    # Four classes of 0.5: core 0 is split at the fifth sample, and the controller looks again at once. Core 0
    # is registered then and, as it is still full, split at the next sample. Core 1 shows its load first at
    # 0.6 s + 1 us; the look after that split is its second sample, so the fifth is at 0.9 s + 2 us.
    plane = Plane([0, 0, 0, 0], 4, constant(0.5, 0.5, 0.5, 0.5))
    got = control(plane, 3 * SECOND)
    assert plane.history == [
        (500 * MS, [0, 0, 1, 1]),
        (600 * MS + US, [0, 2, 1, 1]),
        (900 * MS + 2 * US, [0, 2, 1, 3]),
    ]
    assert got.counted == {"ticks": got.ticks, "moves": 4, "added": 3, "removed": 0}
    assert got.ticks == 29 + 3
    assert got.used() == 4


def test_a_step_of_load_is_answered_at_the_fifth_sample_that_sees_it() -> None:
    plane = Plane([0, 0], 2, lambda now: [0.0, 0.0] if now < 1200 * MS else [0.6, 0.4])
    got = control(plane, 3 * SECOND)
    assert times(plane) == [1700.0]
    assert got.added == 1


@pytest.mark.parametrize(("load", "first"), [(0.86, 1200), (0.874, 1200), (0.876, 600)])
def test_the_hold_off_holds_unless_the_load_is_urgent(load: float, first: int) -> None:
    plane = Plane([0, 0], 2, constant(load / 2, load / 2))
    control(plane, 3 * SECOND)
    assert times(plane) == [first]


def test_idle_cores_are_merged_down_to_least() -> None:
    # Registered at 0.2 s, judged from 1.2 s on. Then the least recently changed take the smallest group.
    plane = Plane([0, 1, 2, 3, 0], 4, constant(0.05, 0.05, 0.05, 0.05, 0.05))
    got = control(plane, 5 * SECOND, scaling=Scaling(least=1))
    # Core 1 (load 0.05, the lowest) takes core 2's class; core 3 core 0's two. All rest until they have
    # worked for a second: registered at once, judged at 2.2 s.
    assert plane.history[0] == (1200 * MS, [3, 1, 1, 3, 3])
    assert plane.history[1] == (2200 * MS + US, [1, 1, 1, 1, 1])
    assert len(plane.history) == 2
    assert (got.removed, got.used()) == (3, 1)
    assert (
        control(Plane([0, 1, 2], 3, constant(0.1, 0.1, 0.1)), 9 * SECOND, scaling=Scaling(least=2)).used()
        == 2
    )


def test_without_scaling_all_cores_are_in_use_at_first() -> None:
    plane = Plane([0, 1], 2, constant(0.1, 0.1))
    assert control(plane, SECOND, scaling=None).used() == 2
    assert control(plane, 3 * SECOND, scaling=None).used() == 1


def test_scaling_begins_when_it_is_told() -> None:
    plane = Plane([0, 0], 2, constant(0.6, 0.6))
    control(plane, 3 * SECOND, scaling=Scaling(start=1, begin=1650 * MS))
    assert times(plane) == [1700.0]  # trends were followed all the while


def test_rules_take_effect_later_and_nothing_is_decided_meanwhile() -> None:
    plane = Plane([0, 0, 0, 0], 4, constant(0.5, 0.5, 0.5, 0.5))
    got = control(plane, 2 * SECOND, rule_latency=250 * MS, per_rule=10 * MS)
    # 0.5 s + 250 ms + 2 x 10 ms; the next look is at 770 ms + 1 us, then every 100 ms: core 0 is split at the
    # second, and its one class takes 260 ms.
    assert plane.history[:2] == [(770 * MS, [0, 0, 1, 1]), (1130 * MS + US, [0, 2, 1, 1])]
    tables = [[0] * 4, *(table for _, table in plane.history)]
    assert got.moves == sum(np.not_equal(*pair).sum() for pair in pairwise(tables))


def test_what_would_come_after_the_last_packet_is_not_begun() -> None:
    plane = Plane([0, 0], 2, constant(0.6, 0.6))
    got = control(plane, 700 * MS, rule_latency=200 * MS)
    assert plane.history == []
    assert (got.used(), got.added) == (1, 0)
    plane = Plane([0, 0], 2, constant(0.6, 0.6))
    control(plane, 700 * MS + 1, rule_latency=200 * MS)
    assert times(plane) == [700.0]


def test_cores_that_receive_state_stall() -> None:
    plane = Plane([0, 0], 3, constant(0.6, 0.6))
    control(plane, SECOND, migration=3 * MS, rule_latency=MS)
    assert plane.stalls == [(1, 501 * MS, 3 * MS)]
    plane = Plane([0, 1], 2, constant(0.1, 0.1))
    control(plane, 2 * SECOND, migration=3 * MS, scaling=None)
    assert plane.stalls == [(0, 1200 * MS, 3 * MS)]


def test_a_period_of_its_own_reads_the_loads_of_the_last_tenth_of_a_second() -> None:
    plane = Plane([0, 0], 2, constant(0.6, 0.6))
    control(plane, SECOND, period=30 * MS)
    # Samples at 30, 60, 90 ms see no load; the first of 1.0 is at 120 ms, the fifth at 240 ms.
    assert times(plane) == [240.0]
    plane = Plane([0, 0], 2, constant(0.6, 0.6))
    control(plane, 3 * SECOND, period=400 * MS)
    assert times(plane) == [2000.0]


def test_proc_stat_sees_whole_jiffies() -> None:
    # 0.88 is urgent for who counts cycles: split at the sixth sample. In jiffies it is 0.8 or 0.9.
    plane = Plane([0, 0], 2, constant(0.44, 0.44))
    control(plane, 3 * SECOND)
    assert times(plane) == [600.0]
    plane = Plane([0, 0], 2, constant(0.44, 0.44))
    seen = control(plane, 590 * MS, load="proc_stat")
    assert seen.load[0] in (0.8, 0.9)
    assert np.allclose(seen.load * 10 % 1, 0)


def test_classes_on_their_way_are_not_moved_again() -> None:
    plane = Plane([0] * 8, 4, constant(*[0.5] * 8), delay=450 * MS)  # the plane asserts it
    control(plane, 4 * SECOND)
    assert len(plane.history) >= 3
    assert set(plane.table.tolist()) == {0, 1, 2, 3}


def test_a_hash_is_scaled_in_order() -> None:
    def demand(now: int) -> list[float]:
        return [0.2] * 8 if now < 2 * SECOND else [0.02] * 8

    plane = Plane([0] * 8, 3, demand)
    got = control(plane, 5 * SECOND, scope="rss")
    assert plane.history[0] == (500 * MS, [0, 1] * 4)
    assert {tuple(t) for _, t in plane.history} == {(0, 1) * 4, (0,) * 8, (0, 1, 2, 0, 1, 2, 0, 1)}
    assert got.used() == 1
    assert got.counted["added"] == got.counted["removed"] == 2


# --- The agent ----------------------------------------------------------------------------------------------


def test_the_agent_deals_all_classes_anew() -> None:
    plane = Plane([0] * 6, 4, constant(*[0.5] * 6))
    got = control(plane, 13 * SECOND, controller="agent", deal=7)
    assert plane.history == [
        (2 * SECOND, dealt(6, 2, 7).tolist()),
        (7 * SECOND, dealt(6, 3, 7).tolist()),
        (12 * SECOND, dealt(6, 4, 7).tolist()),
    ]
    assert (got.used(), got.added, got.removed, got.ticks) == (4, 3, 0, 12)


def test_the_agent_of_an_idle_server_waits_for_its_timer() -> None:
    # One core less is refused at 1 s, so the load of 2 s on is answered at 6 s only, not at 4 s.
    plane = Plane([0] * 4, 2, lambda now: [0.0] * 4 if now < 2 * SECOND else [0.4] * 4)
    control(plane, 9 * SECOND, controller="agent")
    assert times(plane) == [6000.0]


def test_the_agent_takes_cores_away_and_keeps_least() -> None:
    plane = Plane([0, 1, 2, 0], 3, constant(0.1, 0.1, 0.1, 0.1))
    got = control(plane, 20 * SECOND, controller="agent", scaling=Scaling(least=2))
    assert times(plane) == [1000.0]
    assert (got.used(), got.removed) == (2, 1)


def test_the_agent_s_clock_does_not_drift() -> None:
    plane = Plane([0] * 4, 4, constant(*[0.9] * 4))
    control(plane, 16 * SECOND, controller="agent", rule_latency=1300 * MS)
    assert times(plane) == [3300.0, 8300.0, 13300.0]


def test_the_agent_leaves_what_is_on_its_way() -> None:
    plane = Plane([0] * 8, 4, constant(*[0.5] * 8), delay=6 * SECOND)
    got = control(plane, 20 * SECOND, controller="agent")
    assert plane.history[0] == (2 * SECOND, dealt(8, 2, 0).tolist())
    on_its_way = dealt(8, 2, 0) != 0
    again = np.array(plane.history[1][1])
    assert plane.history[1][0] == 7 * SECOND
    assert (again[on_its_way] == 1).all()
    assert (again[~on_its_way] == dealt(8, 3, 0)[~on_its_way]).all()
    assert got.used() == 4


# --- One server of a cluster --------------------------------------------------------------------------------


def test_a_controller_sees_its_own_server_only() -> None:
    # Server 1 of two, with three cores each, is full; server 0 has the same buckets without a load.
    demand = constant(0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5)
    whole = Plane([0] * 4 + [3] * 4, 6, demand)
    got = control(OneServer(whole, 1, 3, 4), 2 * SECOND, migration=MS)  # type: ignore[arg-type]
    alone = Plane([0] * 4, 3, constant(0.5, 0.5, 0.5, 0.5))
    same = control(alone, 2 * SECOND, migration=MS)
    assert len(alone.history) == 2
    assert whole.history == [(now, [0] * 4 + [3 + core for core in table]) for now, table in alone.history]
    assert whole.stalls == [(3 + core, now, length) for core, now, length in alone.stalls]
    assert got.counted == same.counted


def test_the_agent_of_a_server_deals_in_an_order_of_its_own() -> None:
    plane, env = Plane([0] * 8, 2, constant(*[0.5] * 8)), Clock()
    MetronController(env, plane, Metron(controller="agent", deal=5, scaling=ONE), 3 * SECOND, server=2)  # type: ignore[arg-type]
    env.run()
    assert plane.history == [(2 * SECOND, dealt(8, 2, 7).tolist())]


# --- With packets -------------------------------------------------------------------------------------------


def scenario(
    duration: str = "3s", burst: int = 8, state: PerBucket | None = None, **options: Any
) -> lbsim.Scenario:
    """Four cores of 5000 packets a second; the load rises to 2.4 of them, then falls to 0.24."""
    batch = {"per_batch": "30us"} if burst > 1 else {}
    return lbsim.Scenario(
        duration=duration,
        traffic=Flows(flows=300, popularity=0.5),
        arrivals=Poisson(rate="1.2kpps", profile=Profile(every="500ms", factors=(1, 10, 10, 1))),
        nic={"dispatch": {"kind": "metron", "rules": 40, "scaling": {"start": 1}, **options}},
        server=Server(
            cores=4, ring=256, burst=burst, cost=Cost(work=Fixed(time="200us"), **batch), state=state
        ),
        measure={"packets": True, "interval": "50ms"},
    )


def noted(s: lbsim.Scenario, compiled: bool) -> tuple[Tally, list[tuple[int, np.ndarray]], np.ndarray]:
    """Run; return the tally, every table from when it was in force, and the class of each flow."""
    source, env = open_source(s), Clock()
    plane = plan(env, source, None, compiled, None)
    tables, moved = [(0, plane.table.copy())], plane.moved

    def note(now: int) -> None:
        tables.append((now, plane.table.copy()))
        moved(now)

    plane.moved = note  # type: ignore[method-assign]
    controller(env, plane, s, source.end)
    env.run()
    return plane.finish(), tables, source.buckets


HARD = {"rule_latency": "7ms", "per_rule": "300us", "migration": "4ms", "hold": "200ms"}


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("state", [None, PerBucket()])
def test_no_class_is_on_two_cores_at_once_but_across_a_migration(
    compiled: bool, state: PerBucket | None
) -> None:
    tally, tables, class_of = noted(scenario(state=state, **HARD), compiled)
    log = tally.log
    assert log is not None
    assert len(tables) > 5
    since = np.array([now for now, _ in tables])
    in_force = np.searchsorted(since, log.arrival, side="right") - 1
    classes = class_of[log.flow]
    assert (log.core == np.array([table for _, table in tables])[in_force, classes]).all()
    moved: dict[int, list[int]] = {}
    for (_, before), (now, after) in pairwise(tables):
        for number in np.flatnonzero(before != after).tolist():
            moved.setdefault(number, []).append(now)
    working: dict[int, list[tuple[int, int, int]]] = {}
    across = 0
    rows = zip(classes.tolist(), log.core.tolist(), log.arrival.tolist(), log.departure.tolist(), strict=True)
    for number, core, arrival, departure in rows:
        there = [row for row in working.get(number, []) if row[2] > arrival]
        for elsewhere, came, _ in there:
            if elsewhere != core:
                across += 1
                assert any(came < change <= arrival for change in moved[number])
        working[number] = [*there, (core, arrival, departure)]
    assert across > 0  # the run has something to show


def test_classes_are_dealt_and_a_hash_is_spread() -> None:
    assert initial_table(scenario(deal=3), 40).tolist() == dealt(40, 1, 3).tolist()
    assert initial_table(scenario(scaling={"start": 3}, deal=3), 40).tolist() == dealt(40, 3, 3).tolist()
    assert (
        initial_table(scenario(scope="rss", scaling={"start": 3})).tolist()
        == round_robin_table(512, 3).tolist()
    )
    same = scenario(controller="none", scaling=None)
    assert initial_table(same, 40).tolist() == dealt(40, 4, 0).tolist()
    got = lbsim.run(same, "compiled")
    assert got.control == {}
    assert got.cores_used == 4


def test_a_run_follows_the_load_up_and_down() -> None:
    got = lbsim.run(scenario(duration="8s"), "compiled")
    used = got.series("cores").iloc[:, 0]
    assert used[0.5] == 1
    assert used.max() == 4
    assert used.iloc[-1] == 1
    assert got.control["added"] == got.control["removed"] >= 3


def test_every_server_of_a_cluster_scales_by_itself_in_both_engines_alike() -> None:
    cluster = Cluster(servers=2, balancer=Choosing(policy="round_robin"))
    s = scenario(duration="2s", **HARD).model_copy(update={"cluster": cluster})
    fast, slow = (lbsim.run(s, engine) for engine in ("compiled", "reference"))  # type: ignore[call-overload]
    assert fast.control == slow.control
    assert fast.packets is not None
    assert all((a == b).all() for a, b in zip(fast.packets, slow.packets, strict=True))
    assert fast.control["added"] >= 2
    used = fast.series("cores").iloc[:, 0]
    assert (used.iloc[0], used.iloc[-1]) == (2, 2 + fast.control["added"] - fast.control["removed"])
    table = initial_table(s, 40)
    assert table[:40].tolist() == dealt(40, 1, 0).tolist()
    assert table[40:].tolist() == [4] * 40
    three = s.model_copy(update={"nic": scenario(scaling={"start": 3}).nic})
    assert (initial_table(three, 40)[40:] - 4).tolist() == dealt(40, 3, 1).tolist()  # in an order of its own


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    scope = draw(st.sampled_from(["mac", "rules", "rss"]))
    chief = draw(st.sampled_from(["global", "global", "agent"] if scope != "rss" else ["global"]))
    return {
        "scope": scope,
        "controller": chief,
        "load": draw(st.sampled_from(["cycles", "proc_stat"])),
        "period": draw(st.sampled_from(["100ms", "70ms", "13ms"])),
        "agent_period": draw(st.sampled_from(["100ms", "37ms"])),
        "agent_rest": draw(st.sampled_from(["0s", "150ms"])),
        "hold": draw(st.sampled_from(["0s", "50ms", "1s"])),
        "rule_latency": draw(st.sampled_from(["1ps", "7ms", "123us", "60ms"])),
        "per_rule": draw(st.sampled_from(["0s", "100us"])),
        "migration": draw(st.sampled_from(["1ps", "2ms", "30ms"])),
        "deal": draw(st.integers(0, 3)),
        "burst": draw(st.sampled_from([1, 8])),
        "state": draw(st.sampled_from([None, None, PerBucket(lookup="20us"), PerBucket(protocol="mark")])),
    }


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(options())
def test_engines_agree_to_the_last_bit(chosen: dict[str, Any]) -> None:
    s = scenario(duration="1300ms", **chosen)
    fast, slow = (lbsim.run(s, engine) for engine in ("compiled", "reference"))  # type: ignore[call-overload]
    assert fast.control == slow.control
    assert fast.control["moves"] > 0
    assert fast.packets is not None
    assert all((a == b).all() for a, b in zip(fast.packets, slow.packets, strict=True))
    assert all((a == b).all() for a, b in zip(fast.samples, slow.samples, strict=True))
    assert (fast.busy == slow.busy).all()
    assert fast.latency.high == slow.latency.high
    assert fast.drops == slow.drops
