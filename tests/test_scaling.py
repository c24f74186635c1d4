"""Core scaling of RSS++ and buckets that may not move."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from fluid import Fluid
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.engine import control
from lbsim.engine.control import RssppController
from lbsim.engine.plane import CONTROL, Clock
from lbsim.nic import RssppParams, Wish, rebalance, redistribute, wish
from lbsim.scenario import Rsspp, Scaling
from lbsim.units import MS, SECOND

INTENDED = RssppParams(as_published=False)


@pytest.mark.parametrize(
    ("loads", "target", "expected"),
    [
        ([1.0], 0.8, Wish.ADD),  # spare -0.2
        ([0.89], 0.8, Wish.KEEP),  # -0.09
        ([0.91], 0.8, Wish.ADD),  # -0.11
        ([0.0], 0.8, Wish.KEEP),  # a single core stays
        ([0.0, 0.0], 0.8, Wish.REMOVE),  # 1.6 > 1 + 0.2 + 3 x 0.05 = 1.35
        ([0.13, 0.13], 0.8, Wish.KEEP),  # 1.34
        ([0.12, 0.12], 0.8, Wish.REMOVE),  # 1.36
        ([0.9, 0.0, 0.0], 0.8, Wish.KEEP),  # 1.5 is not above 1 + 0.2 + 4 x 0.1 = 1.6
        ([0.9, 0.0, 0.0, 0.0], 0.8, Wish.REMOVE),  # 2.3 > 1.2 + 5 x 0.1
        ([0.9, 0.9, 0.9], 0.8, Wish.ADD),  # -0.3
        ([0.0, 0.0], 0.5, Wish.KEEP),  # 1.0 is not above 1 + 0.5 + 3 x 0.05
        ([0.2, 0.2, 0.2, 0.2], 0.9, Wish.REMOVE),  # 2.8 > 1 + 0.1 + 5 x 0.05
    ],
)
def test_when_cores_come_and_go(loads: list[float], target: float, expected: Wish) -> None:
    assert wish(np.array(loads), target) is expected


def test_what_leaves_is_spread_by_hand() -> None:
    # Core 2 leaves, load 0.4, with buckets of 5, 3, 1, 1 of its 10 packets: loads 0.2, 0.12, 0.04, 0.04.
    load, table = np.array([0.5, 0.3, 0.4]), np.array([0, 2, 2, 1, 2, 2])
    counts = np.array([7, 5, 1, 9, 3, 1])
    # Intended: 0.2 to core 1 (0.3 -> 0.5), 0.12 to core 0 (of equals the lowest: 0.62), 0.04 twice to core 1.
    assert redistribute(load, counts, table, 2, as_published=False).tolist() == [0, 1, 1, 1, 0, 1]
    # Published, from zero: 0.04 to core 0, 0.04 to core 1, 0.12 to core 0 (0.16), 0.2 to core 1.
    assert redistribute(load, counts, table, 2, as_published=True).tolist() == [0, 1, 0, 1, 0, 1]


def test_numbers_of_a_core_in_the_middle_stay() -> None:
    load, counts = np.array([0.1, 0.0, 0.2]), np.zeros(4, np.int64)
    table = np.array([1, 0, 1, 2])
    assert redistribute(load, counts, table, 1, as_published=False).tolist() == [0, 0, 0, 2]  # silent buckets
    with pytest.raises(ValueError, match="1 cores are in use"):
        redistribute(np.array([0.5]), counts, np.zeros(4, np.int64), 0, as_published=False)


def oracle(
    load: list[float], counts: list[int], table: list[int], leaving: int, published: bool
) -> list[int]:
    """The same greedy over dictionaries; bucket loads as fractions of the leaving load, summed alike."""
    mine = [b for b, c in enumerate(table) if c == leaving]
    packets = sum(counts[b] for b in mine)
    level = {c: 0.0 if published else x for c, x in enumerate(load) if c != leaving}
    after = list(table)
    for b in sorted(mine, key=lambda b: (counts[b] if published else -counts[b], b)):
        core = min(level, key=lambda c: (level[c], c))
        after[b] = core
        level[core] += counts[b] / packets * load[leaving] if packets else 0.0
    return after


@st.composite
def departures(draw: st.DrawFn) -> tuple[list[float], list[int], list[int], int]:
    cores, size = draw(st.integers(2, 6)), draw(st.sampled_from([1, 4, 16, 32]))
    load = st.integers(0, 20).map(lambda k: k / 20) | st.floats(0, 1)
    count = st.integers(0, 5) | st.integers(0, 10**6)
    return (
        draw(st.lists(load, min_size=cores, max_size=cores)),
        draw(st.lists(count, min_size=size, max_size=size)),
        draw(st.lists(st.integers(0, cores - 1), min_size=size, max_size=size)),
        draw(st.integers(0, cores - 1)),
    )


@settings(deadline=None)
@given(departures(), st.booleans())
def test_redistribution_equals_the_oracle(
    case: tuple[list[float], list[int], list[int], int], published: bool
) -> None:
    load, counts, table, leaving = case
    columns = np.array(load), np.array(counts), np.array(table)
    after = redistribute(*columns, leaving, as_published=published)
    assert after.tolist() == oracle(load, counts, table, leaving, published)
    assert columns[2].tolist() == table
    assert leaving not in after.tolist()
    stays = columns[2] != leaving
    assert np.array_equal(after[stays], columns[2][stays])


@pytest.mark.parametrize("published", [True, False])
def test_equal_buckets_go_in_order_of_number(published: bool) -> None:
    rng = np.random.default_rng(2)
    load, counts, table = np.array([0.3, 0.1, 0.2, 0.25]), rng.integers(0, 3, 512), rng.integers(0, 4, 512)
    after = redistribute(load, counts, table, 1, as_published=published)
    assert after.tolist() == oracle(load.tolist(), counts.tolist(), table.tolist(), 1, published)


@settings(deadline=None)
@given(departures())
def test_the_intended_spread_is_within_a_bucket_of_even(
    case: tuple[list[float], list[int], list[int], int],
) -> None:
    # Graham's list scheduling: a core that was given a bucket was the lowest before, so at the end no core
    # that got something is above the lowest by more than its last, lightest, bucket.
    load, counts, table, leaving = case
    after = redistribute(np.array(load), np.array(counts), np.array(table), leaving, as_published=False)
    packets = sum(n for n, c in zip(counts, table, strict=True) if c == leaving)
    if packets == 0:
        return
    whole = Fraction(load[leaving])
    level = {c: Fraction(x) for c, x in enumerate(load) if c != leaving}
    got: dict[int, Fraction] = {}
    for b, core in enumerate(after.tolist()):
        if table[b] == leaving:
            weight = Fraction(counts[b], packets) * whole
            level[core] += weight
            got[core] = min(weight, got.get(core, weight))
    for core, lightest in got.items():
        assert float(level[core] - min(level.values()) - lightest) <= 1e-9


# --- Buckets on the way -------------------------------------------------------------------------------------


def test_a_held_bucket_stays_and_the_next_one_goes() -> None:
    # As in test_one_pass_by_hand of RSS++: of loads 0.45, 0.27, 0.18 the second moves, alone below 0.29;
    # with that one held, the third, 0.18, does.
    load, counts, table = np.array([0.9, 0.3]), np.array([5, 9, 3, 2, 0]), np.array([0, 1, 0, 0, 0])
    nobody, held = np.zeros(2, np.bool_), np.array([False, False, True, False, False])
    assert rebalance(load, counts, table, nobody, INTENDED).buckets.tolist() == [2]
    assert rebalance(load, counts, table, nobody, INTENDED, np.ones(5, np.bool_)).buckets.size == 0
    assert rebalance(load, counts, table, nobody, INTENDED, np.zeros(5, np.bool_)).buckets.tolist() == [2]
    assert rebalance(load, counts, table, nobody, INTENDED, held).buckets.tolist() == [3]
    with pytest.raises(ValueError, match="2 held flags for 5 table entries"):
        rebalance(load, counts, table, nobody, INTENDED, nobody)


@settings(deadline=None)
@given(departures(), st.data(), st.booleans())
def test_held_buckets_stay_and_the_rest_never_gets_worse(
    case: tuple[list[float], list[int], list[int], int], data: st.DataObject, published: bool
) -> None:
    load, counts, table = (np.array(column) for column in case[:3])
    held = np.array(data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table))))
    params = RssppParams(as_published=published)
    got = rebalance(load, counts, table, np.zeros(len(load), np.bool_), params, held)
    assert not held[got.buckets].any()
    assert not set(table[got.buckets].tolist()) & set(got.table[got.buckets].tolist())
    packets = np.bincount(table, counts, len(load))
    weight = np.where(counts > 0, counts / np.maximum(packets[table], 1) * load[table], 0.0)
    after = load - np.bincount(table, weight, len(load)) + np.bincount(got.table, weight, len(load))
    moved_from_silent = packets == 0  # a load without packets is nobody's bucket
    assert after[moved_from_silent].sum() >= load[moved_from_silent].sum() - 1e-9
    assert after.sum() == pytest.approx(load.sum())
    if not published:
        assert np.square(after - load.mean()).sum() <= np.square(load - load.mean()).sum() + 1e-9


# --- The controller -----------------------------------------------------------------------------------------


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


def test_a_bucket_on_its_way_is_not_moved_again() -> None:
    weight = np.random.default_rng(4).dirichlet(np.ones(12), 50)  # other buckets are heavy every 100 ms

    def moves(delay: int) -> list[tuple[int, list[int]]]:
        plane = Fluid(np.arange(12) % 3, 3, lambda now: 2 * weight[now // (100 * MS)], delay)
        scale(plane, 5 * SECOND)  # the plane asserts that nothing on its way is moved
        return plane.history

    assert len(moves(450 * MS)) > 10
    assert moves(450 * MS) != moves(0)


def test_who_received_sits_out_a_tick_unless_a_core_left(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def note(*arguments: Any) -> Any:
        got = rebalance(*arguments)
        seen.append((arguments[3].tolist(), got.received.tolist()))
        return got

    monkeypatch.setattr(control.rsspp, "rebalance", note)
    plane = Fluid([0, 0, 0, 0, 1, 2], 3, lambda now: [0.2, 0.2, 0.2, 0.2, 0.5, 0.5])
    scale(plane, 350 * MS)
    assert not any(seen[0][0])
    assert seen[0][1] == seen[1][0] == [False, True, True]
    assert seen[1][1] == seen[2][0] == [False, False, False]

    # Core 1 receives at 100 ms and the load falls: core 2 leaves at 200 ms; at 300 ms core 1 takes part.
    def demand(now: int) -> list[float]:
        return [0.2, 0.2, 0.2, 0.2, 0.5, 0.5] if now < 100 * MS else [0.2, 0.1, 0.1, 0.1, 0.1, 0.01]

    seen.clear()
    used = scale(Fluid([0, 0, 0, 0, 1, 2], 3, demand), 350 * MS, scaling=Scaling(least=2))[1]
    assert used[1:] == [[0, 1, 2], [0, 1]]
    assert [at_first for at_first, _ in seen] == [[False, False, False], [False, False]]
    assert seen[0][1] == [False, True, True]


def test_smoothed_loads_are_those_of_the_cores_in_use() -> None:
    env, plane = Clock(), Fluid([0, 1, 2, 3], 4, lambda now: [0.0] * 4)
    rsspp = RssppController(env, plane, Rsspp(queue_term=False), 8, SECOND)  # type: ignore[arg-type]
    rsspp.rough, rsspp.cores = np.array([0.25, 0.75, 0.5, 1.0]), np.array([0, 2])
    useful, occupancy = np.array([100, 900, 200, 0]), np.zeros(4, np.int64)
    assert rsspp.loads(useful, occupancy, 1000) == pytest.approx([0.25, 0.5])  # a third and two of 0.75
    rsspp.spec = Rsspp(load="cpu")
    assert rsspp.loads(useful, occupancy, 1000) == pytest.approx([0.1, 0.2])


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
