"""Metron's scaling, decision by decision: what the published code implies, by hand and for any state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.nic.classes import Rearranged
from lbsim.nic.metron import (
    CHANGED,
    JIFFY,
    NEVER,
    AgentParams,
    AgentState,
    MetronParams,
    Sample,
    Watch,
    agent_step,
    by_halves,
    changed,
    first_watch,
    in_order,
    jiffies_share,
    sample,
    useful_share,
)
from lbsim.nic.scaling import Wish
from lbsim.scenario import FlowDirector, Metron, Scaling, ScenarioError
from lbsim.units import MS, SECOND

PERIOD = 100 * MS
DEFAULT = MetronParams()


# --- Loads --------------------------------------------------------------------------------------------------


def test_loads_are_shares_of_the_time() -> None:
    before, busy = np.array([0, 5 * MS, 7 * MS]), np.array([25 * MS, 5 * MS, 108 * MS])
    assert useful_share(before, busy, 100 * MS).tolist() == [0.25, 0.0, 1.0]


def test_proc_stat_counts_whole_jiffies() -> None:
    before = np.array([0, 9 * MS, 9 * MS, 19 * MS])
    busy = np.array([9 * MS, 10 * MS, 9 * MS + 99 * MS, 39 * MS])
    assert JIFFY == 10 * MS
    assert jiffies_share(before, busy, 100 * MS) == pytest.approx([0.0, 0.1, 1.0, 0.2])


@given(st.lists(st.integers(0, 100 * MS), min_size=1, max_size=40))
def test_no_jiffy_is_lost_over_time(work: list[int]) -> None:
    busy, shown = 0, 0.0
    for more in work:
        shown += float(jiffies_share(np.array([busy]), np.array([busy + more]), 100 * MS)[0])
        busy += more
    assert abs(shown - busy / (100 * MS)) < 0.1


# --- One core under a constant load -------------------------------------------------------------------------


def watched(trend: list[float], since: list[int]) -> Watch:
    return Watch(np.array(trend, float), np.array(since, np.int64))


def look(load: list[float], watch: Watch, now: int, used: list[bool] | None = None) -> Sample:
    flags = np.array(used if used is not None else [True] * len(load))
    return sample(np.array(load, float), flags, watch, now, DEFAULT)


def splits(load: float, watch: Watch, samples: int, first: int = 0) -> list[int]:
    """Return which of the samples find core 0 overloaded, counted from 1; nothing is done about it."""
    found = []
    for k in range(samples):
        got = look([load], watch, first + k * PERIOD)
        watch = got.watch
        if got.over:
            found.append(k + 1)
    return found


def test_the_first_split_comes_at_the_fifth_sample() -> None:
    # 1 - 0.67^n reaches 0.75 with n = 4; the first two samples only register the core.
    assert splits(1.0, first_watch(1), 8) == [5, 6, 7, 8]
    watch = first_watch(1)
    trend = []
    for k in range(4):
        watch = look([1.0], watch, k * PERIOD).watch
        trend.append(round(float(watch.trend[0]), 2))
    assert trend == [0.33, 0.55, 0.70, 0.80]


@pytest.mark.parametrize("idle", [1, 2, 9])
def test_samples_of_an_idle_core_do_not_bring_it_forward(idle: int) -> None:
    watch = first_watch(1)
    for k in range(idle):
        watch = look([0.0], watch, k * PERIOD).watch
        assert watch.since.tolist() == [CHANGED]
    assert splits(1.0, watch, 6, first=idle * PERIOD) == [5, 6]


def test_a_load_that_is_not_urgent_waits_for_the_hold_off() -> None:
    # P reaches 0.75 at the seventh sample (0.86 x (1 - 0.67^6) = 0.782). The core is seen to work at the
    # second sample, and 1 s later, at the twelfth, it is judged.
    assert splits(0.86, first_watch(1), 13) == [12, 13]
    assert splits(0.874, first_watch(1), 12) == [12]
    assert splits(0.875, first_watch(1), 7) == [6, 7]  # 0.875 x (1 - 0.67^5) = 0.757


def test_who_was_changed_registers_again_and_may_split_at_the_second_sample() -> None:
    high = watched([0.99], [CHANGED])
    assert splits(1.0, high, 4) == [2, 3, 4]
    assert splits(0.875, high, 3) == [2, 3]
    assert splits(0.87, high, 14) == [11, 12, 13, 14]  # seen to work at the first: 1 s later
    assert splits(0.0, high, 30) == []  # not seen to work


def test_a_new_core_needs_its_own_five_samples() -> None:
    assert splits(1.0, watched([0.0], [CHANGED]), 6) == [5, 6]


def test_overloaded_is_who_is_and_has_been() -> None:
    settled = watched([0.75], [0])
    now = 2 * SECOND
    assert look([0.75], settled, now).over == (0,)  # load and P at the threshold
    assert look([0.7499], settled, now).over == ()  # forecast 0.7498
    assert look([0.75], watched([0.8], [0]), now).over == (0,)  # forecast 0.7
    assert look([0.7499], watched([0.8], [0]), now).over == ()
    assert look([0.9], watched([0.7499], [0]), now).over == ()  # the trend is not there yet
    assert look([0.74], watched([0.70], [0]), now).over == ()  # forecast 0.78, but P is low
    assert sample(np.array([0.7]), np.ones(1, bool), watched([0.6], [0]), now, MetronParams(up=0.6)).over


def test_plenty_of_spare_capacity_keeps_a_core_from_splitting() -> None:
    # 3 x 0.75 = 2.25 spare cores.
    idle = [0.25, 0.25, 0.25]
    settled = watched([0.8, 0.3, 0.3, 0.3], [0] * 4)
    assert look([0.8, *idle], settled, 2 * SECOND).over == ()  # 2.45 spare
    assert look([0.8, 0.25, 0.25, 0.5], settled, 2 * SECOND).over == (0,)  # 2.2
    assert look([0.875, *idle], settled, 2 * SECOND).over == ()
    assert look([0.876, *idle], settled, 2 * SECOND).over == (0,)  # above the urgent load
    unused = [True, True, True, False]
    assert look([0.8, *idle], settled, 2 * SECOND, unused).over == (0,)  # 3 cores, 1.7 spare


def test_underloaded_is_who_was_is_and_will_be() -> None:
    now = 2 * SECOND
    full = [0.7, 0.7]

    def under(load: float, past: float, others: list[float] = full) -> bool:
        return 0 in look([load, *others], watched([past, *others], [0] * 3), now).under

    assert under(0.25, 0.25)
    assert not under(0.2501, 0.2)
    assert not under(0.2, 0.2501)  # P
    assert not under(0.24, 0.22)  # forecast 0.26
    assert under(0.25, 0.25, [1.0, 0.99])  # 3 x 0.25 of 3 cores are 2.25
    assert not under(0.25, 0.25, [1.0, 1.0])
    none = MetronParams(up=0.4, down=0.3)  # 1.8 x 0.25 is above 0.4
    assert sample(np.array([0.25]), np.ones(1, bool), watched([0.25], [0]), now, none).under == ()


def test_a_nearly_idle_core_is_underloaded_whatever_the_others_do() -> None:
    params = MetronParams(up=0.75, down=0.12)
    loads = [0.03, 1.0]  # 3 x 0.12 x 2 = 0.72 is below the total, 0.12 / 3 = 0.04 above the load
    watch = watched(loads, [0, 0])
    used = np.ones(2, bool)
    assert sample(np.array(loads), used, watch, 2 * SECOND, params).under == (0,)
    assert sample(np.array([0.05, 1.0]), used, watched([0.05, 1], [0, 0]), 2 * SECOND, params).under == ()


def test_the_order_is_by_the_second_of_the_last_change_then_by_load() -> None:
    since = [1900 * MS, 1100 * MS, 2 * SECOND, 0]
    high, low = [0.9, 0.95, 0.88, 0.99], [0.2, 0.1, 0.01, 0.15]
    assert look(high, watched(high, since), 9 * SECOND).over == (2, 1, 0, 3)
    assert look(low, watched(low, since), 9 * SECOND).under == (3, 1, 0, 2)
    even = watched([0.9] * 3, [0] * 3)
    assert look([0.9] * 3, even, 9 * SECOND).over == (0, 1, 2)
    assert look([0.1] * 3, watched([0.1] * 3, [0] * 3), 9 * SECOND).under == (0, 1, 2)


def test_only_cores_in_use_are_sampled() -> None:
    before = watched([0.9, 0.9, 0.9], [NEVER, CHANGED, 5])
    got = look([1.0, 1.0, 1.0], before, 9 * SECOND, [False] * 3)
    assert got.over == ()
    assert look([1.0, 1.0, 1.0], before, 9 * SECOND).over == (2,)
    before = watched([0.4, 0.4, 0.4], [NEVER, CHANGED, 5])
    got = look([1.0, 1.0, 1.0], before, 9 * SECOND, [False] * 3)
    assert got.watch.trend.tolist() == [0.4] * 3
    assert got.watch.since.tolist() == [NEVER, CHANGED, 5]
    assert (got.over, got.under) == ((), ())
    got = look([1.0, 1.0, 1.0], before, 9 * SECOND)
    assert got.watch.since.tolist() == [CHANGED, 9 * SECOND, 5]
    assert got.watch.trend == pytest.approx([0.67 * 0.4 + 0.33] * 3)
    assert changed(got.watch, np.array([False, True, True])).since.tolist() == [CHANGED] * 3


# --- Who gets whose classes ---------------------------------------------------------------------------------


def rearranged(
    rearrange: object,
    table: list[int],
    used: list[int],
    over: tuple[int, ...] = (),
    under: tuple[int, ...] = (),
    cores: int = 4,
    least: int = 1,
    held: tuple[int, ...] = (),
) -> Rearranged:
    flags = np.isin(np.arange(cores), used)
    stays = np.isin(np.arange(len(table)), held) if held else None
    return rearrange(np.array(table, np.int64), flags, over, under, least, stays)  # type: ignore[operator]


def cores_of(flags: np.ndarray) -> list[int]:
    return np.flatnonzero(flags).tolist()


@pytest.mark.parametrize("m", range(1, 12))
def test_a_split_keeps_the_larger_half(m: int) -> None:
    got = rearranged(by_halves, [0] * m, [0], over=(0,))
    kept, moved = np.bincount(got.table, minlength=2)[:2].tolist()
    assert (kept, moved) == (-(-m // 2), m // 2)
    assert got.table.tolist() == [0] * kept + [1] * moved
    assert (got.added, got.removed) == (int(m > 1), 0)
    assert cores_of(got.touched) == cores_of(got.used & got.touched) == ([0, 1] if m > 1 else [])


def test_without_a_free_core_nothing_is_split() -> None:
    got = rearranged(by_halves, [0, 0, 1, 1], [0, 1], over=(1, 0), cores=2)
    assert not got.touched.any()
    got = rearranged(by_halves, [0, 0, 1, 1], [0, 1], over=(1, 0), cores=3)
    assert got.table.tolist() == [0, 0, 1, 2]  # the first to be handled got the last core
    assert cores_of(got.touched) == [1, 2]


def test_a_new_core_is_the_lowest_free_one() -> None:
    got = rearranged(by_halves, [0, 0, 2, 2], [0, 2], over=(2, 0))
    assert got.table.tolist() == [0, 3, 2, 1]
    assert (cores_of(got.used), got.added) == ([0, 1, 2, 3], 2)


def test_the_smallest_group_is_emptied_into_the_first_core() -> None:
    table = [0, 0, 0, 1, 1, 2, 3, 3]
    got = rearranged(by_halves, table, [0, 1, 2, 3], under=(1, 0, 2, 3))
    # Core 1 takes the one class of core 2; then core 0 the two of core 3.
    assert got.table.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert (cores_of(got.used), got.removed) == ([0, 1], 2)
    assert cores_of(got.touched) == [0, 1, 2, 3]
    got = rearranged(by_halves, table, [0, 1, 2, 3], under=(0, 1, 3))
    assert got.table.tolist() == [0, 0, 0, 0, 0, 2, 3, 3]  # of equals the lowest; core 3 is left alone
    assert cores_of(got.touched) == [0, 1]


def test_least_cores_stay() -> None:
    table = [0, 1, 2, 3]
    got = rearranged(by_halves, table, [0, 1, 2, 3], under=(0, 1, 2, 3), least=3)
    assert (cores_of(got.used), got.removed) == ([0, 2, 3], 1)
    assert not rearranged(by_halves, table, [0, 1, 2, 3], under=(0, 1), least=4).touched.any()
    assert not rearranged(by_halves, table, [0, 1, 2, 3], under=(3,)).touched.any()


def test_classes_on_their_way_stay() -> None:
    assert rearranged(by_halves, [0] * 4, [0], over=(0,), held=(3,)).table.tolist() == [0, 1, 1, 0]
    assert rearranged(by_halves, [0] * 5, [0], over=(0,), held=(0, 1, 2, 4)).table.tolist() == [0, 0, 0, 1, 0]
    assert not rearranged(by_halves, [0] * 4, [0], over=(0,), held=(0, 1, 2, 3)).touched.any()
    got = rearranged(by_halves, [0, 1, 2, 2], [0, 1, 2], under=(0, 1, 2), held=(1,))
    assert got.table.tolist() == [0, 1, 0, 0]
    assert not rearranged(by_halves, [0, 1], [0, 1], under=(0, 1), held=(1,)).touched.any()


def test_a_hash_scales_in_order_of_the_cores() -> None:
    got = rearranged(in_order, [0] * 4, [0], over=(0,))
    assert (got.table.tolist(), cores_of(got.used)) == ([0, 1, 0, 1], [0, 1])
    assert (got.added, got.removed, cores_of(got.touched)) == (1, 0, [0, 1])
    got = rearranged(in_order, [0, 1, 2, 0], [0, 1, 2], over=(1, 0))
    assert (got.table.tolist(), got.added, cores_of(got.touched)) == ([0, 1, 2, 3], 1, [1, 3])
    got = rearranged(in_order, [0, 1, 2, 3], [0, 1, 2, 3], under=(0, 2))
    assert (got.table.tolist(), got.removed, cores_of(got.touched)) == ([0, 1, 2, 0], 1, [0, 2, 3])
    got = rearranged(in_order, [0, 1, 2, 3], [0, 1, 2, 3], under=(3, 0, 1, 2))
    assert (got.table.tolist(), got.removed) == ([0, 1, 0, 1], 2)
    got = rearranged(in_order, [0, 1, 2, 3], [0, 1, 2, 3], under=(0, 1, 3, 2))  # then 2 is left alone
    assert (got.table.tolist(), got.removed) == ([0, 1, 2, 0], 1)
    assert not rearranged(in_order, [0, 1, 2, 3], [0, 1, 2, 3], under=(0, 1), least=4).touched.any()
    assert not rearranged(in_order, [0, 1, 2, 3], [0, 1, 2, 3], over=(0, 1)).touched.any()


def test_entries_of_a_hash_on_their_way_stay() -> None:
    got = rearranged(in_order, [0, 1, 2, 3], [0, 1, 2, 3], under=(0, 1, 2, 3), held=(2,))
    assert (got.table.tolist(), cores_of(got.used)) == ([0, 1, 2, 0], [0, 1, 2])
    assert not rearranged(in_order, [0, 1, 2, 3], [0, 1, 2, 3], under=(0, 1), held=(3,)).touched.any()


@st.composite
def states(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, tuple[int, ...], tuple[int, ...], int, object]:
    cores = draw(st.integers(1, 8))
    number = draw(st.integers(1, cores))
    used = sorted(draw(st.permutations(range(cores)))[:number])
    table = np.array(draw(st.lists(st.sampled_from(used), min_size=1, max_size=20)), np.int64)
    mixed = draw(st.permutations(used))
    first, second = sorted((draw(st.integers(0, number)), draw(st.integers(0, number))))
    held = draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=len(table), max_size=len(table))))
    flags = np.isin(np.arange(cores), used)
    least = draw(st.integers(1, number))
    stays = None if held is None else np.array(held)
    return table, flags, tuple(mixed[:first]), tuple(mixed[first:second]), least, stays


@settings(max_examples=400, deadline=None)
@given(states())
def test_splits_and_merges_conserve_classes(state: tuple) -> None:
    table, used, over, under, least, held = state
    kept = table.copy()
    got = by_halves(table, used, over, under, least, held)
    assert (table == kept).all()
    assert len(got.table) == len(table)
    assert got.used[got.table].all()  # classes only on cores in use
    assert got.used.sum() == used.sum() + got.added - got.removed
    assert got.used.sum() >= least
    assert got.added <= len(over)
    assert got.removed <= len(under) // 2
    moved = got.table != table
    assert got.touched[table[moved]].all()
    assert got.touched[got.table[moved]].all()
    assert (got.used != used)[~got.touched].sum() == 0
    if held is not None:
        assert not moved[held].any()
    for core in np.flatnonzero(~got.touched):
        assert ((got.table == core) == (table == core)).all()
    before, after = (np.bincount(t, minlength=used.size) for t in (table, got.table))
    for core in over:
        if got.touched[core]:
            low = -(-before[core] // 2)
            assert after[core] == low if held is None else after[core] >= low
            assert before[core] > 1


@settings(max_examples=300, deadline=None)
@given(states())
def test_a_hash_stays_on_the_first_cores(state: tuple) -> None:
    _, used, over, under, least, held = state
    number = int(used.sum())
    used, table = np.arange(used.size) < number, np.arange(8) % number
    held = None if held is None else np.resize(held, 8)
    over, under = (tuple(core for core in cores if core < number) for cores in (over, under))
    got = in_order(table, used, over, under, least, held)
    after = int(got.used.sum())
    assert cores_of(got.used) == list(range(after))
    assert got.table.max() < after
    assert after == number + got.added - got.removed
    assert after >= min(least, number)
    if held is not None:
        assert (got.table == table)[held].all()
    elif after != number:
        assert (got.table == np.arange(8) % after).all()
    assert got.touched.any() == (after != number)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_any_course_of_loads_keeps_every_class(classes: int, cores: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table, used, watch = np.zeros(classes, np.int64), np.arange(cores) < 1, first_watch(cores)
    for k in range(40):
        got = sample(rng.choice([0.0, 0.1, 0.8, 1.0], cores), used, watch, k * SECOND, DEFAULT)
        after = by_halves(table, used, got.over, got.under, 1, None)
        table, used, watch = after.table, after.used, changed(got.watch, after.touched)
        assert len(table) == classes
        assert used[table].all()
        assert (np.bincount(table, minlength=cores) > 0).tolist() == used.tolist()


# --- The agent ----------------------------------------------------------------------------------------------


def wishes(loads: list[float], params: AgentParams = AgentParams()) -> list[int]:  # noqa: B008
    state, wanted = AgentState(), []
    for k, load in enumerate(loads):
        state, wish = agent_step(load, state, (k + 1) * SECOND, params)
        wanted.append(int(wish))
    return wanted


def test_the_agent_adds_a_core_on_the_second_second_then_one_every_five() -> None:
    assert wishes([1.0] * 13) == [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def test_a_refused_step_arms_the_timer_again() -> None:
    # Idle on one core it wants one less at 1 s and is refused; the load comes at 2 s, its average is above
    # 0.7 at 3 s, but the timer runs until 6 s.
    assert wishes([0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == [-1, 0, 0, 0, 0, 1, 0]
    assert wishes([0.5, 1.0, 1.0]) == [-1, 0, 0]  # 0.25 at first
    assert wishes([0.8, 1.0, 1.0]) == [0, 0, 1]  # 0.4, 0.7 and 0.85: the bounds themselves want nothing


def test_the_agent_s_thresholds_and_rest() -> None:
    assert agent_step(0.7, AgentState(0.7), 0, AgentParams())[1] == Wish.KEEP
    assert agent_step(0.71, AgentState(0.7), 0, AgentParams())[1] == Wish.ADD
    assert agent_step(0.39, AgentState(0.4), 0, AgentParams())[1] == Wish.REMOVE
    assert agent_step(1.0, AgentState(1.0, 5), 4, AgentParams()) == (AgentState(1.0, 5), Wish.KEEP)
    assert agent_step(1.0, AgentState(1.0, 5), 5, AgentParams(rest=7)) == (AgentState(1.0, 12), Wish.ADD)
    assert wishes([1.0] * 4, AgentParams(rest=0)) == [0, 1, 1, 1]


# --- The parts of a scenario --------------------------------------------------------------------------------


def test_the_part_refuses_what_cannot_be() -> None:
    with pytest.raises(ScenarioError, match="scope rss only the global controller"):
        Metron(scope="rss", controller="agent")
    with pytest.raises(ScenarioError, match="scaling: given, but controller is none"):
        Metron(controller="none", scaling=Scaling())
    with pytest.raises(ScenarioError) as refused:
        Metron(up=0.2, agent_down=0.8)
    assert str(refused.value).splitlines() == [
        "nic.dispatch.down: 0.25 is above up 0.2; lower down or raise up",
        "nic.dispatch.agent_down: 0.8 is above agent_up 0.7; lower agent_down or raise agent_up",
    ]
    assert Metron(up=0.25).down == 0.25
    for wrong in ({"memory": 1.0}, {"period": "0.5us"}, {"rules": 1}, {"up": 0.0}, {"load": "top"}):
        with pytest.raises(ScenarioError):
            Metron(**wrong)
    with pytest.raises(ScenarioError):
        FlowDirector(entries=0)
