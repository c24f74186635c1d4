"""The control plane: what it reads and writes, by hand and with packets in both engines; what series show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fluid import Fluid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lbsim
from lbsim.engine import control
from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.control import RssppController, controller, initial_table
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import CONTROL, Clock, Counters, Plane
from lbsim.engine.reference import ReferencePlane, Rings
from lbsim.engine.rings import FifoRings, PolledRings
from lbsim.metrics import Samples
from lbsim.nic import Moves, dealt, sprayer_table
from lbsim.scenario import Cost, Deterministic, Fixed, Flows, Rsspp, Server
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
        self.notes = [(0, self.table.tolist())]
        self.in_use: list[set[int]] = []

    def sync(self, now: int) -> None:
        self.plane.sync(now)
        self.now = now
        self.look()

    def look(self) -> None:
        """Check what the last control has left: buckets map to cores in use."""
        cores = self.control.cores
        used = set((cores if cores.dtype != bool else np.flatnonzero(cores)).tolist())
        assert self.control.used() == len(used) >= 1
        assert set(self.table.tolist()) <= used
        self.in_use.append(used)

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
            "tick": st.sampled_from([10 * US, 25 * US]),
            "tick_max": st.sampled_from([25 * US, 60 * US]),
            "load_period": st.sampled_from([5 * US, 10 * US]),
            "load": st.sampled_from(["cycles", "cpu"]),
            "as_published": st.booleans(),
            "begin": st.sampled_from([0, 0, 0, 25 * US]),
            "target_load": st.sampled_from([0.3, 0.8]),
            "scaling": st.none()
            | st.fixed_dictionaries(
                {"start": st.sampled_from([1, None]), "begin": st.sampled_from([0, 0, 60 * US])}
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("classes"),
            "tick": st.sampled_from([10 * US, 25 * US]),
            "hold": st.sampled_from([1 * US, 20 * US, 60 * US]),
            "scaling": st.none() | st.fixed_dictionaries({"start": st.sampled_from([1, None])}),
        }
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    dispatch=DISPATCHES,
    cores=st.integers(2, 6),
    phases=st.lists(st.sampled_from([1, 3, 20]), min_size=2, max_size=4),
    seed=st.integers(0, 2**20),
    delay=st.sampled_from([0, 0, 4 * US, 15 * US, 60 * US]),
    burst=st.sampled_from([1, 4]),
)
def test_both_engines_see_the_same_control_and_it_obeys_its_rules(
    dispatch: dict[str, Any], cores: int, phases: list[int], seed: int, delay: int, burst: int
) -> None:
    scenario = dispatching(cores, **dispatch)
    rng = np.random.default_rng(seed)  # busy and quiet phases of 60 packets, whose mean gaps are given in us
    gap = rng.integers(0, 2 * np.repeat(phases, 60) + 1)
    bucket = np.minimum(rng.geometric(0.3, len(gap)) - 1, 7).astype(np.int32)
    service = rng.integers(0, 10, len(gap)) * US
    columns = Packets(np.cumsum(gap) * US, bucket, bucket, np.full(len(gap), 100, np.int32), service)
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
        watched.control = controller(env, watched, scenario, end)  # type: ignore[arg-type]
        env.run()
        watched.look()
        tally = plane.finish()
        assert tally.log is not None
        assert tally.offered == len(gap)
        times = [now for now, _ in watched.notes]
        told = np.array([table for _, table in watched.notes])
        row = np.searchsorted(times, tally.log.arrival, side="right") - 1
        assert np.array_equal(tally.log.core, told[row, bucket])  # so a core out of use receives nothing
        log = [column.tolist() for column in tally.log]
        outcomes.append((watched.control.counted, watched.notes, watched.in_use, log, tally.drops))
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
