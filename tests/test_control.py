"""What control processes and series read, by hand: code that both engines share, so no comparison of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lbsim
from lbsim.engine import control
from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.control import ClassController, RssppController, controller, initial_table
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import CONTROL, Clock, Counters, Plane
from lbsim.engine.reference import ReferencePlane, Rings
from lbsim.engine.rings import FifoRings, PolledRings
from lbsim.metrics import Samples
from lbsim.nic import Moves, dealt, sprayer_table
from lbsim.scenario import Cost, Deterministic, Fixed, Flows, Rsspp, Scaling, Server, TrafficClasses
from lbsim.units import MS, SECOND, US
from lbsim.workload.packets import Packets


@pytest.mark.parametrize("engine", ["fifo", "poll", "reference"])
def test_work_in_service_counts_up_to_the_instant(engine: str) -> None:
    # One core, service 10: packet 0 works from 0 to 10, packet 1 (arrived at 3) from 10 to 20.
    zero = np.zeros(2, np.int32)
    packets = Packets(np.array([0, 3]), zero, zero, zero, np.array([10, 10]))
    env, machine, table = Clock(), Machine(8, 1, 0, 0, 0), np.zeros(1, np.int64)
    plane: Plane
    if engine == "reference":
        plane = ReferencePlane(env, iter([packets]), machine, Rings(env, machine, 1, table))
    else:
        bank = FifoRings(machine, 1, table) if engine == "fifo" else PolledRings(machine, 1, table)
        plane = CompiledPlane(iter([packets]), machine, bank)
    seen = []

    def read() -> Any:
        for gap in (4, 6, 5, 5, 5):
            yield env.wait(gap, CONTROL)
            plane.sync(env.now)
            seen.append([env.now, *(int(column[0]) for column in plane.counters(env.now))])

    env.process(read())
    env.run()
    assert [dict(zip(("now", *Counters._fields), row, strict=True)) for row in seen] == [
        {"now": 4, "processed": 0, "busy": 4, "dropped": 0, "occupancy": 2, "polled": 1},
        {"now": 10, "processed": 1, "busy": 10, "dropped": 0, "occupancy": 1, "polled": 2},
        {"now": 15, "processed": 1, "busy": 15, "dropped": 0, "occupancy": 1, "polled": 2},
        {"now": 20, "processed": 2, "busy": 20, "dropped": 0, "occupancy": 0, "polled": 2},
        {"now": 25, "processed": 2, "busy": 20, "dropped": 0, "occupancy": 0, "polled": 2},
    ]


class Fluid:
    """A plane in which bucket b always keeps `demand(now)[b]` of a core busy, as far as its core can.

    Buckets count one packet for each ns of work. What happens is noted at every look at the counters; a
    bucket that has moved is in transit for `delay` ps.
    """

    name = "fluid"

    def __init__(self, table: Any, cores: int, demand: Callable[[int], Any], delay: int = 0) -> None:
        self.table = np.array(table, np.int64)
        self.demand, self.delay = demand, delay
        self.busy = np.zeros(cores, np.int64)
        self.polled = np.zeros(len(self.table), np.int64)
        self.arrives = np.zeros(len(self.table), np.int64)
        self.now, self.before, self.rewritten = 0, self.table.copy(), 0
        self.history: list[tuple[int, list[int]]] = []

    def sync(self, now: int) -> None:
        share = np.array(self.demand(self.now)) * (now - self.now)
        asked = np.bincount(self.table, share, len(self.busy))
        done = np.minimum(asked, now - self.now)
        self.busy += np.rint(done).astype(np.int64)
        scale = np.divide(done, asked, out=np.zeros_like(done), where=asked > 0)
        self.polled += np.rint(share * scale[self.table] / 1000).astype(np.int64)
        self.now = now

    def counters(self, now: int) -> Counters:
        zero = np.zeros_like(self.busy)
        return Counters(zero, self.busy.copy(), zero, zero, self.polled.copy())

    def moved(self, now: int) -> None:
        """Check what every control must respect, and note the table."""
        assert now == self.now
        changed = np.flatnonzero(self.table != self.before)
        assert changed.size
        assert (self.arrives[changed] <= now).all()  # none of them was in transit
        self.arrives[changed] = now + self.delay
        self.before = self.table.copy()
        self.history.append((now, self.table.tolist()))

    def in_transit(self) -> Any:
        return self.arrives > self.now if self.delay else None


class Script:
    """A plane whose buckets were polled as told, tick by tick."""

    def __init__(self, polled: list[list[int]]) -> None:
        self.table = np.zeros(2, np.int64)
        self.polled = iter(np.cumsum([[0, 0], *polled], axis=0))
        self.name = "script"

    def sync(self, now: int) -> None:
        pass

    def counters(self, now: int) -> Counters:
        zero = np.zeros(2, np.int64)
        return Counters(zero, zero, zero, zero, next(self.polled))

    def in_transit(self) -> None:
        pass


@pytest.mark.parametrize(
    ("options", "last"),
    [({}, [5, 4]), ({"as_published": False}, [0, 4]), ({"load": "cpu"}, [0, 4])],
)
def test_a_silent_bucket_shows_its_old_count_as_published(
    options: dict[str, Any], last: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(load: Any, counts: Any, table: Any, received: Any, params: Any, held: Any) -> Moves:
        seen.append(counts.tolist())
        return Moves(table.copy(), np.zeros(0, np.int64), np.zeros(2), received, 0, 0.0)

    monkeypatch.setattr(control.rsspp, "rebalance", note)
    env = Clock()
    spec = Rsspp(tick=100 * MS, load_period=SECOND, **options)
    RssppController(env, Script([[5, 3], [0, 4]]), spec, ring=8, until=300 * MS)  # type: ignore[arg-type]
    env.run()
    assert seen == [[5, 3], last]


# --- Scaling of RSS++ ---------------------------------------------------------------------------------------


def scale(plane: Fluid, until: int, ring: int = 8, **options: Any) -> tuple[RssppController, list[Any]]:
    """Run RSS++ on CPU loads at ticks of 100 ms; return it and the cores in use at 50, 150 ... ms."""
    env = Clock()
    spec = Rsspp(**{"tick": 100 * MS, "load": "cpu", **options})
    rsspp = RssppController(env, plane, spec, ring, until)  # type: ignore[arg-type]
    used = []

    def watch() -> Any:
        yield env.wait(50 * MS, CONTROL)
        while env.now < until:
            used.append(rsspp.cores.tolist())
            assert rsspp.used() == len(rsspp.cores)
            yield env.wait(100 * MS, CONTROL)

    env.process(watch())
    env.run()
    return rsspp, used


def test_cores_follow_the_load_one_a_tick() -> None:
    # 64 buckets keep 3.2 cores busy, then 0.8. Target 0.8 of a core. From one core: it is full, spare -0.2,
    # add one a tick, until four have spare 0. Then, with 0.2 each, spare 2.4 > 1.2 + 5 x 0.05: remove; three:
    # 1.6 > 1.2 + 4 x 0.05: remove; two: 0.8.
    def demand(now: int) -> np.ndarray:
        return np.full(64, 0.05 if now < SECOND else 0.0125)

    plane = Fluid(np.zeros(64), 6, demand)
    rsspp, used = scale(plane, 2 * SECOND, scaling=Scaling(start=1))
    sizes = [len(cores) for cores in used]
    assert sizes[:4] == [1, 2, 3, 4]
    assert set(sizes[3:11]) == {4}
    assert sizes[11:13] == [3, 2]
    assert set(sizes[13:]) == {2}
    assert rsspp.counted == {"ticks": 19, "moves": rsspp.moves, "added": 3, "removed": 2}
    loads = np.bincount(plane.table, demand(SECOND), 6)[used[-1]]
    assert loads == pytest.approx(0.4, abs=0.03)


def test_the_lowest_core_joins_and_the_least_loaded_leaves() -> None:
    # Cores 0 .. 2 are 0.3, 0.02 and 0.3 busy: core 1 leaves. When the load is back, it is the lowest free.
    def demand(now: int) -> list[float]:
        return [0.15, 0.01, 0.15, 0.15, 0.01, 0.15] if now < 300 * MS else [0.6] * 6

    rsspp, used = scale(Fluid([0, 1, 2, 0, 1, 2], 4, demand), 900 * MS, scaling=Scaling(start=3, least=2))
    assert used[:3] == [[0, 1, 2], [0, 2], [0, 2]]
    assert used[4] == [0, 1, 2]
    assert used[-1] == [0, 1, 2, 3]
    assert (rsspp.added, rsspp.removed) == (2, 1)


def test_least_is_kept_and_no_core_is_added_beyond_all() -> None:
    idle = Fluid(np.arange(8) % 4, 4, lambda now: [0.001] * 8)
    assert len(scale(idle, SECOND, scaling=Scaling(least=3))[1][-1]) == 3
    full = Fluid(np.arange(8) % 2, 2, lambda now: [1.0] * 8)
    assert len(scale(full, SECOND, scaling=Scaling())[1][-1]) == 2


def test_without_scaling_all_cores_stay_and_the_count_is_as_ever() -> None:
    idle = Fluid(np.arange(8) % 4, 4, lambda now: [0.001] * 8)
    rsspp, used = scale(idle, SECOND)
    assert len(used[-1]) == rsspp.used() == 4
    assert rsspp.counted == {"ticks": 9, "moves": 0}


def test_a_core_waits_for_its_buckets_before_it_leaves() -> None:
    # Balanced at 100 ms: bucket 1 goes to core 1 and is on its way for 250 ms. The load falls right after: at
    # 200 and 300 ms core 1, the lighter one, may not leave; at 400 ms it does.
    def demand(now: int) -> list[float]:
        return [0.5, 0.4] if now < 100 * MS else [0.1, 0.01]

    rsspp, used = scale(Fluid([0, 0], 2, demand, delay=250 * MS), 600 * MS, scaling=Scaling())
    assert used == [[0, 1], [0, 1], [0, 1], [0, 1], [0], [0]]
    assert rsspp.removed == 1


def test_begin_and_the_begin_of_scaling() -> None:
    plane = Fluid([0] * 8, 3, lambda now: [0.06] * 8)  # 0.48 cores
    rsspp, used = scale(plane, SECOND, begin=220 * MS, scaling=Scaling(begin=600 * MS))
    assert plane.history[0][0] == 320 * MS
    assert [len(cores) for cores in used] == [3] * 6 + [2] * 4  # 620 ms is the first tick from 600 ms on
    assert rsspp.ticks == 7
    plane = Fluid([0] * 8, 3, lambda now: [0.1] * 8)
    assert scale(plane, 200 * MS, begin=200 * MS)[0].ticks == 0


def test_the_load_since_the_beginning_does_not_count() -> None:
    # Until the balancer begins core 0 has all the work; then both are even, and nothing moves.
    def demand(now: int) -> list[float]:
        return [0.4, 0.4, 0.0, 0.0] if now < 300 * MS else [0.2] * 4

    plane = Fluid([0, 0, 1, 1], 2, demand)
    env = Clock()

    def look() -> Any:
        yield env.wait(300 * MS, CONTROL)
        plane.sync(env.now)

    env.process(look())
    spec = Rsspp(tick=100 * MS, load="cpu", begin=300 * MS)  # type: ignore[arg-type]
    rsspp = RssppController(env, plane, spec, 8, SECOND)  # type: ignore[arg-type]
    env.run()
    assert (rsspp.ticks, rsspp.moves) == (6, 0)


@pytest.mark.parametrize("load", ["cycles", "cpu"])
@pytest.mark.parametrize("as_published", [True, False])
def test_a_day_of_load_is_followed(load: str, as_published: bool) -> None:
    weight = np.random.default_rng(3).lognormal(0, 1, 512)

    def demand(now: int) -> np.ndarray:
        return weight / weight.sum() * (0.6 + 5 * np.sin(np.pi * now / (20 * SECOND)))

    plane = Fluid(np.arange(512) % 1, 12, demand, delay=30 * MS)
    options: dict[str, Any] = {"load": load, "as_published": as_published, "scaling": Scaling(start=1)}
    rsspp, used = scale(plane, 20 * SECOND, ring=4096, **options)
    sizes = np.array([len(cores) for cores in used])
    assert sizes[95:105].min() >= 6  # 5.6 cores of work: 7 cores at 0.8
    assert sizes[95:105].max() <= 8
    assert sizes[-1] <= 3
    assert rsspp.used() == 1 + rsspp.added - rsspp.removed
    assert set(plane.table.tolist()) <= set(used[-1])
    working = [np.bincount(table, demand(now), 12) for now, table in plane.history if now > 3 * SECOND]
    assert np.mean([np.ptp(x[x > 0]) for x in working]) < 0.35


# --- Tables and schedules -----------------------------------------------------------------------------------


def dispatching(cores: int, **dispatch: Any) -> lbsim.Scenario:
    return lbsim.Scenario(
        duration="1s",
        traffic=Flows(flows=64),
        arrivals=Deterministic(rate="100kpps"),
        server=Server(cores=cores, burst=1, cost=Cost(work=Fixed(time="4us"))),
        nic={"dispatch": dispatch},
    )


@pytest.mark.parametrize(
    ("dispatch", "expected"),
    [
        ({"kind": "rss", "table": 8}, [0, 1, 2, 0, 1, 2, 0, 1]),
        ({"kind": "rss", "table": 8, "grow": {"start": 2, "every": "1ms"}}, [0, 1] * 4),
        ({"kind": "rssrr", "table": 4}, [0, 1, 2, 0]),
        ({"kind": "rss++", "table": 4}, [0, 1, 2, 0]),
        ({"kind": "rss++", "table": 4, "scaling": {}}, [0, 1, 2, 0]),
        ({"kind": "rss++", "table": 4, "scaling": {"start": 1}}, [0, 0, 0, 0]),
        ({"kind": "sprayer"}, sprayer_table(3).tolist()),
        ({"kind": "classes", "deal": 5}, dealt(7, 3, 5).tolist()),
        ({"kind": "classes", "deal": 5, "scaling": {"start": 2}}, dealt(7, 2, 5).tolist()),
        ({"kind": "policy", "policy": "random"}, []),
        ({"kind": "software"}, []),
    ],
)
def test_the_table_at_the_start(dispatch: dict[str, Any], expected: list[int]) -> None:
    table = initial_table(dispatching(3, **dispatch), classes=7)
    assert table.dtype == np.int64
    assert table.tolist() == expected


@pytest.mark.parametrize(
    ("dispatch", "kind"),
    [
        ({"kind": "rss"}, None),
        ({"kind": "sprayer"}, None),
        ({"kind": "classes", "controller": False}, None),
        ({"kind": "classes"}, "ClassController"),
        ({"kind": "rss++"}, "RssppController"),
        ({"kind": "rssrr"}, "Turning"),
        ({"kind": "rss", "grow": {"every": "1s"}}, "Growth"),
    ],
)
def test_each_dispatch_has_its_controller(dispatch: dict[str, Any], kind: str | None) -> None:
    plane: Any = Fluid([0, 0], 3, lambda now: [0.0, 0.0])
    got = controller(Clock(), plane, dispatching(3, **dispatch), SECOND)
    assert (got and type(got).__name__) == kind


def scheduled(plane: Any, scenario: lbsim.Scenario, until: int) -> Any:
    env = Clock()
    got = controller(env, plane, scenario, until)
    env.run()
    return got


def test_a_table_that_turns() -> None:
    scenario = dispatching(3, kind="rssrr", table=4, tick="10ms")
    plane = Fluid(initial_table(scenario), 3, lambda now: [0.0] * 4)
    turning = scheduled(plane, scenario, 40 * MS)
    assert plane.history == [
        (10 * MS, [1, 2, 0, 1]),
        (20 * MS, [2, 0, 1, 2]),
        (30 * MS, [0, 1, 2, 0]),
    ]
    assert (turning.counted, turning.used()) == ({"ticks": 3, "moves": 12}, 3)
    slow = Fluid(initial_table(scenario), 3, lambda now: [0.0] * 4, delay=15 * MS)
    assert scheduled(slow, scenario, 40 * MS).counted == {"ticks": 3, "moves": 8}  # every other tick


def test_cores_that_come_one_after_another() -> None:
    scenario = dispatching(4, kind="rss", table=4, grow={"start": 2, "every": "10ms"})
    plane = Fluid(initial_table(scenario), 4, lambda now: [0.0] * 4)
    growth = scheduled(plane, scenario, SECOND)
    assert plane.history == [(10 * MS, [0, 1, 2, 0]), (20 * MS, [0, 1, 2, 3])]
    assert (growth.counted, growth.used()) == ({"added": 2, "moves": 3}, 4)
    plane = Fluid(initial_table(scenario), 4, lambda now: [0.0] * 4)
    assert scheduled(plane, scenario, 20 * MS).used() == 3  # what would come at the end comes no more
    # Buckets 2 and 3 move at 10 ms and are on their way: 3 stays where it is when the fourth core comes.
    slow = Fluid(initial_table(scenario), 4, lambda now: [0.0] * 4, delay=15 * MS)
    assert scheduled(slow, scenario, SECOND).counted == {"added": 2, "moves": 2}
    assert slow.table.tolist() == [0, 1, 2, 0]


# --- Traffic classes ----------------------------------------------------------------------------------------


def classes(plane: Fluid, until: int, **options: Any) -> ClassController:
    env = Clock()
    got = ClassController(env, plane, TrafficClasses(**options), until)  # type: ignore[arg-type]
    env.run()
    return got


def test_rules_move_by_halves_and_rest_for_three_seconds() -> None:
    # One core with rules of 0.2, 0.2, 0.1, 0.6. At 0.5 s it is full, so rules 2 and 3 go to core 1, which then
    # shows 0.7 but rests until 3.5 s: then rule 3 goes to core 2. Core 1, at 0.1, finds nobody to merge with.
    plane = Fluid([0, 0, 0, 0], 4, lambda now: [0.2, 0.2, 0.1, 0.6])
    got = classes(plane, 8 * SECOND, scaling=Scaling(start=1))
    assert plane.history == [(SECOND // 2, [0, 0, 1, 1]), (7 * SECOND // 2, [0, 0, 1, 2])]
    assert got.counted == {"ticks": 15, "moves": 3, "added": 2, "removed": 0}
    assert got.used() == 3


def test_cores_are_merged_once_they_have_rested() -> None:
    plane = Fluid([0, 1, 2, 0], 3, lambda now: [0.1, 0.05, 0.1, 0.1])
    got = classes(plane, 8 * SECOND, scaling=Scaling())
    # At 0.5 s forecasts are doubled, from 0: 0.1 and 0.2 for cores 1 and 2: core 1 goes into core 2. Core 0
    # alone is left until core 2 has rested: at 3.5 s it takes part again (0.15 and 0.2), core 2 goes.
    assert plane.history == [(SECOND // 2, [0, 2, 2, 0]), (7 * SECOND // 2, [0, 0, 0, 0])]
    assert got.counted == {"ticks": 15, "moves": 3, "added": 0, "removed": 2}


def test_without_scaling_loads_are_relative_to_the_mean() -> None:
    # Loads 0.3, 0.1, 0.2: relative to twice the mean 0.75, 0.25, 0.5. Forecasts at the first tick are
    # doubled, from 0: core 1 forecasts 0.5, so nobody takes anything until 1 s; then rule 2 goes to core 1.
    plane = Fluid([0, 0, 0, 1, 2], 3, lambda now: [0.1, 0.1, 0.1, 0.1, 0.2])
    got = classes(plane, 5 * SECOND)
    assert plane.history == [(SECOND, [0, 0, 1, 1, 2])]
    assert got.counted == {"ticks": 9, "moves": 1}
    assert got.used() == 3


def test_the_rest_without_scaling_is_a_second_or_what_is_set() -> None:
    for options, gap in (({}, 1.0), ({"hold": 2 * SECOND}, 2.0), ({"tick": SECOND // 4}, 1.0)):
        plane = Fluid([0] * 8, 2, lambda now: [0.15] * 4 + [0.05] * 4)
        classes(plane, 10 * SECOND, **options)
        times = [now for now, _ in plane.history]
        assert len(times) == 2  # 4 rules, then 2 more, as 0.6 and 0.2 are relative 0.75 and 0.25
        assert times[1] - times[0] == gap * SECOND


def test_before_scaling_begins_rules_move_between_the_cores_in_use() -> None:
    plane = Fluid([0, 0, 1, 1], 3, lambda now: [0.4, 0.4, 0.05, 0.05])
    got = classes(plane, 5 * SECOND // 2, scaling=Scaling(start=2, begin=3 * SECOND))
    assert plane.history == [(SECOND // 2, [0, 1, 1, 1])]
    assert (got.added, got.used()) == (0, 2)
    classes(plane := Fluid([0, 0, 1, 1], 3, plane.demand), SECOND, scaling=Scaling(start=2))
    assert plane.history == [(SECOND // 2, [0, 2, 1, 1])]


# --- Whole data planes --------------------------------------------------------------------------------------


class Watched:
    """A plane with control that notes tables and cores in use; moved buckets are in transit for a while."""

    def __init__(self, plane: Plane, delay: int) -> None:
        self.plane, self.delay = plane, delay
        self.table = plane.table
        self.name = plane.name
        self.before = self.table.copy()
        self.arrives = np.zeros(len(self.table), np.int64)
        self.now = 0
        self.control: Any = None
        self.notes: list[tuple[int, list[int]]] = []

    def sync(self, now: int) -> None:
        self.plane.sync(now)
        self.now = now

    def counters(self, now: int) -> Counters:
        return self.plane.counters(now)

    def in_transit(self) -> Any:
        return self.arrives > self.now if self.delay else None

    def moved(self, now: int) -> None:
        self.plane.moved(now)
        changed = np.flatnonzero(self.table != self.before)
        sources, sinks = set(self.before[changed].tolist()), set(self.table[changed].tolist())
        assert not sources & sinks  # no core is source and destination in one tick
        assert (self.arrives[changed] <= now).all()
        self.arrives[changed] = now + self.delay
        self.before = self.table.copy()
        self.notes.append((now, self.table.tolist()))


DISPATCHES = st.one_of(
    st.fixed_dictionaries(
        {
            "kind": st.just("rss++"),
            "table": st.just(8),
            "tick": st.sampled_from([3 * US, 10 * US]),
            "tick_max": st.sampled_from([10 * US, 40 * US]),
            "load_period": st.sampled_from([3 * US, 10 * US]),
            "load": st.sampled_from(["cycles", "cpu"]),
            "as_published": st.booleans(),
            "begin": st.sampled_from([0, 0, 25 * US]),
            "target_load": st.sampled_from([0.3, 0.8]),
            "scaling": st.none()
            | st.fixed_dictionaries(
                {"start": st.sampled_from([1, None]), "begin": st.sampled_from([0, 50 * US])}
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("classes"),
            "tick": st.sampled_from([3 * US, 10 * US]),
            "hold": st.sampled_from([1 * US, 10 * US, 30 * US]),
            "scaling": st.none() | st.fixed_dictionaries({"start": st.sampled_from([1, None])}),
        }
    ),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    dispatch=DISPATCHES,
    cores=st.integers(1, 5),
    packets=st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 5]), st.sampled_from([0, 0, 1, 2, 3, 7]), st.integers(0, 9)),
        min_size=20,
        max_size=150,
    ),
    delay=st.sampled_from([0, 0, 4 * US, 15 * US]),
    burst=st.sampled_from([1, 4]),
)
def test_both_engines_see_the_same_control_and_it_obeys_its_rules(
    dispatch: dict[str, Any], cores: int, packets: list[tuple[int, int, int]], delay: int, burst: int
) -> None:
    scenario = dispatching(cores, **dispatch)
    gap, bucket, service = np.array(packets, np.int64).T
    small = bucket.astype(np.int32)
    columns = Packets(np.cumsum(gap) * US, small, small, np.full(len(gap), 100, np.int32), service * US)
    end = int(columns.time[-1])
    outcomes = []
    for engine in ("reference", "fifo", "poll") if burst == 1 else ("reference", "poll"):
        env, machine = Clock(), Machine(8, burst, 0, 0, 0)
        table = initial_table(scenario, classes=8)
        plane: Plane
        if engine == "reference":
            rings = Rings(env, machine, cores, table)
            plane = ReferencePlane(env, iter([columns]), machine, rings, log=True)
        else:
            bank = (
                FifoRings(machine, cores, table) if engine == "fifo" else PolledRings(machine, cores, table)
            )
            plane = CompiledPlane(iter([columns]), machine, bank, log=True)
        watched = Watched(plane, delay)
        first = table.tolist()
        got = controller(env, watched, scenario, end)  # type: ignore[arg-type]
        assert got is not None
        rest: Any = got
        in_use: list[tuple[int, set[int]]] = []

        def look(env: Clock = env, rest: Any = rest, in_use: Any = in_use, watched: Watched = watched) -> Any:
            while True:
                cores_now = rest.cores if rest.cores.dtype != bool else np.flatnonzero(rest.cores)
                assert rest.used() == len(cores_now) >= 1
                assert set(watched.table.tolist()) <= set(cores_now.tolist())  # buckets map to live cores
                in_use.append((env.now, set(cores_now.tolist())))
                if env.now >= end:
                    return
                yield env.wait(US, CONTROL)

        env.process(look())
        env.run()
        tally = plane.finish()
        assert tally.log is not None
        assert tally.offered == len(gap)
        times = [now for now, _ in in_use]
        for arrival, core in zip(tally.log.arrival, tally.log.core, strict=True):
            at = int(np.searchsorted(times, arrival, side="right")) - 1
            assert core in in_use[at][1]  # a core out of use receives nothing
        outcomes.append((got.counted, watched.notes, in_use, [c.tolist() for c in tally.log], tally.drops))
        assert sum(a != b for a, b in zip(first, table, strict=True)) == 0 or watched.notes
    assert all(other == outcomes[0] for other in outcomes[1:])


def steady(**changes: Any) -> lbsim.Scenario:
    """A packet each 10 us on two cores, 4 us of work each."""
    base = {
        "duration": "1s",
        "traffic": Flows(flows=64),
        "arrivals": Deterministic(rate="100kpps"),
        "server": Server(cores=2, burst=1, cost=Cost(work=Fixed(time="4us"))),
        "measure": {"interval": "100ms"},
    }
    return lbsim.Scenario(**{**base, **changes})


def test_imbalance_by_hand() -> None:
    server = Server(cores=3, burst=1, cost=Cost(work=Fixed(time="4us")))
    result = lbsim.run(steady(server=server, nic={"dispatch": {"kind": "policy", "policy": "round_robin"}}))
    counts = np.array([[0, 0, 0], [10, 15, 20], [10, 16, 24], [110, 16, 24], [111, 16, 124], [111, 16, 124]])
    nothing = np.zeros_like(counts)
    samples = Samples(np.arange(6) * SECOND, counts, nothing, nothing, nothing, np.full(6, 2))
    # (20 - 10) / 10; one core silent, so of 1 and 4 only; alone; capped at 2000 %; a second without packets
    assert replace(result, samples=samples).imbalance().tolist() == [100.0, 300.0, 0.0, 2000.0]
    assert replace(result, samples=samples).imbalance(1.5, 3).tolist() == [300.0, 0.0]


def test_series_by_hand() -> None:
    result = lbsim.run(steady(nic={"dispatch": {"kind": "policy", "policy": "round_robin"}}))
    assert result.series("packets").to_numpy() == pytest.approx(50_000, rel=1e-3)
    assert result.series("core_load").to_numpy() == pytest.approx(0.2, rel=1e-3)
    assert result.series("drops").to_numpy().max() == 0
    with pytest.raises(ValueError, match="series 'load' is unknown: choose one of core_load"):
        result.series("load")
    with pytest.raises(ValueError, match="kept no series"):
        replace(result, samples=None).series("packets")
