"""Traffic classes: which flows share a rule, how rules are dealt, and what the controller does with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fluid import Fluid
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.engine.control import ClassController
from lbsim.engine.plane import Clock
from lbsim.nic import Classes, ClassParams, classes_of, dealt, rearrange, relative_loads
from lbsim.nic.classes import Rearranged
from lbsim.scenario import Scaling, TrafficClasses
from lbsim.units import SECOND
from lbsim.workload.packets import FlowTable


def flows(rows: list[tuple[int, int, int]]) -> FlowTable:
    """A flow table of (version, source, destination); IPv4 addresses are followed by rubbish."""

    def column(which: int) -> np.ndarray:
        cells = [
            row[which].to_bytes(4, "big") + bytes([i % 256]) * 12 if row[0] == 4 else row[which].to_bytes(16)
            for i, row in enumerate(rows)
        ]
        return np.frombuffer(b"".join(cells), np.uint8).reshape(len(rows), 16)

    n = len(rows)
    ports = np.zeros(n, np.uint16)
    version = np.array([row[0] for row in rows], np.uint8)
    return FlowTable(column(1), column(2), version, np.full(n, 17, np.uint8), ports, ports)


def by_prefix(rows: list[tuple[int, int, int]], length: int) -> list[tuple[int, int, int]]:
    cut = [max(0, (32 if v == 4 else 128) - length) for v, _, _ in rows]
    return [(v, s >> k, d >> k) for (v, s, d), k in zip(rows, cut, strict=True)]


def oracle(rows: list[tuple[int, int, int]], most: int) -> tuple[list[int], int]:
    """Try every length; number the pairs as they come."""
    longest = 128 if any(v == 6 for v, _, _ in rows) else 32
    length = max(p for p in range(longest + 1) if len(set(by_prefix(rows, p))) <= most)
    pairs = by_prefix(rows, length)
    seen = list(dict.fromkeys(pairs))
    return [seen.index(pair) for pair in pairs], length


@st.composite
def many_flows(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Addresses near each other, so that prefixes part at any length."""
    versions = draw(st.sampled_from([(4,), (6,), (4, 6)]))
    rows = []
    for _ in range(draw(st.integers(1, 30))):
        version = draw(st.sampled_from(versions))
        bits = 32 if version == 4 else 128
        ends = [0x5A << (bits - 8) ^ 1 << draw(st.integers(0, bits - 1)) for _ in range(2)]
        rows.append((version, *ends))
    return rows


@settings(deadline=None)
@given(many_flows(), st.integers(2, 20))
def test_classes_equal_the_oracle(rows: list[tuple[int, int, int]], most: int) -> None:
    of, prefix = got = classes_of(flows(rows), most)
    assert (of.tolist(), prefix) == oracle(rows, most)
    assert of.dtype == np.int32
    assert got.number == len(set(of.tolist())) <= most


def test_prefixes_by_hand() -> None:
    a, b, c = (4, 0x0A000001, 0xC0A80001), (4, 0x0A000002, 0xC0A80001), (4, 0x8A000001, 0xC0A80001)
    # Sources a and b part at bit 30 (of 0..31), a and c at bit 0.
    assert [x if isinstance(x, int) else x.tolist() for x in classes_of(flows([a, b, c, a]), 1)] == [
        [0, 0, 0, 0],
        0,
    ]
    of, prefix = classes_of(flows([c, b, c, a]), 2)
    assert (of.tolist(), prefix) == ([0, 1, 0, 1], 30)
    of, prefix = classes_of(flows([c, b, c, a]), 3)
    assert (of.tolist(), prefix) == ([0, 1, 0, 2], 32)
    with pytest.raises(ValueError, match="rules is 1: flows of IPv4 and of IPv6 need 2"):
        classes_of(flows([a, (6, 1, 2)]), 1)
    # Sources of IPv6 that part at bit 100; what is behind an address of IPv4 tells nothing.
    of, prefix = classes_of(flows([a, (6, 0, 2), a, (6, 1 << 27, 2)]), 3)
    assert (of.tolist(), prefix) == ([0, 1, 0, 2], 128)
    assert classes_of(flows([]), 1).number == 0
    assert Classes(np.array([0, 2, 1], np.int32), 8).number == 3


@given(st.integers(0, 600), st.integers(1, 16), st.integers(0, 2**31))
def test_rules_are_dealt_evenly(rules: int, cores: int, deal: int) -> None:
    table = dealt(rules, cores, deal)
    assert table.shape == (rules,)
    assert np.ptp(np.bincount(table, minlength=cores)) <= 1
    assert np.array_equal(table, dealt(rules, cores, deal))


def test_the_deal_is_a_draw_of_its_number() -> None:
    assert dealt(8, 3, 0).dtype == np.int64
    assert len({tuple(dealt(32, 4, deal).tolist()) for deal in range(20)}) == 20
    # Over many deals each rule meets each core equally often: 4000 of 16000, standard deviation 55.
    counts = np.zeros((6, 4))
    for deal in range(3000):
        counts[np.arange(6), dealt(6, 4, deal)] += 1
    # Of 6 rules cores 0 and 1 get two each, 2 and 3 one: probabilities 1/3, 1/3, 1/6, 1/6.
    assert np.abs(counts / 3000 - [1 / 3, 1 / 3, 1 / 6, 1 / 6]).max() < 5 * np.sqrt(2 / 9 / 3000)


def test_relative_loads_by_hand() -> None:
    assert relative_loads(np.array([0.2, 0.4, 0.6])).tolist() == pytest.approx([0.25, 0.5, 0.75])
    assert relative_loads(np.array([0.0, 0.0, 0.9])).tolist() == [0.0, 0.0, 1.0]  # 1.5 is cut
    assert relative_loads(np.array([0.0, 0.19])).tolist() == [0.5, 0.5]  # the mean is below 0.1
    assert relative_loads(np.array([0.0, 0.2])).tolist() == [0.0, 1.0]


# --- A tick of the controller -------------------------------------------------------------------------------

SCALING, BALANCE = ClassParams(), ClassParams(scaling=False)


def tick(
    load: list[float],
    table: list[int],
    params: ClassParams = SCALING,
    used: list[int] | None = None,
    past: list[float] | None = None,
    tired: tuple[int, ...] = (),
    held: list[int] | None = None,
) -> Rearranged:
    """One tick; by default all cores are in use, and loads are what they were at the previous tick."""
    n = len(load)
    rested = np.array([c not in tired for c in range(n)])
    flags = None if held is None else np.array([b in held for b in range(len(table))], np.bool_)
    return rearrange(
        np.array(load, float),
        np.array(load if past is None else past, float),
        rested,
        np.array([c in (used if used is not None else range(n)) for c in range(n)]),
        np.array(table, np.int64),
        params,
        flags,
    )


def test_a_new_core_gets_the_later_half() -> None:
    got = tick([0.7, 0.5, 0, 0], [0, 0, 1, 0, 0, 0], used=[0, 1])
    assert got.table.tolist() == [0, 0, 1, 0, 2, 2]  # of rules 0, 1, 3, 4, 5 the last two
    assert got.used.tolist() == [True, True, True, False]
    assert got.touched.tolist() == [True, False, True, False]
    assert (got.added, got.removed) == (1, 0)


def test_the_forecast_counts() -> None:
    assert tick([0.5, 0.5], [0, 0, 1], past=[0.36, 0.5], used=[0]).added == 0  # 0.64
    assert tick([0.5, 0.5], [0, 0, 1], past=[0.34, 0.5], used=[0]).added == 1  # 0.66
    assert tick([0.65, 0.5], [0, 0, 1], used=[0]).added == 0  # 0.65 itself is not above
    assert tick([0.66, 0.0], [0, 0, 1], past=[0.9, 0], used=[0]).added == 1  # falling, but still above


def test_without_a_new_core_the_least_loaded_underloaded_one_takes_the_rules() -> None:
    got = tick([0.8, 0.3, 0.2, 0.9], [0, 0, 1, 2, 3, 3, 3, 3], BALANCE)
    # Core 3 first, to core 2; then core 0, to core 1.
    assert got.table.tolist() == [0, 1, 1, 2, 3, 3, 2, 2]
    assert got.touched.all()
    assert tick([0.8, 0.3, 0.4, 0.9], [0, 0, 1, 2, 3, 3, 3, 3], BALANCE).table.tolist() == [
        0, 0, 1, 2, 3, 3, 1, 1,
    ]  # one taker only: the hottest gives  # fmt: skip
    got = tick([0.8, 0.4, 0.4, 0.9], [0, 0, 1, 2, 3, 3, 3, 3], BALANCE)
    assert not got.touched.any()
    # With scaling, but all cores in use, as well.
    got = tick([0.8, 0.3, 0.4, 0.5], [0, 0, 1, 2, 3])
    assert (got.table.tolist(), got.added, got.removed) == ([0, 1, 1, 2, 3], 0, 0)


@pytest.mark.parametrize("past", [[0.4, 0.3], [0.2, 0.3]])
def test_underloaded_in_the_past_and_in_the_forecast(past: list[float]) -> None:
    # Core 0 at 0.3: past 0.4 is not below 0.35; from 0.2 the forecast is 0.4.
    assert tick([0.3, 0.3], [0, 1], past=past).removed == 0
    assert tick([0.3, 0.3], [0, 1], past=[0.29, 0.3]).removed == 1


def test_the_two_least_loaded_are_merged() -> None:
    got = tick([0.3, 0.34, 0.2, 0.5], [0, 1, 2, 3, 2, 0])
    assert got.table.tolist() == [0, 1, 0, 3, 0, 0]  # core 2 into core 0
    assert got.used.tolist() == [True, True, False, True]
    assert got.touched.tolist() == [True, False, True, False]
    assert (got.added, got.removed) == (0, 1)
    assert tick([0.3, 0.34], [0, 1], ClassParams(overload=0.64)).removed == 0  # the sum is not below
    assert tick([0.3, 0.34], [0, 1]).removed == 1
    assert tick([0.1, 0.1], [0, 1], ClassParams(least=2)).removed == 0
    assert tick([0.1, 0.1], [0, 1], BALANCE).removed == 0
    assert tick([0.1, 0.4], [0, 1]).removed == 0  # one is not underloaded
    assert tick([0.1, 0.1], [0, 1], used=[0]).removed == 0  # one is not in use


def test_who_took_part_is_left_alone() -> None:
    assert not tick([0.9, 0.1], [0, 0, 1], BALANCE, tired=(0,)).touched.any()
    assert not tick([0.9, 0.1], [0, 0, 1], BALANCE, tired=(1,)).touched.any()
    assert tick([0.9, 0.1], [0, 0, 1], BALANCE).touched.all()
    assert tick([0.1, 0.1, 0.2], [0, 1, 2], tired=(1,)).table.tolist() == [2, 1, 2]


def test_few_rules() -> None:
    assert tick([0.9, 0.0], [0], used=[0]).table.tolist() == [1]  # at least one, even the only one
    assert tick([0.9, 0.0], [0, 0, 0], used=[0]).table.tolist() == [0, 0, 1]  # half of three is one
    got = tick([0.9, 0.0], [1, 1], used=[0])  # none: it still works on what it had
    assert (got.added, got.touched.any()) == (0, False)


def test_rules_on_their_way_stay() -> None:
    assert tick([0.9, 0.0], [0, 0, 0, 0], used=[0], held=[3]).table.tolist() == [0, 1, 1, 0]
    assert tick([0.9, 0.0], [0, 0], used=[0], held=[0, 1]).added == 0
    assert tick([0.1, 0.2], [0, 0, 1], held=[0]).removed == 0
    assert tick([0.1, 0.2], [0, 0, 1], held=[2]).table.tolist() == [1, 1, 1]


@st.composite
def ticks(draw: st.DrawFn) -> dict[str, object]:
    cores, rules = draw(st.integers(1, 6)), draw(st.integers(0, 12))
    used = draw(st.sets(st.integers(0, cores - 1), min_size=1))
    load = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.34, 0.35, 0.5, 0.65, 0.66, 0.9, 1.0])
    loads = st.lists(load, min_size=cores, max_size=cores)
    return {
        "load": draw(loads),
        "past": draw(loads),
        "table": draw(st.lists(st.sampled_from(sorted(used)), min_size=rules, max_size=rules)),
        "params": ClassParams(scaling=draw(st.booleans()), least=draw(st.integers(1, len(used)))),
        "used": sorted(used),
        "tired": tuple(draw(st.sets(st.integers(0, cores - 1)))),
        "held": draw(st.lists(st.integers(0, 11), max_size=4)),
    }


@settings(deadline=None, max_examples=400)
@given(ticks())
def test_a_tick_obeys_the_rules(case: dict) -> None:
    got = tick(**case)
    before, after = np.array(case["table"], np.int64), got.table
    moved = np.flatnonzero(before != after)
    sources, sinks = set(before[moved].tolist()), set(after[moved].tolist())
    assert not sources & sinks
    assert all(got.used[c] for c in after)
    assert not set(moved.tolist()) & set(case["held"])
    new = set(np.flatnonzero(got.used).tolist()) - set(case["used"])
    gone = set(case["used"]) - set(np.flatnonzero(got.used).tolist())
    assert (len(new), len(gone)) == (got.added, got.removed)
    assert len(gone) <= 1
    assert new <= sinks
    assert not new & gone
    assert sources | sinks | new | gone <= set(np.flatnonzero(got.touched).tolist())
    assert not {c for c in np.flatnonzero(got.touched) if c not in new} & set(case["tired"])
    assert got.used.sum() >= min(len(case["used"]), case["params"].least)
    if not case["params"].scaling:
        assert not new | gone
    if gone:
        assert case["params"].scaling
    for source in sources - gone:  # half at most, or the only one
        rules = int((before == source).sum())
        assert int((before[moved] == source).sum()) <= max(1, rules // 2)


# --- The controller -----------------------------------------------------------------------------------------


def classes(plane: Fluid, until: int, **options: Any) -> ClassController:
    env = Clock()
    got = ClassController(env, plane, TrafficClasses(**options), until)  # type: ignore[arg-type]
    env.run()
    return got


def test_rules_move_by_halves_and_rest_for_three_seconds() -> None:
    # One core with rules of 0.2, 0.2, 0.1, 0.6. At 0.5 s it is full: rules 2 and 3 go to core 1, which then
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
